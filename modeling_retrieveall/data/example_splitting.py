"""Long labelled examples, split as a text is split in use: into sentences, and these into windows. No entity is cut.

>>> article = Example(Sentence.from_words(["Bonn", "ruft", "."] * 100), (Span(0, 1, "LOC"),))
>>> len(split_long_examples([article], "de", "articles.conll"))
100
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ..model.configuration_retrieveall import RetrieveAllConfig
from ..model.documents import split_windows
from ..model.entities import Example, Span
from ..model.sentence_splitting import sentence_bounds
from .detokenization import detokenize
from .reader_types import DatasetError

_MAX_WORDS = RetrieveAllConfig().max_sentence_tokens
"""An example of more words cannot fit into one window, as each word has one token or more."""


def split_long_examples(examples: Sequence[Example], language: str, name: str) -> list[Example]:
    """Splits those examples into sentences that cannot fit into one window.

    Args:
        examples: The examples.
        language: Their language, for its abbreviations and punctuation.
        name: Their dataset, for messages.

    Raises:
        DatasetError: Most words are in examples that cannot be split, as in a file without empty lines and full stops.
    """
    result: list[Example] = []
    too_long: list[Example] = []
    for example in examples:
        if len(example.sentence.words) <= _MAX_WORDS:
            result.append(example)
            continue
        sentences = _sentences(example, language)
        too_long += [sentence for sentence in sentences if len(sentence.sentence.words) > _MAX_WORDS]
        result += sentences
    if _count_words(too_long) > _count_words(result) / 2:
        longest = max(too_long, key=lambda example: len(example.sentence.words)).sentence.words
        raise DatasetError(
            f"{name} has one sentence of {len(longest):,} words ({' '.join(word.text for word in longest[:6])} ...). Put an "
            "empty line after each sentence."
        )
    return result


def split_into_windows(example: Example, token_counts: Sequence[int], max_tokens: int) -> list[Example]:
    """The windows of an example that fit a token budget. A window that would begin or end inside an entity is made smaller.

    Args:
        example: The example.
        token_counts: The number of tokens of each word.
        max_tokens: The number of tokens that a window may have.
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


def _count_words(examples: Iterable[Example]) -> int:
    return sum(len(example.sentence.words) for example in examples)


def _sentences(example: Example, language: str) -> list[Example]:
    text, starts = detokenize(example.sentence)
    ends = {bisect_left(starts, end) for _, end in sentence_bounds(text, [language])}
    inside_entities = {position for span in example.spans for position in range(span.start + 1, span.end)}
    borders = sorted((ends | {0, len(starts)}) - inside_entities)
    return [_part(example, start, end) for start, end in pairwise(borders)]


def _part(example: Example, start: int, end: int) -> Example:
    spans = [Span(s.start - start, s.end - start, s.label) for s in example.spans if start <= s.start and s.end <= end]
    return Example(example.sentence.slice(start, end), tuple(spans))
