"""Strict typed span F1 of a model on labelled sentences, and how often it finds an entity where there is none.

>>> report = evaluate(model, "data/panx/de", "test", language="de")
>>> report.f1, report.n_test, report.n_dropped
(82.4, 1683, 317)
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from ..data.labelled import LabelledData, load_examples, sample, told_repairs
from ..data.long_sentences import into_sentences
from ..data.rows import Columns, DatasetError
from ..model.entities import Example, tags_from_entities, tags_from_spans
from ..model.language_adapter import sentence_hash
from ..model.modeling_retrieveall import RetrieveAllModel


@dataclass(frozen=True)
class Report:
    """Figures in percent, micro-averaged over entities; an entity counts when both borders and its label are right.

    Attributes:
        f1: Harmonic mean of precision and recall.
        precision: Share of the extracted entities that are right.
        recall: Share of the labelled entities that were extracted.
        per_type: The same, and the number of labelled entities (``support``), for each entity type.
        false_entity_rate: Share of the sentences without a labelled entity that get one; ``None`` if there is no such sentence.
        n_without_entities: Sentences without a labelled entity.
        n_test: Sentences measured on.
        n_dropped: Sentences left out because an adapter of the model has seen them.
        routing_accuracy: Share of the sentences that were routed to ``language``; ``None`` with oracle routing.
        sentences_per_second: Speed of the extraction, from text to entities.
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
        """As plain values, for JSON."""
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
    columns: Columns | None = None,
) -> Report:
    """Measures a model on one split of a dataset.

    Args:
        model: The model.
        dataset: As for :func:`load_examples`.
        split: As for :func:`load_examples`.
        language: The language of the sentences.
        oracle_routing: Serve all sentences by the adapter of ``language`` instead of routing them.
        keep_duplicates: Measure also on sentences that an adapter of the model was trained on or has as examples.
        limit: Sentences at most, drawn by ``seed`` after duplicates are dropped.
        seed: Decides which sentences ``limit`` leaves.
        batch_size: As for :meth:`RetrieveAllModel.extract`.
        columns: As for :func:`load_examples`.

    Raises:
        DatasetError: The data cannot be read, or nothing is left to measure on.
        ValueError: The model has no adapter for ``language``, and ``oracle_routing`` asks for it.
    """
    data = load_examples(dataset, split, columns)
    examples = into_sentences(data.examples, language, dataset)
    for warning in [*([told_repairs(data.repairs)] if data.repairs else []), *data.notes, *_foreign(model, data)]:
        warnings.warn(warning, stacklevel=2)
    fresh = examples if keep_duplicates else unseen(model, examples)
    if not fresh:
        raise DatasetError(
            f"No {split} sentence of {dataset} is left: the adapters have seen all {len(examples)}. Use --keep-duplicates."
        )
    report = evaluate_examples(model, sample(fresh, limit, seed), language, oracle_routing=oracle_routing, batch_size=batch_size)
    return Report(**{**asdict(report), "n_dropped": len(examples) - len(fresh)})


def unseen(model: RetrieveAllModel, examples: Sequence[Example]) -> list[Example]:
    """The examples that no adapter of a model has seen: routing may choose any, and all figures stand on the same sentences."""
    seen = {known for adapter in model.adapters.values() for known in adapter.known_hashes()}
    return [example for example in examples if sentence_hash(example.key) not in seen]


def _foreign(model: RetrieveAllModel, data: LabelledData) -> list[str]:
    """What to tell of labels of the dataset that no adapter of the model gives."""
    given = {label for adapter in model.adapters.values() for label in adapter.manifest.entity_types}
    foreign = sorted({span.label for example in data.examples for span in example.spans} - given)
    if not foreign:
        return []
    missed = "All its mentions" if not given & set(data.labels) else "Their mentions"
    return [
        f"The dataset has the labels {', '.join(foreign)}, which no adapter of the model gives (they give "
        f"{', '.join(sorted(given))}). {missed} count as missed. Rename them, if they mean the same."
    ]


def evaluate_examples(
    model: RetrieveAllModel,
    examples: Sequence[Example],
    language: str,
    *,
    oracle_routing: bool = False,
    batch_size: int | None = None,
) -> Report:
    """Measures a model on examples; as :func:`evaluate`, without loading or dropping any."""
    return predict(model, examples, language, oracle_routing=oracle_routing, batch_size=batch_size).report()


def predict(
    model: RetrieveAllModel,
    examples: Sequence[Example],
    language: str,
    *,
    oracle_routing: bool = False,
    batch_size: int | None = None,
) -> "Predictions":
    """Extracts the entities of examples, for figures about them.

    Args:
        model: The model.
        examples: The labelled sentences.
        language: Their language.
        oracle_routing: Serve all sentences by the adapter of ``language`` instead of routing them.
        batch_size: As for :meth:`RetrieveAllModel.extract`.
    """
    sentences = [example.sentence for example in examples]
    began = time.perf_counter()
    results = model.extract(sentences, language=language if oracle_routing else None, batch_size=batch_size)
    seconds = time.perf_counter() - began
    return Predictions(
        labelled=[tags_from_spans(example.spans, len(example.sentence.words)) for example in examples],
        found=[tags_from_entities(r.entities, sentence) for sentence, r in zip(sentences, results, strict=True)],
        routed_right=None if oracle_routing else [result.language == language for result in results],
        seconds=seconds,
    )


@dataclass(frozen=True)
class Predictions:
    """What a model has found in labelled sentences.

    Attributes:
        labelled: The BIO tags of each sentence, as labelled.
        found: The BIO tags of each sentence, as extracted.
        routed_right: Whether each sentence was routed to its language; ``None`` with oracle routing.
        seconds: Time of the extraction.
    """

    labelled: list[list[str]]
    found: list[list[str]]
    routed_right: list[bool] | None
    seconds: float

    def report(self) -> Report:
        """The figures over all sentences."""
        scores: dict[str, Any] = classification_report(
            self.labelled, self.found, mode="strict", scheme=IOB2, output_dict=True, zero_division=0
        )
        overall = scores.get("micro avg", {"f1-score": 0.0, "precision": 0.0, "recall": 0.0})
        pairs = zip(self.labelled, self.found, strict=True)
        without = [set(found) != {"O"} for labelled, found in pairs if set(labelled) == {"O"}]
        averages = {"micro avg", "macro avg", "weighted avg"}
        right = self.routed_right
        return Report(
            f1=_percent(overall["f1-score"]),
            precision=_percent(overall["precision"]),
            recall=_percent(overall["recall"]),
            per_type={label: _type_figures(row) for label, row in scores.items() if label not in averages},
            false_entity_rate=_percent(sum(without) / len(without)) if without else None,
            n_without_entities=len(without),
            n_test=len(self.labelled),
            routing_accuracy=None if right is None else _percent(sum(right) / len(right)),
            sentences_per_second=round(len(self.labelled) / self.seconds, 2),
        )


def _percent(share: float) -> float:
    return round(100 * float(share), 2)


def _type_figures(row: dict[str, float]) -> dict[str, float]:
    figures = {"f1": _percent(row["f1-score"]), "precision": _percent(row["precision"]), "recall": _percent(row["recall"])}
    return {**figures, "support": int(row["support"])}
