"""Evaluation of a model on labelled sentences: strict typed span F1, false entities, routing accuracy and speed.

>>> report = evaluate(model, "data/panx/de", "test", language="de")
>>> report.f1, report.n_test, report.n_dropped
(82.4, 1683, 317)
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..data.example_splitting import split_long_examples
from ..data.labelled_data import LabelledData, sample_examples, summarize_repairs
from ..data.loading import load_examples
from ..data.reader_types import ColumnNames, DatasetError
from ..model.entities import Example, tags_from_entities, tags_from_spans
from ..model.language_adapter import entity_types, sentence_hash
from ..model.manifest import matching_code
from ..model.modeling_retrieveall import RetrieveAllModel
from .scores import SpanScores, percent, strict_span_f1


@dataclass(frozen=True)
class Report:
    """The results of an evaluation. Scores and rates are in percent, micro-averaged over entities.

    An entity is correct if both of its boundaries and its type are.

    Attributes:
        f1: Harmonic mean of precision and recall.
        precision: Share of the extracted entities that are correct.
        recall: Share of the labelled entities that were extracted.
        per_type: The same scores for each entity type, and its number of labelled entities (``support``).
        false_entity_rate: Share of the sentences without a labelled entity in which one was found; ``None`` if there are no such
            sentences.
        n_without_entities: Number of sentences without a labelled entity.
        n_test: Number of evaluated sentences.
        n_dropped: Number of sentences that were left out because an adapter of the model has seen them.
        routing_accuracy: Share of the sentences that were routed to ``language``; ``None`` with oracle routing.
        sentences_per_second: Speed of the extraction.
    """

    f1: float
    precision: float
    recall: float
    per_type: dict[str, dict[str, float]] = field(default_factory=dict)
    false_entity_rate: float | None = None
    n_without_entities: int = 0
    n_test: int = 0
    n_dropped: int = 0
    routing_accuracy: float | None = None
    sentences_per_second: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The results as JSON values."""
        return asdict(self)


def evaluate(
    model: RetrieveAllModel,
    dataset: str,
    split: str,
    language: str,
    *,
    oracle_routing: bool = False,
    keep_duplicates: bool = False,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    columns: ColumnNames | None = None,
) -> Report:
    """Evaluates a model on one split of a dataset.

    Args:
        model: The model.
        dataset: The dataset, as in :func:`load_examples`.
        split: The split, as in :func:`load_examples`.
        language: The language of the sentences.
        oracle_routing: Decode all sentences with the adapter of ``language`` instead of routing them.
        keep_duplicates: Also evaluate on sentences that an adapter of the model was trained on or has in its index.
        limit: Maximum number of sentences, drawn at random after duplicates are dropped.
        seed: Random seed of that draw.
        batch_size: As in :meth:`RetrieveAllModel.extract`.
        columns: The columns of the dataset, as in :func:`load_examples`.

    Returns:
        The results.

    Raises:
        DatasetError: The data cannot be read, or no sentence is left to evaluate on.
        InputError: The model has no adapter for ``language``, which ``oracle_routing`` requires.
    """
    data = load_examples(dataset, split, columns)
    examples = split_long_examples(data.examples, language, dataset)
    for warning in [*([summarize_repairs(data.repairs)] if data.repairs else []), *data.notes, *_unknown_labels(model, data)]:
        warnings.warn(warning, stacklevel=2)
    kept = examples if keep_duplicates else unseen(model, examples)
    if not kept:
        raise DatasetError(
            f"The adapters have seen all {len(examples)} sentences of the {split} split of {dataset}, so none is left to "
            "evaluate on. Set keep_duplicates=True to evaluate on them."
        )
    report = evaluate_examples(
        model, sample_examples(kept, limit, seed), language, oracle_routing=oracle_routing, batch_size=batch_size
    )
    return Report(**{**asdict(report), "n_dropped": len(examples) - len(kept)})


