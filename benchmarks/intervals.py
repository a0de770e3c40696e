"""Bootstrap confidence intervals of F1.

>>> f1_interval([SpanCounts(correct=8, predicted=10, labelled=10)] * 100)
(80.0, 80.0)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from modeling_retrieveall.evaluation.scores import SpanCounts, count_spans
from modeling_retrieveall.evaluation.span_f1 import Predictions

_DRAWS = 1000


def f1_interval(counts: Sequence[SpanCounts], seed: int = 0) -> tuple[float, float]:
    """The 95 % confidence interval of the F1 over all sentences: a percentile bootstrap over sentences (Efron 1979).

    Args:
        counts: The span counts of each sentence.
        seed: Random seed of the bootstrap.

    Returns:
        The 2.5th and the 97.5th percentile of 1,000 bootstrap samples, in percent.
    """
    return _percentiles(_drawn_f1(counts, seed))


def f1_gain_interval(before: Sequence[SpanCounts], after: Sequence[SpanCounts], seed: int = 0) -> tuple[float, float]:
    """The 95 % confidence interval of the difference between two F1 on the same sentences or texts: a paired bootstrap.

    Args:
        before: The span counts of each sentence or text.
        after: Those of the other system, in the same order.
        seed: Random seed of the bootstrap.

    Returns:
        The 2.5th and the 97.5th percentile of 1,000 bootstrap samples, in points.
    """
    return _percentiles(_drawn_f1(after, seed) - _drawn_f1(before, seed))


def _drawn_f1(counts: Sequence[SpanCounts], seed: int) -> Any:
    """[draws]: the F1 of each bootstrap sample. Equal seeds and numbers of sentences draw the same sentences."""
    table = np.array(counts)  # [sentences, 3]
    drawn = np.random.default_rng(seed).integers(len(table), size=(_DRAWS, len(table)))
    correct, predicted, labelled = table[drawn].sum(1).T  # [draws] each
    return 200 * correct / np.maximum(predicted + labelled, 1)


def _percentiles(drawn: Any) -> tuple[float, float]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return round(float(low), 2), round(float(high), 2)


F1_COLUMNS = ("F1", "low", "high", "precision", "recall")


def f1_columns(predictions: Predictions) -> dict[str, float]:
    """F1, its 95 % interval, precision and recall, as columns of a table."""
    report = predictions.report()
    low, high = f1_interval(count_spans(predictions.labelled, predictions.predicted))
    return dict(zip(F1_COLUMNS, (report.f1, low, high, report.precision, report.recall), strict=True))
