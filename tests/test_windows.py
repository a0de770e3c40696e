"""Long texts fall into windows that lose no word, keep to the budget and end where people pause."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall.entities import Sentence
from modeling_retrieveall.windows import split_windows

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
def test_windows_hold_every_word_exactly_once_and_in_order(counted: list[tuple[str, int]], budget: int) -> None:
    windows = split(counted, budget)
    assert [position for start, end in windows for position in range(start, end)] == list(range(len(counted)))
    assert all(start < end for start, end in windows)


@given(counted_words, budgets)
def test_a_window_is_within_the_budget_unless_it_is_a_single_word(counted: list[tuple[str, int]], budget: int) -> None:
    counts = [count for _, count in counted]
    assert all(sum(counts[start:end]) <= budget or end == start + 1 for start, end in split(counted, budget))


def test_what_is_left_after_a_pause_is_cut_again_when_the_next_word_does_not_fit() -> None:
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


def test_a_pause_in_the_first_half_is_passed_over() -> None:
    counted = [(word, 1) for word in ["Ja", ".", "Graz", "liegt", "an", "der", "Mur", "in", "Österreich"]]
    assert split(counted, budget=6) == [(0, 6), (6, 9)]


def test_a_text_that_fits_is_one_window_and_one_without_words_has_none() -> None:
    assert split([("Bonn", 4), (".", 4)], budget=8) == [(0, 2)]
    assert split([], budget=8) == []


def test_a_word_over_the_budget_has_a_window_of_its_own() -> None:
    assert split([("Bonn", 1), ("Graz", 20), ("Wien", 1)], budget=8) == [(0, 1), (1, 2), (2, 3)]
