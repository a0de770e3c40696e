"""How a system of the study is scored.

>>> span_scores([["B-PER", "I-PER"]], [["B-PER", "I-PER"]])
{'f1': 100.0, 'precision': 100.0, 'recall': 100.0}
"""

from collections.abc import Sequence
from typing import Any

from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

Tags = Sequence[Sequence[str]]


def span_scores(expected: Tags, found: Tags) -> dict[str, float]:
    """Strict typed span F1, precision and recall in percent, over all sentences (seqeval, strict, IOB2).

    Args:
        expected: The BIO tags of each sentence.
        found: Those that a system gave.
    """
    strict: dict[str, Any] = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
    measures = {"f1": f1_score, "precision": precision_score, "recall": recall_score}
    return {name: round(100 * float(measure(expected, found, **strict)), 2) for name, measure in measures.items()}
