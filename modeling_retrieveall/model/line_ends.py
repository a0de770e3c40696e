r"""Finds the line ends that end a sentence: in lists, forms, headings and addresses, but not in wrapped text.

>>> [paragraph.cuts(set()) for paragraph in paragraphs("John Smith\nMary Jones\nBoston")]
[[11, 22]]
>>> [paragraph.cuts({31}) for paragraph in paragraphs("Angela\nMerkel besuchte Nairobi.")]
[[]]
"""

from collections.abc import Iterator, Set
from functools import cached_property
from itertools import pairwise

import regex

_QUOTE_MARKS = regex.compile(r"(?:[ \t]*+>)++")
_BULLET = regex.compile(r"[•‣▪▫◦●○■□◆◇►▶➢✓✔★☆※·∙*+\-–—]\s|[・●○■□◆◇▪►▶※]")
_NUMBERED = regex.compile(
    r"(?:\(?(?:\d{1,3}|\p{L}|[ivxIVX]{1,4})\)|\d{1,3}\.)\s|[①-⑳]|\d{1,3}[、．]|[一二三四五六七八九十]{1,3}、"
)
_FIELD = regex.compile(r"(?=[^\p{Ll}])[^:：.!?。]{0,30}[\p{L}\p{M}\p{N})][ \t]?(?::(?=\s|$)|：)", regex.V1)
_CONTINUED = regex.compile(r"[\p{Ll}\p{Pe}\p{Pf},;:.!?%、，。；：！？।…]")
_GEORGIAN = regex.compile(r"\p{Georgian}")
_CASED = regex.compile(r"[\p{Lu}\p{Ll}]")
_LOWER_WORD = regex.compile(r"(?<!\w)\p{Ll}[\p{Ll}\p{M}]{3,}")
_WIDE = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\uff01-\uff60\u3000-\u303f]")
_FIRST_WORD = regex.compile(rf"{_WIDE.pattern}|\S+?(?=\s|$|{_WIDE.pattern})")
_PARAGRAPH_END = "\u2029"
_MIN_WRAPPED, _MAX_WRAPPED = 40, 130
"""Minimum and maximum width of text that a program has wrapped, in columns."""
_MIN_AFTER_HEADING = 60
"""Minimum width of the line after a heading, in columns. A short line before a shorter one may as well be wrapped text."""


class Line:
    """A line of a text.

    Attributes:
        start: Offset of the line.
        end: Offset after its last visible character.
        depth: Number of ``>`` at its start, as in the reply to an e-mail.
        text: The line without the ``>`` and without white space around it.
    """

    def __init__(self, text: str, start: int) -> None:
        self.start, self.end = start, start + len(text.rstrip())
        quoted = _QUOTE_MARKS.match(text)
        marks = quoted.group() if quoted else ""
        self.depth = marks.count(">")
        self.text = text[len(marks) :].strip()

    @cached_property
    def is_field(self) -> bool:
        """Whether the line is a field of a form, such as ``City: Boston``."""
        return bool(_FIELD.match(self.text))

    @cached_property
    def width(self) -> int:
        """Its width in columns. A Chinese, Japanese or Korean character takes two."""
        return len(self.text) + len(_WIDE.findall(self.text))

    @cached_property
    def is_item(self) -> bool:
        """Whether the line is short and like a name: it has no word of four or more letters in lower case."""
        words = self.text.split()
        if _CASED.search(self.text):
            return len(words) <= 8 and not _LOWER_WORD.search(self.text)
        return len(words) <= 4 and self.width <= 30

    def continues(self) -> bool:
        """Whether the line cannot start a sentence: it starts in lower case or with a closing mark."""
        return bool(_CONTINUED.match(self.text)) and not _GEORGIAN.match(self.text)

    def is_full(self, following: "Line", width: int) -> bool:
        """Whether the first word of the following line did not fit into this line."""
        first = _FIRST_WORD.match(following.text)
        word = first.group() if first else ""
        return self.width + 1 + len(word) + len(_WIDE.findall(word)) > width


