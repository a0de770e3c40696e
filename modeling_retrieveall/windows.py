"""Sentences longer than the model's window, cut where people pause; and what was found in windows that overlap, merged.

>>> sentence = Sentence.from_text("Bonn liegt am Rhein. Graz liegt an der Mur.")
>>> split_windows(sentence, token_counts=[1] * 11, max_tokens=8)
[(0, 5), (5, 11)]
"""

from collections.abc import Iterable, Sequence

from .entities import Entity, Sentence

_SENTENCE_ENDS = frozenset(".!?。！？।॥؟…።")
_OVERLAP = 1 / 8
"""Of a window that ends where nobody pauses: 32 of 256 tokens, more than any name but the longest."""


def split_windows(sentence: Sentence, token_counts: Sequence[int], max_tokens: int) -> list[tuple[int, int]]:
    """Consecutive runs of words that each fit a token budget; together they are all words.

    A window ends after the last end of a sentence in its second half. Without one it ends before the first word that no longer
    fits, and the next one begins an eighth of the budget earlier, so that one of the two sees any name whole.

    Args:
        sentence: The words.
        token_counts: Tokens of each word.
        max_tokens: Tokens of a window at most; a single longer word has a window of its own.

    Returns:
        For each window its first word and the word after its last.
    """
    windows: list[tuple[int, int]] = []
    start = tokens = 0
    for position, count in enumerate(token_counts):
        while position > start and tokens + count > max_tokens:
            end = _last_pause(sentence, start, position)
            windows.append((start, end or position))
            room = max_tokens - count if end is None else 0
            start = end or _overlapping(token_counts, start, position, min(room, max_tokens * _OVERLAP))
            tokens = sum(token_counts[start:position])
        tokens += count
    if start < len(token_counts):
        windows.append((start, len(token_counts)))
    return windows


def _last_pause(sentence: Sentence, start: int, end: int) -> int | None:
    for position in range(end, (start + end) // 2, -1):
        if sentence.words[position - 1].text[-1:] in _SENTENCE_ENDS:
            return position
    return None


def _overlapping(token_counts: Sequence[int], start: int, end: int, tokens: float) -> int:
    """The first word of the next window: as many words before ``end`` as have so many tokens, and not all of them."""
    first = end
    while first - 1 > start and sum(token_counts[first - 1 : end]) <= tokens:
        first -= 1
    return first


def merged(windows: Iterable[tuple[Sentence, Sequence[Entity]]]) -> list[Entity]:
    """The entities of a text from those of its windows, in order and without overlap.

    Where two windows overlap, each answers for its half: a name at the edge of one is in the middle of the other.

    Args:
        windows: The words of each window, in order, and the entities found there.
    """
    listed = [(sentence, entities) for sentence, entities in windows if sentence.words]
    starts = [sentence.words[0].start for sentence, _ in listed]
    ends = [sentence.words[-1].end for sentence, _ in listed]
    # Twice the offsets, as twice the middle of an entity is a whole number.
    middles = [max(end, start) + start for end, start in zip(ends, starts[1:], strict=False)]
    result: list[Entity] = []
    for position, (_, entities) in enumerate(listed):
        low = middles[position - 1] if position else -1
        high = middles[position] if position < len(middles) else 2 * ends[position] + 1
        for entity in entities:
            if low <= entity.start + entity.end < high and (not result or entity.start >= result[-1].end):
                result.append(entity)
    return result
