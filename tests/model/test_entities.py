"""Words and offsets of any text, and conversion between spans and tags of any scheme."""

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall.data.tags import Scheme, detect_scheme, spans_from_tags, split_tag
from modeling_retrieveall.model.entities import (
    Entity,
    Example,
    Mention,
    Sentence,
    Span,
    pieces,
    tags_from_spans,
)
from tests.strategies import spans_within, tags_in_scheme, texts, word_lists

SCHEMES: tuple[Scheme, ...] = ("BIO", "IOB1", "BILOU")
PREFIXES = ("B", "I", "L", "U", "E", "S")

schemes = st.sampled_from(SCHEMES)
labelled_lengths = st.integers(0, 12).flatmap(lambda length: st.tuples(st.just(length), spans_within(length)))
any_tags = st.lists(st.sampled_from(["O"] + [f"{prefix}-{label}" for prefix in PREFIXES for label in ("PER", "LOC")]))


def words_of(text: str) -> list[str]:
    return [word.text for word in Sentence.from_text(text).words]


@given(texts)
def test_every_word_is_the_text_between_its_offsets(text: str) -> None:
    assert all(text[word.start : word.end] == word.text for word in Sentence.from_text(text).words)


@given(texts)
def test_words_are_ordered_disjoint_and_not_empty(text: str) -> None:
    end = 0
    for word in Sentence.from_text(text).words:
        assert end <= word.start < word.end
        end = word.end


@given(texts)
def test_every_letter_digit_mark_and_symbol_is_in_a_word(text: str) -> None:
    covered = {position for word in Sentence.from_text(text).words for position in range(word.start, word.end)}
    visible = {position for position, character in enumerate(text) if unicodedata.category(character)[0] in "LNPSM"}
    assert visible <= covered


@given(texts)
def test_every_word_has_a_visible_character(text: str) -> None:
    invisible = ("Zs", "Zl", "Zp", "Cc", "Cf", "Cs")
    assert all(any(unicodedata.category(character) not in invisible for character in word) for word in words_of(text))


@given(texts)
def test_no_word_contains_white_space_control_characters_or_surrogates(text: str) -> None:
    for word in words_of(text):
        assert not any(character.isspace() or unicodedata.category(character) in ("Cc", "Cs") for character in word)


@given(texts)
def test_a_word_of_a_text_is_not_split_further(text: str) -> None:
    assert all(pieces(word) == [word] for word in words_of(text))


@given(texts)
def test_the_text_of_every_entity_is_the_text_between_its_offsets(text: str) -> None:
    sentence = Sentence.from_text(text)
    for start in range(len(sentence.words)):
        entity = sentence.entity(Span(start, len(sentence.words), "PER"))
        assert text[entity.start : entity.end] == entity.text


@given(word_lists)
def test_pre_split_words_are_kept_with_offsets_into_the_joined_text(words: list[str]) -> None:
    sentence = Sentence.from_words(words)
    assert sentence.text == " ".join(words)
    assert [word.text for word in sentence.words] == words
    assert all(sentence.text[word.start : word.end] == word.text for word in sentence.words)


