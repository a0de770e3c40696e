"""Words, spans and entities, and the conversion between characters of the caller's string and positions of words.

>>> sentence = Sentence.from_text("Angela Merkel besuchte Nairobi.")
>>> [word.text for word in sentence.words]
['Angela', 'Merkel', 'besuchte', 'Nairobi', '.']
>>> sentence.entity(Span(0, 2, "PER"), score=0.98)
Entity(text='Angela Merkel', label='PER', start=0, end=13, score=0.98)
>>> tags_from_spans([Span(0, 2, "PER"), Span(3, 4, "LOC")], 5)
['B-PER', 'I-PER', 'O', 'B-LOC', 'O']
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import regex

from .errors import InputError

# Scripts without spaces: a word boundary may be between any two characters, so each character is a word.
# ー, ｰ and 〆 belong to these scripts, although Unicode assigns them to several scripts.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30fc\uff70\u3006"

# Korean has spaces, but particles follow a name without a space: 서울에서 is "in Seoul".
_SINGLE = rf"{_UNSPACED}\p{{Hangul}}"

# Hebrew and Arabic join short words to the next word: בירושלים is "in Jerusalem", بالقاهرة "in Cairo". In Hebrew they are
# separate words before at least three letters. In Arabic, where many names start with the same letters, only before the article.
_PROCLITIC = (
    r"[ושהכלבמ](?=\p{Hebrew}{3})"
    r"|[وف](?=[بكل]?ال\p{Arabic}{3})"
    r"|[بكل](?=ال\p{Arabic}{3})"
)

# Soft hyphens and characters without width may be inside a word; the LLM does not read them. ZWJ and ZWNJ belong to the spelling.
_INVISIBLE = r"[\u00ad\u061c\u180e\u200b\u200e\u200f\u2060-\u2064\ufeff]"
_LETTER = rf"[[\p{{L}}\p{{N}}\p{{M}}\u200c\u200d]--[{_SINGLE}]]"

# A word is split after 100 characters, so that no single word is longer than the context window of the model.
_WORD = regex.compile(
    rf"(?V1){_PROCLITIC}"
    # letters, digits and marks
    rf"|(?=[\p{{L}}\p{{N}}\p{{M}}])(?:{_LETTER}|{_INVISIBLE}{{1,8}}(?={_LETTER})){{1,100}}"
    # any other visible character alone, with its marks; an emoji with its joiners
    r"|(?=[^\s\p{Cc}\p{Cf}\p{Cs}])\X"
)
_INVISIBLE_CHARACTERS = regex.compile(_INVISIBLE)
_SPACE = regex.compile(r"[\s\p{Cc}]")
_CLOSING = regex.compile(r"[.,;:!?)\]}»”’%。，、；：！？）…।॥؟،؛።፣]+")
_OPENING = regex.compile(r"[(\[{«“„‘（]")
_UNSPACED_EDGE = regex.compile(rf"[{_UNSPACED}\u3000-\u303f\u30fb\uff00-\uffef]")
_CHARACTER = regex.compile(r"(?V1)\X")
_IN_CHARACTERS = regex.compile(rf"[{_SINGLE}\p{{Hebrew}}\p{{Arabic}}]")
_PROCLITIC_AND_REST = regex.compile(r"[ושהכלבמ]\p{Hebrew}|[بكلفس]\p{Arabic}|و(?:[بكل]?ال|[بكل]$)")


class Span(NamedTuple):
    """A label, and the words from position ``start`` up to, but not including, ``end``."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Entity:
    """A named entity in the caller's string.

    Attributes:
        text: The mention, exactly ``string[start:end]``.
        label: The entity type, as the adapter's dataset names it.
        start: Offset of its first character, in Unicode code points.
        end: Offset after its last character, in Unicode code points.
        score: Probability of the mention and its label, in [0, 1].
    """

    text: str
    label: str
    start: int
    end: int
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class Word:
    """A word. Entities start and end at words.

    Attributes:
        text: Its characters, as in the caller's string.
        start: Offset of its first character in the caller's string, in code points.
        end: Offset after its last character.
        glued: Whether the LLM reads it without a space after the previous word.
    """

    text: str
    start: int
    end: int
    glued: bool


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text and its words; ``words[i]`` is ``text[words[i].start : words[i].end]``."""

    text: str
    words: tuple[Word, ...]

    @classmethod
    def from_text(cls, text: str) -> "Sentence":
        """Splits a string at spaces and punctuation, and between all characters of scripts without spaces.

        White space and control characters do not belong to any word. Format characters, such as a soft hyphen, belong to a word
        only between its letters. The text is not changed, and offsets refer to it.

        Examples:
            >>> [(w.text, w.start, w.glued) for w in Sentence.from_text("Bonn, 北京").words]
            [('Bonn', 0, False), (',', 4, True), ('北', 6, False), ('京', 7, True)]
        """
        words: list[Word] = []
        end = 0
        for match in _WORD.finditer(text):
            gap = text[end : match.start()]
            glued = bool(words) and not _SPACE.search(gap)
            words.append(Word(match.group(), match.start(), match.end(), glued))
            end = match.end()
        return cls(text, tuple(words))

    @classmethod
    def from_words(cls, words: Sequence[str], glued: Sequence[bool] | None = None) -> "Sentence":
        """Takes the words of a sentence that the caller has split. Offsets refer to ``" ".join(words)``.

        The LLM reads the words with their usual spaces: there is no space before a full stop, between Chinese words, or between
        the characters of a Korean sentence that was split into characters.

        Args:
            words: The words.
            glued: For each word whether it follows the previous word without a space. Derived from the words if not given.

        Examples:
            >>> Sentence.from_words(["Bonn", "."]).text
            'Bonn .'
            >>> Sentence.from_words(["Bonn", "."]).words[1].glued
            True
        """
        together = _written_together(words) if glued is None else glued
        result: list[Word] = []
        offset = 0
        for word, follows in zip(words, together, strict=True):
            result.append(Word(word, offset, offset + len(word), follows and bool(result)))
            offset += len(word) + 1
        return cls(" ".join(words), tuple(result))

    def entity(self, span: Span, score: float = 1.0) -> Entity:
        """The entity of a span, with offsets into the caller's string."""
        start, end = self.words[span.start].start, self.words[span.end - 1].end
        return Entity(self.text[start:end], span.label, start, end, score)

    def slice(self, start: int, end: int) -> "Sentence":
        """The words from ``start`` up to ``end``. Their offsets still refer to the whole text."""
        return Sentence(self.text, self.words[start:end])


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled sentence."""

    sentence: Sentence
    spans: tuple[Span, ...]

    @property
    def key(self) -> str:
        """The words of the sentence. Examples with the same key are duplicates."""
        return " ".join(word.text for word in self.sentence.words)

    @property
    def units(self) -> tuple[str, ...]:
        """The units of the sentence, which are equal however it is split into words."""
        return tuple(unit for word in self.sentence.words for unit in comparable_units(word.text))


@dataclass(frozen=True, slots=True)
class Mention:
    """An entity of a labelled sentence, which is an entry of the entity-level index."""

    example: Example
    span: Span

    @property
    def text(self) -> str:
        """The text of the mention in its sentence."""
        return self.example.sentence.entity(self.span).text


def pieces(word: str) -> list[str]:
    """Splits a word into its smallest units. Raw and pre-split text have the same tokens, because both are tokenised by unit.

    Examples:
        >>> pieces("Nordrhein-Westfalen")
        ['Nordrhein', '-', 'Westfalen']
    """
    found: list[str] = _WORD.findall(word)
    return found


def visible_text(text: str) -> str:
    """The part of a text that the LLM reads: without soft hyphens and other invisible characters.

    Examples:
        >>> visible_text("Donau\u00addampf")
        'Donaudampf'
    """
    visible: str = _INVISIBLE_CHARACTERS.sub("", text)
    return visible


def comparable_units(text: str) -> list[str]:
    """The units of a text in Unicode's composed form (NFC), which are equal however the text is split into words.

    Examples:
        >>> comparable_units("Nordrhein-\u00adWestfalen") == comparable_units("Nordrhein-") + comparable_units("Westfalen")
        True
    """
    return pieces(unicodedata.normalize("NFC", visible_text(text)))


def _written_together(words: Sequence[str]) -> list[bool]:
    """For each word whether it is usually written without a space after the previous word."""
    if len(words) > 1 and all(map(_CHARACTER.fullmatch, words)) and any(map(_IN_CHARACTERS.match, words)):
        return [True] * len(words)  # a sentence split into characters
    return [False, *(_no_space_between(left, right) for left, right in pairwise(words))][: len(words)]


def _no_space_between(left: str, right: str) -> bool:
    if _CLOSING.fullmatch(right) or _OPENING.fullmatch(left):
        return True
    if len(left) == 1 and _PROCLITIC_AND_REST.match(left + right):
        return True
    return bool(left and right and _UNSPACED_EDGE.match(left[-1]) and _UNSPACED_EDGE.match(right[0]))


def tags_from_spans(spans: Iterable[Span], length: int) -> list[str]:
    """Converts spans to one BIO tag (IOB2) per word.

    Args:
        spans: The spans, in any order. They must not overlap.
        length: Number of words.

    Raises:
        InputError: A span is empty, ends after the sentence, or overlaps another span.

    Examples:
        >>> tags_from_spans([Span(0, 2, "PER")], 3)
        ['B-PER', 'I-PER', 'O']
    """
    tags = ["O"] * length
    before: Span | None = None
    for span in sorted(spans):
        if not 0 <= span.start < span.end <= length or (before and span.start < before.end):
            raise InputError(f"{span} is empty, is not within the {length} words, or overlaps {before}.")
        tags[span.start : span.end] = [f"B-{span.label}"] + [f"I-{span.label}"] * (span.end - span.start - 1)
        before = span
    return tags


def tags_from_entities(entities: Iterable[Entity], sentence: Sentence) -> list[str]:
    """Converts the entities of a sentence, which start and end at its words, to BIO tags.

    Examples:
        >>> tags_from_entities([Entity("Bonn", "LOC", 0, 4)], Sentence.from_text("Bonn!"))
        ['B-LOC', 'O']
    """
    first = {word.start: i for i, word in enumerate(sentence.words)}
    last = {word.end: i + 1 for i, word in enumerate(sentence.words)}
    return tags_from_spans([Span(first[e.start], last[e.end], e.label) for e in entities], len(sentence.words))
