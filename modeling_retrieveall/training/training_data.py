"""The sentences of a run: which are learned from, which are measured on, and their vectors, encoded once and cached.

>>> draw_lessons("examples/sentences/sw.conll", arguments).train[0].sentence.text
'Wangari Maathai alizaliwa Nyeri .'
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..data.labelled import LabelledData, has_split, load_examples, sample, told_repairs, without
from ..data.long_sentences import into_sentences
from ..data.rows import DatasetError
from ..model.atomic import replacing
from ..model.embedded_llm import cache_dir
from ..model.encoder import SentenceVectors
from ..model.entities import Example
from ..model.manifest import MOST_LABELS, check_label
from ..model.modeling_retrieveall import RetrieveAllModel
from .arguments import TrainingArguments
from .empty_sentences import empty_sentences

_WORTH_KEEPING = 100
"""Sentences; fewer are encoded in a second or two."""
_MOST_CACHED_BYTES = 4 << 30
"""Of all vectors in the cache. A thousand sentences take about 25 MB with the embedded LLM."""


@dataclass(frozen=True)
class Lessons:
    """The sentences of one dataset: those to learn from, and those to be measured on, none of which is among the former.

    Attributes:
        name: The dataset, as it was given.
        train: The sentences to learn from.
        empty: Sentences without an entity that were added to those; they are learned from, and never retrieved.
        validation: The sentences to be measured on.
        labels: The entity types of the dataset.
        duplicates: How many validation sentences were dropped because they are among both.
        repairs: Where the tags stand that are invalid in their scheme, with what was made of them.
        notes: What else was changed or left out in reading.
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
        """What is learned from and measured on, for a person who looks whether that is what was meant."""
        types = Counter(span.label for example in self.train for span in example.spans)
        counted = ", ".join(f"{number} {label}" for label, number in types.most_common())
        words = round(mean(len(example.sentence.words) for example in self.train))
        summary = (
            f"{self.name}: {len(self.train)} sentences to learn from, {words} words each on average ({counted}); "
            f"{len(self.validation)} to measure on"
        )
        return "\n".join([summary, *([told_repairs(self.repairs)] if self.repairs else []), *self.notes])


def draw_lessons(name: str, arguments: TrainingArguments) -> Lessons:
    """Draws the sentences of a run; without a validation split a tenth of the training sentences is held out.

    Args:
        name: The dataset.
        arguments: How many, and by which seed.

    Raises:
        DatasetError: The data cannot be read, holds no entity, or has a label that no adapter may have.
    """
    data = load_examples(name, "train", arguments.columns())
    _check_labels(name, data)
    examples = into_sentences(data.examples, arguments.language, name)
    limit, seed = arguments.max_validation_examples, arguments.seed
    duplicates, repairs, notes = 0, data.repairs, data.notes
    if len(examples) > len(data.examples):
        notes = [*notes, f"blocks longer than a window were cut: {len(data.examples):,} blocks are {len(examples):,} sentences"]
    if not limit:
        validation: list[Example] = []
    elif has_split(name, "validation", arguments.columns()):
        given = load_examples(name, "validation", arguments.columns())
        validation = into_sentences(given.examples, arguments.language, name)
        repairs, notes = [*repairs, *given.repairs], [*notes, *given.notes]
    else:
        validation, examples, duplicates = _held_out(examples, seed)
    train = sample(examples, arguments.max_train_examples, seed)
    if not any(example.spans for example in train):
        raise DatasetError(f"{name} has {len(train)} training sentences and no entity in them: there is nothing to learn.")
    fresh = without(validation, {example.key for example in train})
    empty = empty_sentences(train, arguments.empty_share, arguments.language, seed)
    if empty:
        notes = [*notes, _told_empty(train, empty)]
    duplicates += len(validation) - len(fresh)
    return Lessons(name, train, sample(fresh, limit, seed), data.labels, duplicates, repairs, empty, notes)


def _told_empty(train: list[Example], empty: list[Example]) -> str:
    """What to tell of sentences that were added."""
    without_entity = sum(not example.spans for example in train)
    return (
        f"{without_entity} of {len(train)} sentences hold no entity. An adapter that learns from such data finds entities where "
        f"there are none, so {len(empty)} sentences without one were added: parts of these sentences, and sentences that ship "
        "with the package. --empty_share 0 adds none."
    )


