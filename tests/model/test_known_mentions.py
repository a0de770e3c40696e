"""Known mentions: words of a sentence that are labelled in the examples."""

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall.model.entities import Example, Sentence, Span
from modeling_retrieveall.model.known_mentions import KnownMentions, MentionMatch, interpolated

LABELS = ["LOC", "PER"]


def example(text: str, *spans: tuple[int, int, str]) -> Example:
    return Example(Sentence.from_words(text.split()), tuple(Span(*span) for span in spans))


def find(examples: list[Example], text: str) -> list[MentionMatch]:
    return KnownMentions(examples).find(Sentence.from_words(text.split()))


NAIROBI = example("Wangari Maathai alizaliwa Nairobi .", (0, 2, "PER"), (3, 4, "LOC"))


def test_a_labelled_mention_is_found_by_its_words() -> None:
    assert find([NAIROBI], "Anaishi Nairobi .") == [MentionMatch(1, 2, {"LOC": 1}, 1)]
    assert find([NAIROBI], "Wangari Maathai na Maathai") == [MentionMatch(0, 2, {"PER": 1}, 1)]
    assert find([NAIROBI], "nairobi anaishi") == []
    assert find([], "Nairobi") == []


def test_occurrences_that_are_no_entity_count() -> None:
    rose = [example("Rose alifika", (0, 1, "PER")), example("waridi Rose"), example("Rose nyekundu")]
    (match,) = find(rose, "Rose")
    assert match == MentionMatch(0, 1, {"PER": 1}, 3)
    assert (match.shares, match.certainty) == ({"PER": pytest.approx(1 / 3)}, 0.75)


def test_a_part_of_a_longer_entity_counts_neither_way() -> None:
    york = [example("York ni mji", (0, 1, "LOC")), example("New York Times", (0, 3, "ORG"))]
    assert find(york, "York") == [MentionMatch(0, 1, {"LOC": 1}, 1)]


@pytest.mark.parametrize(
    ("labelled", "text"),
    [
        (["Nordrhein-Westfalen"], ["Nordrhein", "-", "Westfalen"]),
        (["Nordrhein", "-", "Westfalen"], ["Nordrhein-Westfalen"]),
        (["Ile\u0301"], ["Il\u00e9"]),
        (["Nai\u00adrobi"], ["Nairobi"]),
        (["O'Neill"], ["O", "'", "Neill"]),
        (["北京"], ["北", "京"]),
    ],
)
def test_mentions_are_found_however_they_are_written(labelled: list[str], text: list[str]) -> None:
    known = Example(Sentence.from_words([*labelled, "x"]), (Span(0, len(labelled), "LOC"),))
    found = KnownMentions([known]).find(Sentence.from_words(["y", *text]))
    assert found == [MentionMatch(1, 1 + len(text), {"LOC": 1}, 1)]


def test_a_part_of_a_word_is_no_mention() -> None:
    assert find([example("Westfalen", (0, 1, "LOC"))], "Nordrhein-Westfalen") == []


def test_an_occurrence_at_the_end_counts_once() -> None:
    kennedy = [example("Rose Kennedy", (0, 2, "PER")), example("Rose", (0, 1, "PER"))]
    assert find(kennedy, "Rose") == [MentionMatch(0, 1, {"PER": 1}, 1)]


def test_an_entity_with_an_empty_word_counts() -> None:
    labelled = Example(Sentence.from_words(["", "Angela", "", "."]), (Span(0, 3, "PER"),))
    [match] = KnownMentions([labelled]).find(Sentence.from_text("Angela"))
    assert match.shares == {"PER": 1.0}


def test_a_large_index_is_read_in_a_short_time() -> None:
    examples = [Example(Sentence.from_words(["a"] * 400), (Span(0, length, "PER"),)) for length in range(1, 200)]
    began = time.process_time()
    KnownMentions(examples).find(Sentence.from_words(["a"] * 1000))
    assert time.process_time() - began < 20  # with mentions of any length it would be minutes


def test_the_longest_mention_wins_and_mentions_do_not_overlap() -> None:
    york = [example("New York Times", (0, 3, "ORG")), example("York", (0, 1, "LOC")), example("Times", (0, 1, "ORG"))]
    assert [(m.start, m.end) for m in find(york, "New York Times York Times")] == [(0, 3), (3, 4), (4, 5)]


def test_interpolation_by_hand() -> None:
    before = torch.tensor([[0.6, 0.1, 0.1, 0.1, 0.1], [0.6, 0.1, 0.1, 0.1, 0.1], [0.2, 0.2, 0.2, 0.2, 0.2]])
    match = MentionMatch(0, 2, {"PER": 3}, 4)
    after = interpolated(before.log(), [match], LABELS, match_weight=0.5).exp()
    torch.testing.assert_close(after[0], 0.6 * before[0] + 0.4 * torch.tensor([0.25, 0, 0.75, 0, 0]))
    torch.testing.assert_close(after[1], 0.6 * before[1] + 0.4 * torch.tensor([0.25, 0, 0, 0, 0.75]))
    assert after[2].equal(before[2].log().exp())


def test_without_weight_or_matches_nothing_changes() -> None:
    before = torch.randn(3, 5).log_softmax(-1)
    assert interpolated(before, [], LABELS, 0.7) is before
    assert interpolated(before, [MentionMatch(0, 1, {"PER": 1}, 1)], LABELS, 0.0) is before


WORDS = st.lists(st.sampled_from("abc"), min_size=1, max_size=6)


@st.composite
def labelled(draw: st.DrawFn) -> Example:
    words, spans, start = draw(WORDS), [], 0
    while start < len(words):
        end = draw(st.integers(start + 1, len(words)))
        if draw(st.booleans()):
            spans.append(Span(start, end, draw(st.sampled_from(LABELS))))
        start = end
    return Example(Sentence.from_words(words), tuple(spans))


def counted(examples: list[Example], mention: tuple[str, ...]) -> tuple[dict[str, float], float]:
    """The shares and the certainty of a mention, counted place by place."""
    labels: list[str | None] = []
    for each in examples:
        words = [word.text for word in each.sentence.words]
        for start in range(len(words) - len(mention) + 1):
            end = start + len(mention)
            if tuple(words[start:end]) == mention:
                overlapping = [span for span in each.spans if span.start < end and start < span.end]
                if not overlapping or [(span.start, span.end) for span in overlapping] == [(start, end)]:
                    labels.append(overlapping[0].label if overlapping else None)
    shares = {label: labels.count(label) / len(labels) for label in set(labels) if label}
    return shares, len(labels) / (len(labels) + 1)


@given(st.lists(labelled(), max_size=5), WORDS, st.floats(0, 1), st.integers(0, 99))
def test_results_are_probabilities_and_matches_are_mentions(
    examples: list[Example], words: list[str], weight: float, seed: int
) -> None:
    known = {tuple(w.text for w in e.sentence.words[s.start : s.end]) for e in examples for s in e.spans}
    matches = find(examples, " ".join(words))
    end = 0
    for match in matches:
        assert match.start >= end
        end = match.end
        assert tuple(words[match.start : match.end]) in known
        mention = tuple(words[match.start : match.end])
        assert match.shares == pytest.approx(counted(examples, mention)[0])
        assert match.certainty == pytest.approx(counted(examples, mention)[1])
        assert 0.5 <= match.certainty < 1
    before = torch.randn(len(words), 5, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    after = interpolated(before, matches, LABELS, weight)
    torch.testing.assert_close(after.exp().sum(-1), torch.ones(len(words)))
