"""Strict typed span F1: a predicted entity is correct if both of its boundaries and its type are.

>>> strict_span_f1([["B-PER", "I-PER", "O"]], [["B-PER", "I-PER", "B-LOC"]]).f1
66.67
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from seqeval.scheme import IOB2, Entities

from ..model.entities import Span
from ..model.errors import InputError

Tags = Sequence[Sequence[str]]
"""The BIO tags of each sentence."""


class SpanCounts(NamedTuple):
    """Numbers of entities: predicted and correct, predicted, and labelled."""

    correct: int
    predicted: int
    labelled: int


@dataclass(frozen=True)
class SpanScores:
    """Scores in percent, rounded to two decimals.

    Attributes:
        f1: Harmonic mean of precision and recall.
        precision: Share of the predicted entities that are correct.
        recall: Share of the labelled entities that were predicted.
        support: Number of labelled entities.
        per_type: The scores of each entity type; empty for the scores of one type.
    """

    f1: float
    precision: float
    recall: float
    support: int
    per_type: Mapping[str, "SpanScores"] = field(default_factory=dict)


def strict_span_f1(labelled: Tags, predicted: Tags) -> SpanScores:
    """Micro-averaged strict F1, precision and recall over all sentences, and for each entity type.

    The scores equal those of seqeval in its mode ``strict`` with the scheme IOB2: an entity that does not begin with a B- tag
    does not count.

    Args:
        labelled: The correct BIO tags of each sentence.
        predicted: The predicted BIO tags of each sentence.

    Raises:
        InputError: The numbers of sentences or words differ.
    """
    pairs = _span_pairs(labelled, predicted)
    types = sorted({span.label for pair in pairs for spans in pair for span in spans})
    per_type = {label: _scores(_counts(*(_of_type(spans, label) for spans in pair)) for pair in pairs) for label in types}
    overall = _scores(_counts(*pair) for pair in pairs)
    return SpanScores(overall.f1, overall.precision, overall.recall, overall.support, per_type)


def count_spans(labelled: Tags, predicted: Tags) -> list[SpanCounts]:
    """The counts of each sentence, from which :func:`strict_span_f1` is computed; for confidence intervals.

    Args:
        labelled: The correct BIO tags of each sentence.
        predicted: The predicted BIO tags of each sentence.

    Raises:
        InputError: The numbers of sentences or words differ.

    >>> count_spans([["B-PER", "I-PER", "O"]], [["B-PER", "I-PER", "B-LOC"]])
    [SpanCounts(correct=1, predicted=2, labelled=1)]
    """
    return [_counts(*pair) for pair in _span_pairs(labelled, predicted)]


def _span_pairs(labelled: Tags, predicted: Tags) -> list[tuple[set[Span], set[Span]]]:
    """The labelled and the predicted spans of each sentence."""
    if [len(tags) for tags in labelled] != [len(tags) for tags in predicted]:
        raise InputError("The labelled and the predicted tags differ in the number of sentences or words.")
    return list(zip(_spans(labelled), _spans(predicted), strict=True))


def _spans(tags: Tags) -> list[set[Span]]:
    entities = Entities([list(sentence) for sentence in tags], IOB2).entities
    return [{Span(entity.start, entity.end, entity.tag) for entity in sentence} for sentence in entities]


def _of_type(spans: set[Span], label: str) -> set[Span]:
    return {span for span in spans if span.label == label}


def _counts(labelled: set[Span], predicted: set[Span]) -> SpanCounts:
    return SpanCounts(len(labelled & predicted), len(predicted), len(labelled))


def _scores(counts: Iterable[SpanCounts]) -> SpanScores:
    correct, predicted, labelled = (sum(column) for column in zip(SpanCounts(0, 0, 0), *counts, strict=True))
    precision = correct / predicted if predicted else 0.0
    recall = correct / labelled if labelled else 0.0
    f1 = 2 * precision * recall / (precision + recall) if correct else 0.0
    return SpanScores(percent(f1), percent(precision), percent(recall), labelled)


def percent(share: float) -> float:
    """A share in percent, with two decimals."""
    return round(100 * float(share), 2)
