"""The training and validation sentences of a run.

>>> load_training_data("examples/sentences/sw.conll", arguments).train[0].sentence.text
'Wangari Maathai alizaliwa Nyeri .'
"""

from collections import Counter
from dataclasses import dataclass, field
from statistics import mean

from ..data.example_splitting import split_long_examples
from ..data.labelled_data import LabelledData, exclude_by_key, sample_examples, summarize_repairs
from ..data.loading import has_split, load_examples
from ..data.reader_types import DatasetError
from ..model.entities import Example
from ..model.manifest import check_label
from ..model.untrusted_files import LIMITS
from .arguments import AdapterTrainingArguments
from .empty_sentences import empty_sentences


@dataclass(frozen=True)
class TrainingData:
    """The training and validation sentences of one dataset, which have no sentence in common.

    Attributes:
        name: The dataset, as given in the arguments.
        train: The training sentences.
        empty: Sentences without an entity that were added; they are trained on, but are not in the index.
        validation: The validation sentences.
        labels: The entity types of the dataset.
        duplicates: Number of validation sentences that were dropped because they are also training sentences.
        repairs: Invalid tags with their positions and how they were read.
        notes: What else was changed or left out while reading.
    """

    name: str
    train: list[Example]
    validation: list[Example]
    labels: list[str]
    duplicates: int
    repairs: list[str]
    empty: list[Example] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line about the sentences, logged so that mistakes are noticed early, and one line for each problem."""
        types = Counter(span.label for example in self.train for span in example.spans)
        counted = ", ".join(f"{number} {label}" for label, number in types.most_common())
        words = round(mean(len(example.sentence.words) for example in self.train))
        summary = (
            f"{self.name}: {len(self.train)} training sentences with {words} words on average ({counted}), "
            f"{len(self.validation)} validation sentences"
        )
        return "\n".join([summary, *([summarize_repairs(self.repairs)] if self.repairs else []), *self.notes])


def load_training_data(name: str, arguments: AdapterTrainingArguments) -> TrainingData:
    """Loads and draws the sentences of a dataset. Without a validation split, a tenth of the training sentences is held out.

    Args:
        name: The dataset.
        arguments: The arguments of the run, with the numbers of sentences and the random seed.

    Raises:
        DatasetError: The training or validation split cannot be read, the data have no entity, or a label that an adapter cannot
            have.
    """
    data = load_examples(name, "train", arguments.columns())
    _check_labels(name, data)
    examples = split_long_examples(data.examples, arguments.language_code, name)
    limit, seed = arguments.max_eval_samples, arguments.seed
    duplicates, repairs, notes = 0, data.repairs, data.notes
    if len(examples) > len(data.examples):
        notes = [
            *notes,
            f"{len(data.examples):,} blocks of words were split into {len(examples):,} sentences, because some were too long",
        ]
    if not limit:
        validation: list[Example] = []
    elif has_split(name, "validation"):
        loaded = load_examples(name, "validation", arguments.columns())
        validation = split_long_examples(loaded.examples, arguments.language_code, name)
        repairs, notes = [*repairs, *loaded.repairs], [*notes, *loaded.notes]
    else:
        validation, examples, duplicates = _hold_out(examples, seed)
    train = sample_examples(examples, arguments.max_train_samples, seed)
    if not any(example.spans for example in train):
        raise DatasetError(f"The {len(train)} training sentences of {name} contain no entity, so there is nothing to train on.")
    unseen = exclude_by_key(validation, {example.key for example in train})
    empty = empty_sentences(train, arguments.empty_share, arguments.language_code, seed)
    if empty:
        notes = [*notes, _note_on_empty(train, empty)]
    duplicates += len(validation) - len(unseen)
    return TrainingData(name, train, sample_examples(unseen, limit, seed), data.labels, duplicates, repairs, empty, notes)


def _note_on_empty(train: list[Example], empty: list[Example]) -> str:
    without_entity = sum(not example.spans for example in train)
    return (
        f"{without_entity} of {len(train)} sentences contain no entity. An adapter trained on too few such sentences finds "
        f"entities where there are none, so {len(empty)} were added: parts of these sentences, and sentences that are included "
        "in the package. empty_share=0 adds none."
    )


def _check_labels(name: str, data: LabelledData) -> None:
    """Refuses labels that would make the finished adapter invalid, before the base LLM is loaded."""
    if len(data.labels) > LIMITS.labels:
        raise DatasetError(f"{name} has {len(data.labels):,} labels, but an adapter has at most {LIMITS.labels:,}.")
    for label in data.labels:
        try:
            check_label(label)
        except ValueError as error:
            raise DatasetError(f"{data.label_places.get(label, name)}: {error}. Rename the label in the data.") from error


def _hold_out(examples: list[Example], seed: int) -> tuple[list[Example], list[Example], int]:
    """Holds out a tenth of the sentences for validation.

    Returns:
        The validation sentences, the training sentences, and the number of duplicates dropped from the latter. There are no
        validation sentences if the training sentences would be left without an entity.
    """
    validation = sample_examples(examples, max(1, len(examples) // 10), seed)
    rest = exclude_by_key(examples, {example.key for example in validation})
    if not any(example.spans for example in rest):
        return [], examples, 0
    return validation, rest, len(examples) - len(validation) - len(rest)
