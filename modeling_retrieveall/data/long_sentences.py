"""Long blocks of labelled words, cut as a text is in use: into sentences, and those into windows. No entity is cut.

>>> article = Example(Sentence.from_words(["Bonn", "ruft", "."] * 100), (Span(0, 1, "LOC"),))
>>> len(into_sentences([article], "de", "articles.conll"))
100
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ..model.configuration_retrieveall import RetrieveAllConfig
from ..model.documents import split_windows
from ..model.entities import Example, Span
from ..model.sentence_splitting import sentence_bounds
from .rows import DatasetError
from .writing import written

_LONGEST = RetrieveAllConfig().max_sentence_tokens
"""Words of a block that is surely longer than a window, as each is a token at least."""


def into_sentences(examples: Sequence[Example], language: str, name: str) -> list[Example]:
    """The examples, of which those that are longer than a window are cut into sentences.

    Args:
        examples: The examples.
        language: Their language, whose full stops count.
        name: Their dataset, for messages.

    Raises:
        DatasetError: Most words are in blocks that have no sentences, as in a file without empty lines.
    """
    result: list[Example] = []
    uncut: list[Example] = []
    for example in examples:
        if len(example.sentence.words) <= _LONGEST:
            result.append(example)
            continue
        sentences = _sentences(example, language)
        uncut += [sentence for sentence in sentences if len(sentence.sentence.words) > _LONGEST]
        result += sentences
    if _words(uncut) > _words(result) / 2:
        longest = max(uncut, key=lambda example: len(example.sentence.words)).sentence.words
        raise DatasetError(
            f"{name} has one sentence of {len(longest):,} words ({' '.join(word.text for word in longest[:6])} ...). Put an "
            "empty line after each sentence."
        )
    return result


def into_windows(example: Example, token_counts: Sequence[int], max_tokens: int) -> list[Example]:
    """The windows of an example in which it fits a token budget; a window that would begin or end in an entity is smaller.

    Args:
        example: The example.
        token_counts: Tokens of each of its words.
        max_tokens: Tokens of a window at most.
    """
    windows = split_windows(example.sentence, token_counts, max_tokens)
    if len(windows) == 1:
        return [example] if sum(token_counts) <= max_tokens else []
    parts = []
    for start, end in windows:
        for span in example.spans:
            if span.start < start < span.end:
                start = span.end
            if span.start < end < span.end:
                end = span.start
        if start < end and sum(token_counts[start:end]) <= max_tokens:
            parts.append(_part(example, start, end))
    return parts


def _words(examples: Iterable[Example]) -> int:
    return sum(len(example.sentence.words) for example in examples)


def _sentences(example: Example, language: str) -> list[Example]:
    text, starts = written(example.sentence)
    ends = {bisect_left(starts, end) for _, end in sentence_bounds(text, [language])}
    inside = {position for span in example.spans for position in range(span.start + 1, span.end)}
    borders = sorted((ends | {0, len(starts)}) - inside)
    return [_part(example, start, end) for start, end in pairwise(borders)]


def _part(example: Example, start: int, end: int) -> Example:
    spans = [Span(s.start - start, s.end - start, s.label) for s in example.spans if start <= s.start and s.end <= end]
    return Example(example.sentence.slice(start, end), tuple(spans))
