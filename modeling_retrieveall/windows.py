"""Texts longer than the model's window, cut where people pause.

>>> sentence = Sentence.from_text("Bonn liegt am Rhein. Graz liegt an der Mur.")
>>> split_windows(sentence, token_counts=[1] * 11, max_tokens=8)
[(0, 5), (5, 11)]
"""

from collections.abc import Sequence

from .entities import Sentence

_SENTENCE_ENDS = frozenset(".!?。！？।॥؟…።")


def split_windows(sentence: Sentence, token_counts: Sequence[int], max_tokens: int) -> list[tuple[int, int]]:
    """Consecutive runs of words that each fit a token budget; together they are all words.

    A window ends after the last end of a sentence in its second half, else before the first word that no longer fits.

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
            windows.append((start, end))
            tokens = sum(token_counts[end:position])
            start = end
        tokens += count
    if start < len(token_counts):
        windows.append((start, len(token_counts)))
    return windows


def _last_pause(sentence: Sentence, start: int, end: int) -> int:
    for position in range(end, (start + end) // 2, -1):
        if sentence.words[position - 1].text[-1:] in _SENTENCE_ENDS:
            return position
    return end