def unseen(model: RetrieveAllModel, examples: Sequence[Example]) -> list[Example]:
    """The examples that no adapter of a model was trained on or has in its index.

    Those of all adapters are excluded, because routing may select any adapter, and so that all results of a model are measured on
    the same sentences.
    """
    seen = {known for adapter in model.adapters.values() for known in adapter.known_hashes()}
    return [example for example in examples if sentence_hash(example.key) not in seen]


def _unknown_labels(model: RetrieveAllModel, data: LabelledData) -> list[str]:
    """A warning if the dataset has labels that no adapter of the model predicts."""
    known = entity_types(model.adapters.values())
    unknown = sorted({span.label for example in data.examples for span in example.spans} - set(known))
    if not unknown:
        return []
    missed = "All its entities" if set(known).isdisjoint(data.labels) else "Their entities"
    return [
        f"The dataset has the labels {', '.join(unknown)}, which no adapter of the model predicts (they predict "
        f"{', '.join(known)}). {missed} count as missed. If the labels mean the same, rename them in the dataset."
    ]


def evaluate_examples(
    model: RetrieveAllModel,
    examples: Sequence[Example],
    language: str,
    *,
    oracle_routing: bool = False,
    batch_size: int | None = None,
) -> Report:
    """Evaluates a model on given examples; the arguments are those of :func:`evaluate`."""
    return predict(model, examples, language, oracle_routing=oracle_routing, batch_size=batch_size).report()


def predict(
    model: RetrieveAllModel,
    examples: Sequence[Example],
    language: str,
    *,
    oracle_routing: bool = False,
    batch_size: int | None = None,
) -> "Predictions":
    """Extracts the entities of labelled sentences.

    Args:
        model: The model.
        examples: The labelled sentences.
        language: Their language.
        oracle_routing: Decode all sentences with the adapter of ``language`` instead of routing them.
        batch_size: As in :meth:`RetrieveAllModel.extract`.
    """
    sentences = [example.sentence for example in examples]
    started = time.perf_counter()
    results = model.extract(sentences, language=language if oracle_routing else None, batch_size=batch_size)
    seconds = time.perf_counter() - started
    return Predictions(
        labelled=[tags_from_spans(example.spans, len(example.sentence.words)) for example in examples],
        predicted=[tags_from_entities(r.entities, sentence) for sentence, r in zip(sentences, results, strict=True)],
        routed_correctly=None
        if oracle_routing
        else [result.language == matching_code(language, model.adapters) for result in results],
        seconds=seconds,
    )


@dataclass(frozen=True)
class Predictions:
    """The entities of labelled sentences that a model has extracted.

    Attributes:
        labelled: The correct BIO tags of each sentence.
        predicted: The BIO tags of each sentence as extracted.
        routed_correctly: Whether each sentence was routed to its language; ``None`` with oracle routing.
        seconds: Time of the extraction.
    """

    labelled: list[list[str]]
    predicted: list[list[str]]
    routed_correctly: list[bool] | None
    seconds: float

    def report(self) -> Report:
        """The results over all sentences."""
        scores = strict_span_f1(self.labelled, self.predicted)
        pairs = zip(self.labelled, self.predicted, strict=True)
        false_entities = [set(predicted) != {"O"} for labelled, predicted in pairs if set(labelled) == {"O"}]
        routed = self.routed_correctly
        return Report(
            f1=scores.f1,
            precision=scores.precision,
            recall=scores.recall,
            per_type={label: _type_scores(row) for label, row in scores.per_type.items()},
            false_entity_rate=percent(sum(false_entities) / len(false_entities)) if false_entities else None,
            n_without_entities=len(false_entities),
            n_test=len(self.labelled),
            routing_accuracy=None if routed is None else percent(sum(routed) / len(routed)),
            sentences_per_second=round(len(self.labelled) / self.seconds, 2),
        )


def _type_scores(scores: SpanScores) -> dict[str, float]:
    return {"f1": scores.f1, "precision": scores.precision, "recall": scores.recall, "support": scores.support}
