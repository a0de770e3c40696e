"""Strict typed span F1 equals that of seqeval, and the counts of sentences add up to it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from modeling_retrieveall import InputError
from modeling_retrieveall.evaluation.scores import count_spans, strict_span_f1

tags = st.sampled_from(["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
sentences = st.lists(st.lists(st.tuples(tags, tags), min_size=1, max_size=8), min_size=1, max_size=5)


@given(sentences)
def test_scores_equal_those_of_seqeval(pairs: list[list[tuple[str, str]]]) -> None:
    labelled = [[one for one, _ in sentence] for sentence in pairs]
    predicted = [[other for _, other in sentence] for sentence in pairs]
    report: dict[str, Any] = classification_report(
        labelled, predicted, mode="strict", scheme=IOB2, output_dict=True, zero_division=0
    )
    scores = strict_span_f1(labelled, predicted)
    assert set(scores.per_type) == set(report) - {"micro avg", "macro avg", "weighted avg"}
    rows = [(scores, report["micro avg"]), *((scores.per_type[label], report[label]) for label in scores.per_type)]
    for ours, theirs in rows if scores.per_type else []:
        assert ours.f1 == pytest.approx(100 * theirs["f1-score"], abs=0.006)
        assert ours.precision == pytest.approx(100 * theirs["precision"], abs=0.006)
        assert ours.recall == pytest.approx(100 * theirs["recall"], abs=0.006)
        assert ours.support == theirs["support"]


@given(sentences)
def test_the_counts_of_sentences_add_up_to_the_scores(pairs: list[list[tuple[str, str]]]) -> None:
    labelled = [[one for one, _ in sentence] for sentence in pairs]
    predicted = [[other for _, other in sentence] for sentence in pairs]
    correct, found, expected = (sum(column) for column in zip(*count_spans(labelled, predicted), strict=True))
    scores = strict_span_f1(labelled, predicted)
    assert scores.support == expected
    assert scores.f1 == round(200 * correct / max(found + expected, 1), 2)


def test_an_entity_without_a_first_tag_does_not_count() -> None:
    assert strict_span_f1([["B-PER", "I-PER"]], [["I-PER", "I-PER"]]).precision == 0


def test_no_entities_give_zeros() -> None:
    scores = strict_span_f1([["O"]], [["O"]])
    assert (scores.f1, scores.precision, scores.recall, scores.support, scores.per_type) == (0, 0, 0, 0, {})


@pytest.mark.parametrize("predicted", [[["O"]], [["O"], ["O", "O"]]])
def test_tags_of_other_lengths_are_refused(predicted: list[list[str]]) -> None:
    with pytest.raises(InputError, match="differ in the number of sentences or words"):
        strict_span_f1([["O"], ["O"]], predicted)