@given(word_lists)
def test_a_slice_keeps_the_offsets_into_the_whole_text(words: list[str]) -> None:
    sentence = Sentence.from_words(words)
    part = sentence.slice(len(words) // 2, len(words))
    assert part.text == sentence.text
    assert part.words == sentence.words[len(words) // 2 :]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Angela Merkel's Bonn-Besuch (1990).", ["Angela", "Merkel", "'", "s", "Bonn", "-", "Besuch", "(", "1990", ")", "."]),
        ("我爱北京。", ["我", "爱", "北", "京", "。"]),
        ("東京のカフェ", ["東", "京", "の", "カ", "フ", "ェ"]),
        ("ไปเชียงใหม่", ["ไ", "ป", "เ", "ชี", "ย", "ง", "ใ", "ห", "ม่"]),
        ("வேலூர் மாவட்டம்", ["வேலூர்", "மாவட்டம்"]),
        ("زار القاهرة، أمس", ["زار", "القاهرة", "،", "أمس"]),
        ("می‌خواهم", ["می‌خواهم"]),
        ("서울에서 만나", ["서", "울", "에", "서", "만", "나"]),
        ("スーパーの時々", ["ス", "ー", "パ", "ー", "の", "時", "々"]),
        ("Donau\u00addampf\u200bschiff\u00ad", ["Donau\u00addampf\u200bschiff"]),
        ("בירושלים ולעכו", ["ב", "ירושלים", "ו", "ל", "עכו"]),
        ("وبالقاهرة في باريس", ["و", "ب", "القاهرة", "في", "باريس"]),
        ("Hi👨‍👩‍👧👍🏽🇩🇪!", ["Hi", "👨‍👩‍👧", "👍🏽", "🇩🇪", "!"]),
        ("Cafe\u0301 Zu\u0308rich", ["Cafe\u0301", "Zu\u0308rich"]),
        ("a\x00b\u202ec\ud800d", ["a", "b", "c", "d"]),
        ("iPhone15在北京", ["iPhone15", "在", "北", "京"]),
        ("", []),
        (" \t\n\u200b\u2066\x00", []),
    ],
)
def test_texts_are_split_into_the_expected_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_a_lone_joiner_is_not_a_word() -> None:
    assert words_of("Bonn \u200d und \u200c\u200d Graz") == ["Bonn", "und", "Graz"]


def test_a_very_long_run_of_letters_is_split() -> None:
    assert [len(word) for word in words_of("a" * 250)] == [100, 100, 50]


def test_a_word_is_glued_if_no_space_or_control_character_precedes_it() -> None:
    assert [word.glued for word in Sentence.from_text("Bonn, (Graz)\x00北京\u200b!").words] == [
        False,
        True,
        False,
        True,
        True,
        False,
        True,
        True,
    ]


def test_words_of_the_caller_get_their_usual_spaces() -> None:
    words = ["Sie", "(", "Bonn", ")", "kam", "，", "北", "京", "Graz", "、", ""]
    assert [word.glued for word in Sentence.from_words(words).words] == [
        False,
        False,
        True,
        True,
        False,
        True,
        True,
        True,
        False,
        True,
        False,
    ]


def test_an_entity_has_the_characters_of_the_original_text() -> None:
    sentence = Sentence.from_text("👍🏽 Zu\u0308rich  (Schweiz)")
    assert sentence.entity(Span(1, 4, "LOC"), 0.5) == Entity("Zu\u0308rich  (Schweiz", "LOC", 3, 20, 0.5)


def test_a_mention_has_the_text_of_its_sentence_and_duplicates_share_a_key() -> None:
    raw = Example(Sentence.from_text("Angela  Merkel kam."), (Span(0, 2, "PER"),))
    split = Example(Sentence.from_words(["Angela", "Merkel", "kam", "."]), ())
    assert Mention(raw, raw.spans[0]).text == "Angela  Merkel"
    assert raw.key == split.key == "Angela Merkel kam ."


@given(labelled_lengths, schemes)
def test_spans_are_recovered_from_their_tags_without_repair(labelled: tuple[int, list[Span]], scheme: Scheme) -> None:
    length, spans = labelled
    tags = tags_in_scheme(spans, length, scheme)
    assert len(tags) == length
    assert spans_from_tags(tags, scheme) == (spans, [])


@given(labelled_lengths, st.randoms(use_true_random=False))
def test_the_order_in_which_spans_are_given_does_not_matter(labelled: tuple[int, list[Span]], rng: random.Random) -> None:
    length, spans = labelled
    shuffled = rng.sample(spans, len(spans))
    assert tags_from_spans(shuffled, length) == tags_from_spans(spans, length)


@given(any_tags, schemes)
def test_every_sequence_of_tags_can_be_repaired(tags: list[str], scheme: Scheme) -> None:
    spans, _ = spans_from_tags(tags, scheme)
    covered = {position for span in spans for position in range(span.start, span.end)}
    assert covered == {position for position, tag in enumerate(tags) if tag != "O"}
    assert spans_from_tags(tags_in_scheme(spans, len(tags), scheme), scheme) == (spans, [])