class Paragraph:
    """Lines without a blank line between them.

    The end of a line ends a sentence if the next line starts with a bullet, if both lines are fields of a form, or if the lines
    are items: no stop comes after them in the paragraph, or both are short and like names. It does not end a sentence if the line
    is as wide as the paragraph, or if the next line starts in lower case.
    """

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines
        self.start, self.end = lines[0].start, lines[-1].end

    def cuts(self, ended: Set[int]) -> list[int]:
        """The offsets of the lines that start a sentence.

        Args:
            ended: Offsets of the ends of the sentences that end with a stop.
        """
        if len(self.lines) == 1:
            return []
        last = max(ended, default=-1)
        return [
            following.start
            for line, following in pairwise(self.lines)
            if line.end not in ended and self._ends(line, following, line.end < last, following.end in ended)
        ]

    def _ends(self, line: Line, following: Line, is_prose: bool, following_ended: bool) -> bool:
        """Whether a sentence without a stop ends with this line.

        Args:
            line: The line.
            following: The next line.
            is_prose: Whether a stop comes later in the paragraph.
            following_ended: Whether the next line ends with a stop.
        """
        wide = _MIN_WRAPPED <= self._width <= _MAX_WRAPPED
        full = (wide or self._is_filled) and line.is_full(following, self._width)
        if line.depth != following.depth or ("\t" in line.text and "\t" in following.text):
            return True
        if _BULLET.match(following.text) and not (wide and full and following.text[0] in "-–—"):
            return True
        if _NUMBERED.match(following.text) and self._is_numbered:
            return True
        if self._is_form and (line.is_field or following.is_field) and not (full and not (line.is_field and following.is_field)):
            return True
        if following.continues() and not (self._is_lower and not is_prose):
            return False
        if line.text[-1] in "-‐/([{«„":
            return False
        if line.text[-1] in ":：;；":
            return True
        are_items = line.is_item and following.is_item
        if are_items and not wide and line.text[-1] in ",，、،":
            return True
        if full and (is_prose or (wide and self._is_filled and len(self.lines) > 2)):
            return False
        if not is_prose:
            return True
        if are_items and not following_ended:
            return True
        return line.is_item and following.width >= max(_MIN_AFTER_HEADING, 2 * line.width)

    @cached_property
    def _width(self) -> int:
        """The width at which the paragraph was wrapped. Very long lines, such as a URL that cannot be wrapped, are ignored."""
        widths = [line.width for line in self.lines]
        return max((width for width in widths if width <= _MAX_WRAPPED), default=max(widths))

    @cached_property
    def _is_filled(self) -> bool:
        """Whether nearly all lines but the last are about as wide as the paragraph."""
        full = [line.is_full(after, self._width) for line, after in pairwise(self.lines)]
        return sum(full) >= 0.8 * len(full)

    @cached_property
    def _is_form(self) -> bool:
        return sum(line.is_field for line in self.lines) > 1

    @cached_property
    def _is_numbered(self) -> bool:
        return sum(bool(_NUMBERED.match(line.text)) for line in self.lines) > 1 or self.lines[0].text[-1] in ":："

    @cached_property
    def _is_lower(self) -> bool:
        """Whether all lines start in lower case, as in an informal list."""
        return all(line.continues() for line in self.lines)


def paragraphs(text: str) -> Iterator[Paragraph]:
    """The paragraphs of a text, which are separated by blank lines. Lines end as in :meth:`str.splitlines`.

    A line with nothing but ``>`` is blank, as in the reply to an e-mail.
    """
    lines: list[Line] = []
    start = 0
    for piece in text.splitlines(keepends=True):
        line = Line(piece, start)
        start += len(piece)
        if line.text:
            lines.append(line)
        if lines and (not line.text or piece.endswith(_PARAGRAPH_END)):
            yield Paragraph(lines)
            lines = []
    if lines:
        yield Paragraph(lines)
