"""Bootstrap confidence intervals of F1.

>>> f1_interval([SpanCounts(correct=8, predicted=10, labelled=10)] * 100)
(80.0, 80.0)
"""

from collections.abc import Sequence

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
    table = np.array(counts)  # [sentences, 3]
    drawn = np.random.default_rng(seed).integers(len(table), size=(_DRAWS, len(table)))
    correct, predicted, labelled = table[drawn].sum(1).T  # [draws] each
    f1 = 200 * correct / np.maximum(predicted + labelled, 1)
    low, high = np.percentile(f1, [2.5, 97.5])
    return round(float(low), 2), round(float(high), 2)


def f1_columns(predictions: Predictions) -> dict[str, float]:
    """F1, its 95 % interval, precision and recall, as columns of a table."""
    report = predictions.report()
    low, high = f1_interval(count_spans(predictions.labelled, predictions.predicted))
    return {"F1": report.f1, "low": low, "high": high, "precision": report.precision, "recall": report.recall}