@given(any_tags, schemes)
def test_only_tags_of_words_in_mentions_are_repaired(tags: list[str], scheme: Scheme) -> None:
    _, repairs = spans_from_tags(tags, scheme)
    assert {tags[position] for position in repairs}.isdisjoint({"O"})
    assert repairs == sorted(set(repairs))


@pytest.mark.parametrize(
    ("tags", "scheme", "spans", "repairs"),
    [
        ("O I-PER I-PER O", "BIO", [(1, 3, "PER")], [1]),
        ("B-PER I-LOC I-LOC", "BIO", [(0, 1, "PER"), (1, 3, "LOC")], [1]),
        ("I-PER I-PER B-PER I-LOC", "IOB1", [(0, 2, "PER"), (2, 3, "PER"), (3, 4, "LOC")], []),
        ("B-PER I-PER O", "BILOU", [(0, 2, "PER")], [1]),
        ("B-PER I-PER", "BILOU", [(0, 2, "PER")], [1]),
        ("O L-PER U-LOC", "BILOU", [(1, 2, "PER"), (2, 3, "LOC")], [1]),
        ("B-PER U-PER", "BILOU", [(0, 1, "PER"), (1, 2, "PER")], [0]),
        ("B-PER L-LOC", "BILOU", [(0, 1, "PER"), (1, 2, "LOC")], [0, 1]),
        ("B-PER I-PER E-PER S-LOC", "BILOU", [(0, 3, "PER"), (3, 4, "LOC")], []),
    ],
)
def test_an_invalid_sequence_is_repaired_and_the_repairs_are_listed(
    tags: str, scheme: Scheme, spans: list[tuple[int, int, str]], repairs: list[int]
) -> None:
    assert spans_from_tags(tags.split(), scheme) == ([Span(*span) for span in spans], repairs)


@given(st.lists(labelled_lengths, min_size=1), schemes)
def test_the_scheme_is_recovered_from_any_dataset_that_has_a_span(labelled: list[tuple[int, list[Span]]], scheme: Scheme) -> None:
    sequences = [tags_in_scheme(spans, length, scheme) for length, spans in labelled]
    has_span = any(spans for _, spans in labelled)
    assert detect_scheme(sequences) == (scheme if has_span else "BIO")


@pytest.mark.parametrize(
    ("tag", "parts"),
    [
        ("O", ("O", "")),
        ("B-PER", ("B", "PER")),
        ("E-PER", ("L", "PER")),
        ("S-PER", ("U", "PER")),
        ("I-event-other", ("I", "event-other")),
    ],
)
def test_a_tag_is_split_into_prefix_and_label(tag: str, parts: tuple[str, str]) -> None:
    assert split_tag(tag) == parts


@pytest.mark.parametrize("tag", ["", "PER", "B", "B-", "-PER", "X-PER", "B_PER", "o", "BI-PER", "IL-PER"])
def test_a_malformed_tag_is_named_in_the_error(tag: str) -> None:
    with pytest.raises(ValueError, match=r"is not BIO, IOB1 or BILOU") as error:
        spans_from_tags(["O", tag])
    assert repr(tag) in str(error.value)


@pytest.mark.parametrize(
    "spans",
    [
        [Span(1, 1, "PER")],
        [Span(2, 1, "PER")],
        [Span(-1, 1, "PER")],
        [Span(2, 4, "PER")],
        [Span(0, 2, "PER"), Span(1, 3, "LOC")],
        [Span(0, 1, "PER"), Span(0, 1, "LOC")],
    ],
)
def test_spans_that_overlap_or_leave_the_sentence_raise_an_error(spans: list[Span]) -> None:
    with pytest.raises(ValueError, match="is empty, is not within the 3 words, or overlaps"):
        tags_from_spans(spans, 3)
