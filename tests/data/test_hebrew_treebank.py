"""Sentences of the Hebrew treebank become natural text and keep their entities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall.data.hebrew_treebank import as_written
from modeling_retrieveall.data.raw_text import as_raw_text
from modeling_retrieveall.model.entities import Example, Sentence, Span
from tests.strategies import spans_within

MORPHEMES = ["יכולת_", "_של_", "_הוא", "_הם", "ב", "ה_", "ה", "גליל", "שפן_", "_", "__", "snake_case", 'בית"ר', "."]


@pytest.mark.parametrize(
    ("morphemes", "written"),
    [
        ("ב ה_ דקה", "בדקה"),
        ("יכולת_ _של_ _הוא", "יכולתו"),
        ("שפן_ _של_ _הם", "שפנם"),
        ("חתן_ _של_ _הוא", "חתנו"),
        ("ל_ _הוא", "לו"),
        ("ה פועל חולון", "הפועל חולון"),
        ("snake_case _ x", "snake_case _ x"),
    ],
)
def test_morphemes_are_written_as_in_natural_text(morphemes: str, written: str) -> None:
    example = as_written(Example(Sentence.from_words(morphemes.split()), ()))
    assert as_raw_text(example).sentence.text == written


def test_an_article_that_is_not_written_is_no_part_of_an_entity() -> None:
    example = as_written(Example(Sentence.from_words(["ב", "ה_", "גליל", "ה_"]), (Span(1, 3, "LOC"), Span(3, 4, "ORG"))))
    assert [(example.sentence.entity(span).text, span.label) for span in example.spans] == [("גליל", "LOC")]


@given(words=st.lists(st.sampled_from(MORPHEMES), min_size=1, max_size=12), data=st.data())
def test_entities_stay_in_order_and_sentences_are_changed_once(words: list[str], data: st.DataObject) -> None:
    example = Example(Sentence.from_words(words), tuple(data.draw(spans_within(len(words)))))
    written = as_written(example)
    assert as_written(written) == written
    labels = iter([span.label for span in example.spans])
    assert all(span.label in labels for span in written.spans)  # in the same order
    assert all(0 <= span.start < span.end <= len(written.sentence.words) for span in written.spans)
