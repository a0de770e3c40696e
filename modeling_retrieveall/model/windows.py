"""Sentences longer than the model's window, cut where people pause; and what was found in windows that overlap, merged.

>>> sentence = Sentence.from_text("Bonn liegt am Rhein. Graz liegt an der Mur.")
>>> split_windows(sentence, token_counts=[1] * 11, max_tokens=8)
[(0, 5), (5, 11)]
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from .entities import Entity, Sentence
from .sentence_splitting import STOPS

_SENTENCE_ENDS = frozenset(STOPS)
_OVERLAP = 1 / 8
"""Of a window: 32 of 256 tokens, more than any name but the longest."""


def split_windows(sentence: Sentence, token_counts: Sequence[int], max_tokens: int) -> list[tuple[int, int]]:
    """Consecutive runs of words that each fit a token budget; together they are all words.

    A window ends after the last end of a sentence in its second half, else before the first word that no longer fits. The next
    one begins up to an eighth of the budget earlier, so that one of the two sees any name whole: a full stop may be that of an
    abbreviation.

    Args:
        sentence: The words.
        token_counts: Tokens of each word.
        max_tokens: Tokens of a window at most; a single longer word has a window of its own.

    Returns:
        For each window its first word and the word after its last.
    """
    windows: list[tuple[int, int]] = []
    start = end = tokens = 0
    for position, count in enumerate(token_counts):
        while position > start and tokens + count > max_tokens:
            end = _last_pause(sentence, max((start + position) // 2, end), position)
            windows.append((start, end))
            room = max_tokens - count - sum(token_counts[end:position])
            start = _overlapping(token_counts, start, end, min(room, max_tokens * _OVERLAP))
            tokens = sum(token_counts[start:position])
        tokens += count
    if start < len(token_counts):
        windows.append((start, len(token_counts)))
    return windows


def _last_pause(sentence: Sentence, after: int, end: int) -> int:
    for position in range(end, after, -1):
        if sentence.words[position - 1].text[-1:] in _SENTENCE_ENDS:
            return position
    return end


def _overlapping(token_counts: Sequence[int], start: int, end: int, tokens: float) -> int:
    """The first word of the next window: as many words before ``end`` as have so many tokens, and not all of them."""
    first = end
    while first - 1 > start and sum(token_counts[first - 1 : end]) <= tokens:
        first -= 1
    return first


def merged(windows: Iterable[tuple[Sentence, Sequence[Entity]]]) -> list[Entity]:
    """The entities of a text from those of its windows, in order and without overlap.

    Where two windows overlap, each answers for its half: a name at the edge of one is in the middle of the other. What the
    window that answers has not found is taken from the other, the longer first.

    Args:
        windows: The words of each window, in order, and the entities found there.
    """
    listed = [(sentence, entities) for sentence, entities in windows if sentence.words]
    starts = [sentence.words[0].start for sentence, _ in listed]
    ends = [sentence.words[-1].end for sentence, _ in listed]
    # Twice the offsets, as twice the middle of an entity is a whole number.
    borders = [-1, *(max(end, start) + start for end, start in zip(ends, starts[1:], strict=False)), 2 * max(ends, default=0) + 1]
    kept: list[Entity] = []
    others: list[Entity] = []
    for position, (_, entities) in enumerate(listed):
        for entity in entities:
            answers = borders[position] <= entity.start + entity.end < borders[position + 1]
            (kept if answers and (not kept or kept[-1].end <= entity.start) else others).append(entity)
    for entity in sorted(others, key=lambda entity: entity.start - entity.end):
        place = bisect_left(kept, entity.start, key=lambda other: other.end - 1)
        if place == len(kept) or entity.end <= kept[place].start:
            kept.insert(place, entity)
    return kept
