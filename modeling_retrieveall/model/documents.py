"""Texts of any length: cut into windows that fit the model, and merged again after decoding.

A text is cut into sentences, and a sentence that is too long into windows. A short sentence is one window.

>>> reader = DocumentReader(answers, config)
>>> [window.sentence.words[0].text for window in reader.windows(0, "Bonn liegt am Rhein. Graz liegt an der Mur.", ["de"])]
['Bonn', 'Graz']
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from .answer_format import AnswerFormat
from .configuration_retrieveall import RetrieveAllConfig
from .entities import Entity, Sentence
from .errors import InputTypeError
from .sentence_splitting import STOPS, sentence_bounds

Text = str | Sentence
"""What a caller gives: a text of any length, or one sentence whose words are known."""

_SENTENCE_ENDS = frozenset(STOPS)
_OVERLAP = 1 / 8
"""Share of a window that the next one repeats. At 256 tokens it is 32, which is longer than nearly all names."""


@dataclass(frozen=True, slots=True)
class Window:
    """A sentence of a text, or a part of a sentence that is longer than the model's window.

    Attributes:
        text_index: Position of the text in the list of texts.
        sentence: The words of the window, with offsets into the text.
        word_ids: The token ids of each word.
    """

    text_index: int
    sentence: Sentence
    word_ids: list[list[int]]

    @property
    def text(self) -> str:
        """The part of the text that the window covers."""
        return self.sentence.text[self.start : self.end]

    @property
    def start(self) -> int:
        """Offset of the first word in the text, in code points."""
        return self.sentence.words[0].start

    @property
    def end(self) -> int:
        """Offset after the last word in the text, in code points."""
        return self.sentence.words[-1].end


class DocumentReader:
    """Cuts texts into windows.

    Args:
        answers: The answer format over the base LLM's tokenizer.
        config: The model's configuration, which limits the tokens of a window.
    """

    def __init__(self, answers: AnswerFormat, config: RetrieveAllConfig) -> None:
        self.answers = answers
        self.config = config

    def windows(self, text_index: int, text: Text, languages: Iterable[str]) -> list[Window]:
        """Returns the windows of a text in order. Together they contain all words of the text.

        Args:
            text_index: Position of the text in the list of texts.
            text: A text of any length, or one sentence.
            languages: The languages that the text may be written in, see :func:`sentence_bounds`.
        """
        if isinstance(text, str):
            whole = Sentence.from_text(text)
            starts = [word.start for word in whole.words]
            ends = [bisect_left(starts, end) for _, end in sentence_bounds(text, languages)]
            sentences = [whole.slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        else:
            sentences = [text]
        return [window for sentence in sentences for window in self._windows_of(text_index, sentence)]

    def _windows_of(self, text_index: int, sentence: Sentence) -> list[Window]:
        counts = [len(ids) for ids in self.answers.word_ids(sentence)]
        bounds = split_windows(sentence, counts, self.config.max_sentence_tokens)
        parts = [sentence.slice(start, end) for start, end in bounds]
        return [Window(text_index, part, self.answers.word_ids(part)) for part in parts]


def split_windows(sentence: Sentence, token_counts: Sequence[int], max_tokens: int) -> list[tuple[int, int]]:
    """Splits a sentence into consecutive runs of words that each fit a token budget.

    A window ends after the last end of a sentence in its second half, or else before the first word that does not fit. The next
    window starts up to an eighth of the budget earlier, so that one of the two contains every name as a whole: the full stop
    may be that of an abbreviation.

    Args:
        sentence: The words.
        token_counts: Number of tokens of each word.
        max_tokens: Maximum number of tokens of a window. A single word with more tokens is a window of its own.

    Returns:
        For each window the index of its first word and the index after its last word.

    Examples:
        >>> sentence = Sentence.from_text("Bonn liegt am Rhein. Graz liegt an der Mur.")
        >>> split_windows(sentence, token_counts=[1] * 11, max_tokens=8)
        [(0, 5), (5, 11)]
    """
    windows: list[tuple[int, int]] = []
    start = end = tokens = 0
    for position, count in enumerate(token_counts):
        while position > start and tokens + count > max_tokens:
            end = _last_pause(sentence, max((start + position) // 2, end), position)
            windows.append((start, end))
            room = max_tokens - count - sum(token_counts[end:position])
            start = _start_of_next(token_counts, start, end, min(room, max_tokens * _OVERLAP))
            tokens = sum(token_counts[start:position])
        tokens += count
    if start < len(token_counts):
        windows.append((start, len(token_counts)))
    return windows


def _last_pause(sentence: Sentence, after: int, end: int) -> int:
    """The index after the last word between ``after`` and ``end`` that ends a sentence, or ``end`` if there is none."""
    for position in range(end, after, -1):
        if sentence.words[position - 1].text[-1:] in _SENTENCE_ENDS:
            return position
    return end


def _start_of_next(token_counts: Sequence[int], start: int, end: int, tokens: float) -> int:
    """Index at which the next window starts: as far before ``end`` as ``tokens`` allows, but after ``start``."""
    first = end
    while first - 1 > start and sum(token_counts[first - 1 : end]) <= tokens:
        first -= 1
    return first


def parts_of(windows: Sequence[Window], size: int) -> Iterator[list[Window]]:
    """Yields windows in parts of at most ``size``, so that vectors are kept for one part at a time.

    The windows of a text stay together unless the text alone has more than ``size`` of them.
    """
    part: list[Window] = []
    for _, group in groupby(windows, key=lambda window: window.text_index):
        text = list(group)
        if part and len(part) + len(text) > size:
            yield part
            part = []
        part += text
        while len(part) > size:
            yield part[:size]
            part = part[size:]
    if part:
        yield part


def merged_entities(windows: Iterable[tuple[Sentence, Sequence[Entity]]]) -> list[Entity]:
    """Merges the entities of a text's windows into one list, in order and without overlap.

    Where two windows overlap, an entity is taken from the window in which it is farther from the edge. Entities that only the
    other window found are added if they overlap with none of these, longer entities first.

    Args:
        windows: The words of each window, in order, and the entities found in it.
    """
    listed = [(sentence, entities) for sentence, entities in windows if sentence.words]
    starts = [sentence.words[0].start for sentence, _ in listed]
    ends = [sentence.words[-1].end for sentence, _ in listed]
    # All positions are doubled, so that the middle of an entity is a whole number.
    middles = [max(end, start) + start for end, start in zip(ends, starts[1:], strict=False)]
    borders = [-1, *middles, 2 * max(ends, default=0) + 1]
    kept: list[Entity] = []
    others: list[Entity] = []
    for position, (_, entities) in enumerate(listed):
        for entity in entities:
            inside = borders[position] <= entity.start + entity.end < borders[position + 1]
            (kept if inside and (not kept or kept[-1].end <= entity.start) else others).append(entity)
    for entity in sorted(others, key=lambda entity: entity.start - entity.end):
        place = bisect_left(kept, entity.start, key=lambda other: other.end - 1)
        if place == len(kept) or entity.end <= kept[place].start:
            kept.insert(place, entity)
    return kept


def checked_texts(texts: Any, is_split_into_words: bool) -> tuple[list[Text], bool]:
    """Checks what a caller gave as texts before any work is done.

    Args:
        texts: A text, or a list of texts; with ``is_split_into_words`` a list of sentences, each a list of words. A
            :class:`Sentence` may take the place of a text.
        is_split_into_words: Whether each text is a list of words.

    Returns:
        The list of texts, and whether the caller gave a single one instead of a list.

    Raises:
        InputTypeError: A text is neither a string nor a sentence, or a word is not a string.
    """
    single = isinstance(texts, str | Sentence)
    listed: list[Any] = (
        [texts] if single or not isinstance(texts, Iterable) or isinstance(texts, bytes | Mapping) else list(texts)
    )
    check = _checked_words if is_split_into_words else _checked_text
    return [text if isinstance(text, Sentence) else check(position, text) for position, text in enumerate(listed)], single


def _checked_text(position: int, text: Any) -> str:
    if isinstance(text, str):
        return text
    words = isinstance(text, list | tuple) and all(isinstance(word, str) for word in text)
    advice = "Pass is_split_into_words=True for lists of words" if words else "Give a string or a list of strings"
    raise InputTypeError(f"texts[{position}] is {text!r} ({type(text).__name__}), not a string. {advice}.")


def _checked_words(position: int, words: Any) -> Sentence:
    if isinstance(words, str) or not isinstance(words, Sequence) or not all(isinstance(word, str) for word in words):
        raise InputTypeError(
            f"texts[{position}] is {words!r}, not a list of strings. With is_split_into_words=True, give a list of sentences, "
            'each a list of words: [["Angela", "Merkel", "besuchte", "Nairobi", "."]].'
        )
    return Sentence.from_words(words)
