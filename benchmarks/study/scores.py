"""Scores of the systems in the study.

>>> span_scores([["B-PER", "I-PER"]], [["B-PER", "I-PER"]])
{'f1': 100.0, 'precision': 100.0, 'recall': 100.0}
"""

from modeling_retrieveall.evaluation.scores import Tags, strict_span_f1


def span_scores(expected: Tags, found: Tags) -> dict[str, float]:
    """Strict typed span F1, precision and recall over all sentences, in percent (seqeval, strict mode, IOB2).

    Args:
        expected: Gold BIO tags of each sentence.
        found: Predicted BIO tags of each sentence.
    """
    scores = strict_span_f1(expected, found)
    return {"f1": scores.f1, "precision": scores.precision, "recall": scores.recall}
