"""Texts fall into sentences that are all of the text, cut where every language that it may be in would cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall.segmentation import sentence_bounds

LANGUAGES = ("am", "bg", "de", "en", "ru", "zh", "mul", "xx-Latn")


def cut(text: str, *languages: str) -> list[str]:
    return [text[start:end] for start, end in sentence_bounds(text, languages)]


@given(st.text(st.characters(codec=None) | st.sampled_from(" .!?\n\r\t\0。।…“”)")), st.lists(st.sampled_from(LANGUAGES)))
def test_the_sentences_of_any_text_are_all_of_it_in_order(text: str, languages: list[str]) -> None:
    bounds = sentence_bounds(text, languages)
    assert "".join(text[start:end] for start, end in bounds) == text
    assert [start for start, _ in bounds] == [0, *(end for _, end in bounds[:-1])]


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("de", ["Prof. Dr. Merkel kam am 3. Mai nach Bonn. ", "Graz liegt an der Mur."]),
        ("ru", ["Он родился в 1950 г. в Москве. ", "Потом уехал."]),
        ("zh", ["我住在北京。", "你呢？"]),
        ("bn", ["আমি ঢাকায় থাকি। ", "তুমি কোথায়?"]),
        ("am", ["አበበ በሶ በላ። ", "ጫላ ጩቤ ጨበጠ።"]),
        ("en", ["Is 😀 one character? ", "Yes."]),
    ],
)
def test_a_language_has_its_own_full_stops_and_abbreviations(language: str, sentences: list[str]) -> None:
    assert cut("".join(sentences), language) == sentences


def test_a_text_is_cut_only_where_all_its_languages_would_cut_it() -> None:
    text = "Sie kam am 3. Mai. Er blieb."
    assert cut(text, "en") == ["Sie kam am 3. ", "Mai. ", "Er blieb."]
    assert cut(text, "en", "de") == cut(text, "de", "en") == ["Sie kam am 3. Mai. ", "Er blieb."]


def test_paragraphs_end_sentences_and_without_languages_nothing_does() -> None:
    assert cut("Bonn\n\nGraz", "de") == ["Bonn", "\n\n", "Graz"]
    assert cut("Bonn. Graz.") == ["Bonn. Graz."]
