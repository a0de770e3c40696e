"""Long texts are split into windows that contain every word, keep to the token budget and end at punctuation."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall.model.documents import merged_entities, split_windows
from modeling_retrieveall.model.entities import Entity, Sentence, Span

SENTENCE_ENDS = (".", "!", "?", "。", "।", "؟", "።", "…")

counted_word = st.tuples(st.sampled_from(["Bonn", "liegt", "am", "Rhein", "."]), st.integers(1, 12))
counted_words = st.integers(0, 40).flatmap(lambda length: st.lists(counted_word, min_size=length, max_size=length))
budgets = st.integers(1, 40)


def split(counted: list[tuple[str, int]], budget: int) -> list[tuple[int, int]]:
    return split_windows(Sentence.from_words([word for word, _ in counted]), [count for _, count in counted], budget)


def end_of_what_fits(counts: list[int], start: int, budget: int) -> int:
    end = start + 1
    while end < len(counts) and sum(counts[start : end + 1]) <= budget:
        end += 1
    return end


@given(counted_words, budgets)
def test_windows_contain_every_word_and_overlap_by_an_eighth_at_most(counted: list[tuple[str, int]], budget: int) -> None:
    windows = split(counted, budget)
    assert {position for start, end in windows for position in range(start, end)} == set(range(len(counted)))
    for (start, end), (next_start, next_end) in pairwise(windows):
        assert start < next_start <= end < next_end
        assert sum(count for _, count in counted[next_start:end]) <= budget / 8


@given(counted_words, budgets)
def test_a_window_is_within_the_budget_unless_it_is_a_single_word(counted: list[tuple[str, int]], budget: int) -> None:
    counts = [count for _, count in counted]
    assert all(sum(counts[start:end]) <= budget or end == start + 1 for start, end in split(counted, budget))


def test_the_rest_after_a_pause_is_split_again_if_the_next_word_does_not_fit() -> None:
    assert split([("Bonn", 1), (".", 1), ("Graz", 6), ("Wien", 8)], budget=8) == [(0, 2), (2, 3), (3, 4)]


@given(counted_words, budgets)
def test_a_window_ends_at_the_last_pause_in_its_second_half_or_is_full(counted: list[tuple[str, int]], budget: int) -> None:
    counts = [count for _, count in counted]
    for start, end in split(counted, budget)[:-1]:
        full = end_of_what_fits(counts, start, budget)
        pauses = [i for i in range((start + full) // 2 + 1, full + 1) if counted[i - 1][0].endswith(SENTENCE_ENDS)]
        assert end == (pauses[-1] if pauses else full)


@pytest.mark.parametrize("mark", SENTENCE_ENDS)
def test_the_end_of_a_sentence_is_preferred_to_a_full_window(mark: str) -> None:
    counted = [(word, 1) for word in ["Bonn", "liegt", "hier", mark, "Graz", "liegt", "dort", mark]]
    assert split(counted, budget=6) == [(0, 4), (4, 8)]


def test_a_pause_in_the_first_half_is_ignored() -> None:
    counted = [(word, 1) for word in ["Ja", ".", "Graz", "liegt", "an", "der", "Mur", "in", "Österreich"]]
    assert split(counted, budget=6) == [(0, 6), (6, 9)]


def test_a_text_that_fits_is_one_window_and_one_without_words_has_none() -> None:
    assert split([("Bonn", 4), (".", 4)], budget=8) == [(0, 2)]
    assert split([], budget=8) == []


def test_a_word_over_the_budget_has_a_window_of_its_own() -> None:
    assert split([("Bonn", 1), ("Graz", 20), ("Wien", 1)], budget=8) == [(0, 1), (1, 2), (2, 3)]


def test_a_window_that_ends_inside_a_sentence_overlaps_the_next() -> None:
    assert split([("Bonn", 1)] * 40, budget=16) == [(0, 16), (14, 30), (28, 40)]


def entity(text: str, start: int, end: int, label: str = "LOC") -> Entity:
    return Entity(text[start:end], label, start, end)


def test_in_an_overlap_a_name_is_taken_from_the_window_with_more_context() -> None:
    text = "a b c New York d e f Rio g"
    sentence = Sentence.from_text(text)
    first, second = sentence.slice(0, 6), sentence.slice(3, 10)
    new_york, york, rio = entity(text, 6, 14), entity(text, 10, 14, "PER"), entity(text, 21, 24)
    assert merged_entities([(first, [new_york]), (second, [york, rio])]) == [new_york, rio]
    d = entity(text, 15, 16, "PER")
    assert merged_entities([(first, [new_york, d]), (second, [new_york, rio])]) == [new_york, d, rio], "found by one window alone"


def test_a_name_at_the_border_of_two_windows_is_not_lost() -> None:
    text = "a b c New York d e f"
    sentence = Sentence.from_text(text)
    new_york, new, york = entity(text, 6, 14), entity(text, 6, 9), entity(text, 10, 14)
    assert merged_entities([(sentence.slice(0, 5), [new_york]), (sentence.slice(1, 8), [new])]) == [new_york]
    assert merged_entities([(sentence.slice(0, 7), [york]), (sentence.slice(3, 8), [new_york])]) == [new_york]
    assert merged_entities([(sentence.slice(0, 7), [new_york]), (sentence.slice(3, 8), [])]) == [new_york]


@given(counted_words, st.integers(2, 12), st.integers(0, 10**6))
def test_merged_entities_come_from_windows_in_order_without_overlaps(
    counted: list[tuple[str, int]], budget: int, seed: int
) -> None:
    sentence = Sentence.from_words([word for word, _ in counted])
    rng = random.Random(seed)
    windows = []
    for start, end in split(counted, budget):
        part, found, at = sentence.slice(start, end), [], 0
        while at < len(part.words):
            length = rng.randint(1, 3)
            if rng.random() < 0.5 and at + length <= len(part.words):
                found.append(part.entity(Span(at, at + length, "LOC")))
            at += length
        windows.append((part, found))
    entities = merged_entities(windows)
    assert all(before.end <= after.start for before, after in pairwise(entities))
    found = [entity for _, of_window in windows for entity in of_window]
    assert set(entities) <= set(found)
    assert all(any(kept.start < entity.end and entity.start < kept.end for kept in entities) for entity in found)
    if len(windows) == 1:
        assert entities == windows[0][1]


def test_an_entity_found_in_several_windows_is_returned_once() -> None:
    sentence = Sentence.from_words(["w"] * 40)
    bounds = split_windows(sentence, [1] * 40, 16)
    found = [
        (part, [part.entity(Span(i, i + 1, "LOC")) for i in range(len(part.words))])
        for part in (sentence.slice(*b) for b in bounds)
    ]
    assert [entity.start for entity in merged_entities(found)] == [word.start for word in sentence.words]
