"""How far an F1 may lie from the one that other sentences of the same kind would give.

>>> f1_interval([SpanCounts(right=8, found=10, labelled=10)] * 100)
(80.0, 80.0)
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from modeling_retrieveall.data.tags import spans_from_tags
from modeling_retrieveall.evaluation.span_f1 import Predictions

_DRAWS = 1000


class SpanCounts(NamedTuple):
    """The spans of one sentence: found and right, found, and labelled."""

    right: int
    found: int
    labelled: int


def span_counts(predictions: Predictions) -> list[SpanCounts]:
    """The counts of each sentence."""
    counts = []
    for labelled_tags, found_tags in zip(predictions.labelled, predictions.found, strict=True):
        labelled, found = set(spans_from_tags(labelled_tags)[0]), set(spans_from_tags(found_tags)[0])
        counts.append(SpanCounts(len(labelled & found), len(found), len(labelled)))
    return counts


def f1_interval(counts: Sequence[SpanCounts], seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the F1 over all sentences, in percent: a percentile bootstrap over sentences (Efron 1979).

    Args:
        counts: The counts of each sentence.
        seed: Decides which sentences are drawn.

    Returns:
        The 2.5 and the 97.5 percentile over 1,000 draws.
    """
    table = np.array(counts)  # [sentences, 3]
    drawn = np.random.default_rng(seed).integers(len(table), size=(_DRAWS, len(table)))
    right, found, labelled = table[drawn].sum(1).T  # [draws] each
    f1 = 200 * right / np.maximum(found + labelled, 1)
    low, high = np.percentile(f1, [2.5, 97.5])
    return round(float(low), 2), round(float(high), 2)


def f1_figures(predictions: Predictions) -> dict[str, float]:
    """F1 with its interval, precision and recall, as the columns of a table."""
    report, (low, high) = predictions.report(), f1_interval(span_counts(predictions))
    return {"F1": report.f1, "low": low, "high": high, "precision": report.precision, "recall": report.recall}
