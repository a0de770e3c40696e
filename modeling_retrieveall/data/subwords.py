"""Sentences that were split into characters or sub-words, as people write them.

Corpora of Chinese, Japanese, Korean and Thai often have a token for each character, and some tokenizers mark the pieces of a word
with ``##``. Read as they are, they would differ from the same sentence in raw text, which the model will see in use.

>>> sentence, spans = as_written(["서", "울", "에", "서", " ", "J", "R"], [Span(0, 2, "LOC")], CHARACTERS)
>>> sentence.text, [word.text for word in sentence.words], spans
('서울에서 JR', ['서', '울', '에', '서', 'JR'], (Span(start=0, end=2, label='LOC'),))
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import regex

from ..model.entities import Sentence, Span, Word

CHARACTERS, PIECES = "characters", "pieces"
_MARK = "##"
_CHARACTER = regex.compile(r"(?V1)\X")
_WITHOUT_SPACES = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Hangul}\p{Hebrew}\p{Arabic}]|\s"
)
_SHARE = 0.98
"""Of the tokens, to be those of sentences in characters. Other corpora have far fewer tokens of one character."""
_SHARE_OF_PIECES = 0.01
"""Of the tokens, to be those of a tokenizer that cuts rare words into pieces."""


def kind_of_tokens(sentences: Iterable[Sequence[str]]) -> str | None:
    """What the tokens of a corpus are: :data:`CHARACTERS`, :data:`PIECES` with ``##``, or ``None`` for words.

    >>> kind_of_tokens([["서울", "##에서"]]), kind_of_tokens([list("서울에서")]), kind_of_tokens([["서울에서", "만나"]])
    ('pieces', 'characters', None)
    """
    tokens = single = unspaced = marked = first = 0
    for sentence in sentences:
        for position, token in enumerate(sentence):
            tokens += 1
            single += bool(_CHARACTER.fullmatch(token))
            unspaced += bool(_WITHOUT_SPACES.fullmatch(token[:1]))
            is_marked = token.startswith(_MARK) and len(token) > len(_MARK)
            marked += is_marked
            first += is_marked and position == 0  # a hashtag, as no piece of a word begins a sentence
    if marked >= _SHARE_OF_PIECES * tokens and marked and not first:
        return PIECES
    return CHARACTERS if tokens > 1 and unspaced and single >= _SHARE * tokens else None


def as_written(tokens: Sequence[str], spans: Sequence[Span], kind: str) -> tuple[Sentence, tuple[Span, ...]]:
    """The sentence as people write it, in the words that raw text has; a word is cut only where a mention begins or ends.

    Args:
        tokens: Its characters or pieces.
        spans: Its mentions, as runs of tokens.
        kind: What the tokens are.
    """
    text, places = _joined(tokens, kind)
    borders = sorted({border for span in spans for border in (places[span.start][0], places[span.end - 1][1])})
    words = [part for word in Sentence.from_text(text).words for part in _cut(word, borders)]
    starts, ends = [word.start for word in words], [word.end for word in words]
    moved = [
        Span(bisect_left(starts, places[span.start][0]), bisect_right(ends, places[span.end - 1][1]), span.label)
        for span in spans
    ]
    return Sentence(text, tuple(words)), tuple(span for span in moved if span.start < span.end)


def _joined(tokens: Sequence[str], kind: str) -> tuple[str, list[tuple[int, int]]]:
    """The text of tokens, and where each of them is."""
    if kind == PIECES:
        glued = [token.startswith(_MARK) and len(token) > len(_MARK) for token in tokens]
        shown = [token.removeprefix(_MARK) if follows else token for token, follows in zip(tokens, glued, strict=True)]
        natural = Sentence.from_words(shown).words
        spaces = ["" if follows or word.glued else " " for follows, word in zip(glued, natural, strict=True)]
    else:
        shown, spaces = [" " if token.isspace() else token for token in tokens], [""] * len(tokens)
    text, places = "", []
    for position, (token, space) in enumerate(zip(shown, spaces, strict=True)):
        text += space if position else ""
        places.append((len(text), len(text) + len(token)))
        text += token
    return text, places


def _cut(word: Word, borders: Sequence[int]) -> Iterator[Word]:
    """A word in parts, cut at the borders that lie inside it."""
    inside = borders[bisect_right(borders, word.start) : bisect_left(borders, word.end)]
    for start, end in pairwise([word.start, *inside, word.end]):
        text = word.text[start - word.start : end - word.start]
        yield Word(text, start, end, word.glued if start == word.start else True)