def _check_labels(name: str, data: LabelledData) -> None:
    """Refuses, before a base loads, what the finished adapter would be refused for."""
    if len(data.labels) > MOST_LABELS:
        raise DatasetError(f"{name} has {len(data.labels):,} labels; an adapter has at most {MOST_LABELS:,}. Are they labels?")
    for label in data.labels:
        try:
            check_label(label)
        except ValueError as error:
            bearer = next((e for e in data.examples if any(span.label == label for span in e.spans)), None)
            where = f" (in {bearer.key!r:.80})" if bearer else ""
            raise DatasetError(f"{name}{where}: {error}. Rename it in the data.") from error


def _held_out(examples: list[Example], seed: int) -> tuple[list[Example], list[Example], int]:
    """A tenth of the sentences, the others, and how many were dropped as duplicates; none when nothing would be left to learn."""
    validation = sample(examples, max(1, len(examples) // 10), seed)
    rest = without(examples, {example.key for example in validation})
    if not any(example.spans for example in rest):
        return [], examples, 0
    return validation, rest, len(examples) - len(validation) - len(rest)


def encoded(model: RetrieveAllModel, examples: Sequence[Example]) -> list[SentenceVectors]:
    """The vectors of sentences, from the cache if they were ever encoded before.

    Kept in half precision, and rounded to it when they are new: a run that finds them and one that makes them are the same.
    The cache is the folder ``vectors`` of :func:`~modeling_retrieveall.model.embedded_llm.cache_dir`. Above 4 GB the files that
    were used least recently are removed.

    Args:
        model: A model of the base; its adapters do not matter.
        examples: The sentences.
    """
    if len(examples) < _WORTH_KEEPING:
        return model.encoder.encode([model.answers.word_ids(example.sentence) for example in examples])
    file = cache_dir() / "vectors" / f"{_fingerprint(model, examples)}.safetensors"
    try:
        stored = load_file(file)
        file.touch()  # the time of its last use
        sentences, words = stored["sentences"].float(), stored["words"].float()
    except (OSError, SafetensorError, KeyError):
        fresh = model.encoder.encode([model.answers.word_ids(example.sentence) for example in examples])
        sentences = torch.stack([vectors.sentence for vectors in fresh]).half()
        words = torch.cat([vectors.words for vectors in fresh]).half()
        if not (sentences.isfinite().all() and words.isfinite().all()):
            return fresh  # too large for half precision
        _save({"sentences": sentences, "words": words}, file)
        sentences, words = sentences.float(), words.float()
    of_sentence = torch.split(words, [len(example.sentence.words) for example in examples])
    return [SentenceVectors(s, w) for s, w in zip(sentences, of_sentence, strict=True)]


def _fingerprint(model: RetrieveAllModel, examples: Sequence[Example]) -> str:
    """Tells apart whatever changes the vectors: base, layer, precision and words."""
    config = model.config
    base = [config.base_model, config.base_revision, config.encoder_layer, str(model.base.dtype), _weights_of(config.base_model)]
    quantized = str(getattr(model.base.config, "quantization_config", None))
    keys = [[word.text for word in example.sentence.words] for example in examples]
    return hashlib.sha256(json.dumps([base, quantized, keys]).encode("utf-8", "surrogatepass")).hexdigest()


def _weights_of(base: str) -> list[tuple[str, int, int]]:
    """Of a base in a folder, whose content may change under the same name: its files, their sizes and times."""
    folder = Path(base)
    if not folder.is_dir():
        return []
    return sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in folder.glob("*.safetensors"))


def _save(tensors: dict[str, torch.Tensor], file: Path) -> None:
    with suppress(OSError, SafetensorError):  # a full disk costs the cache, not the run
        with replacing(file) as path:
            save_file(tensors, path)
        _remove_oldest(file.parent, _MOST_CACHED_BYTES)


def _remove_oldest(folder: Path, most_bytes: int) -> None:
    """Removes the files that were used least recently, until the others fit; the newest one stays."""
    files = sorted((file.stat().st_mtime_ns, file.stat().st_size, file) for file in folder.glob("*.safetensors"))
    total = sum(size for _, size, _ in files)
    for _, size, file in files[:-1]:
        if total <= most_bytes:
            return
        file.unlink(missing_ok=True)
        total -= size
