"""Tokens joined to natural text, without a space before a full stop or between the characters of a word.

Corpora of Chinese, Japanese, Korean and Thai often have one token per character, and some tokenizers mark the pieces of a word
with ``##``. Used as words, such tokens would differ from the words of raw text, on which the model is used.

>>> sentence, spans = join_subwords(["서", "울", "에", "서", " ", "J", "R"], [Span(0, 2, "LOC")], CHARACTERS)
>>> sentence.text, [word.text for word in sentence.words], spans
('서울에서 JR', ['서', '울', '에', '서', 'JR'], (Span(start=0, end=2, label='LOC'),))
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import regex

from ..model.entities import Entity, Example, Sentence, Span, Word

CHARACTERS, PIECES = "characters", "pieces"
_MARK = "##"
_CHARACTER = regex.compile(r"(?V1)\X")
_WITHOUT_SPACES = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Hangul}\p{Hebrew}\p{Arabic}]|\s"
)
_MIN_CHARACTER_SHARE = 0.98
"""A corpus is split into characters if at least this share of its tokens are single characters."""
_MIN_PIECE_SHARE = 0.01
"""A corpus is split into pieces if at least this share of its tokens begin with ``##``. Tokenizers split only rare words."""


def detokenize(sentence: Sentence) -> tuple[str, list[int]]:
    """The natural text of a sentence, and the start of each word in it. Raw text is returned unchanged.

    Examples:
        >>> detokenize(Sentence.from_words(["Bonn", "ruft", "."]))
        ('Bonn ruft.', [0, 5, 9])
    """
    words = sentence.words
    if not words:
        return sentence.text, []
    text, starts = sentence.text[: words[0].end], [words[0].start]
    for before, word in pairwise(words):
        gap = sentence.text[before.end : word.start]
        text += "" if word.glued and gap == " " else gap
        starts.append(len(text))
        text += sentence.text[word.start : word.end]
    return text + sentence.text[words[-1].end :], starts


def detokenize_example(example: Example) -> tuple[str, list[Entity]]:
    """The natural text of an example, and its entities with their offsets in it."""
    text, starts = detokenize(example.sentence)
    ends = [start + len(word.text) for start, word in zip(starts, example.sentence.words, strict=True)]
    bounds = [(starts[span.start], ends[span.end - 1], span.label) for span in example.spans]
    return text, [Entity(text[start:end], label, start, end) for start, end, label in bounds]


# Characters and pieces of words


def detect_token_kind(sentences: Iterable[Sequence[str]]) -> str | None:
    """Whether the tokens of a corpus are :data:`CHARACTERS`, :data:`PIECES` marked with ``##``, or words (``None``).

    >>> detect_token_kind([["서울", "##에서"]]), detect_token_kind([list("서울에서")]), detect_token_kind([["서울에서", "만나"]])
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
            first += is_marked and position == 0  # a hashtag: a sentence cannot begin with the second piece of a word
    if marked >= _MIN_PIECE_SHARE * tokens and marked and not first:
        return PIECES
    return CHARACTERS if tokens > 1 and unspaced and single >= _MIN_CHARACTER_SHARE * tokens else None


def join_subwords(tokens: Sequence[str], spans: Sequence[Span], kind: str) -> tuple[Sentence, tuple[Span, ...]]:
    """Joins characters or pieces to text, and splits the text into words like raw text, and also where a mention begins or ends.

    Args:
        tokens: The characters or pieces of a sentence.
        spans: Its mentions, as positions of tokens.
        kind: :data:`CHARACTERS` or :data:`PIECES`.

    Returns:
        The sentence, and its mentions as positions of words.
    """
    text, places = _joined_text(tokens, kind)
    borders = sorted({border for span in spans for border in (places[span.start][0], places[span.end - 1][1])})
    words = [part for word in Sentence.from_text(text).words for part in _split_word(word, borders)]
    starts, ends = [word.start for word in words], [word.end for word in words]
    moved = [
        Span(bisect_left(starts, places[span.start][0]), bisect_right(ends, places[span.end - 1][1]), span.label)
        for span in spans
    ]
    return Sentence(text, tuple(words)), tuple(span for span in moved if span.start < span.end)


def _joined_text(tokens: Sequence[str], kind: str) -> tuple[str, list[tuple[int, int]]]:
    """The text of the tokens, and the start and end of each token in it."""
    if kind == PIECES:
        glued = [token.startswith(_MARK) and len(token) > len(_MARK) for token in tokens]
        bare = [token.removeprefix(_MARK) if follows else token for token, follows in zip(tokens, glued, strict=True)]
        natural = Sentence.from_words(bare).words
        spaces = ["" if follows or word.glued else " " for follows, word in zip(glued, natural, strict=True)]
    else:
        bare, spaces = [" " if token.isspace() else token for token in tokens], [""] * len(tokens)
    text, places = "", []
    for position, (token, space) in enumerate(zip(bare, spaces, strict=True)):
        text += space if position else ""
        places.append((len(text), len(text) + len(token)))
        text += token
    return text, places


def _split_word(word: Word, borders: Sequence[int]) -> Iterator[Word]:
    """A word, split at the borders inside it."""
    inside = borders[bisect_right(borders, word.start) : bisect_left(borders, word.end)]
    for start, end in pairwise([word.start, *inside, word.end]):
        text = word.text[start - word.start : end - word.start]
        yield Word(text, start, end, word.glued if start == word.start else True)
