r"""Line ends that end a sentence: those of lists, forms, headings and addresses, and not those of a text that is wrapped.

>>> [paragraph.cuts(set()) for paragraph in paragraphs("John Smith\nMary Jones\nBoston")]
[[11, 22]]
>>> [paragraph.cuts({31}) for paragraph in paragraphs("Angela\nMerkel besuchte Nairobi.")]
[[]]
"""

from collections.abc import Iterator, Set
from functools import cached_property
from itertools import pairwise

import regex

_QUOTE_MARKS = regex.compile(r"(?:[ \t]*+>)*+")
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
_NARROW, _WIDEST = 40, 130
"""Columns of a text that was wrapped by a machine."""
_HEADED = 60
"""Columns of a line that follows a heading, at least; before a shorter one a short line is as likely a wrapped one."""


class Line:
    """A line of a text.

    Attributes:
        start: Where it begins.
        end: Where its last visible character ends.
        depth: How many ``>`` it begins with, as in the answer to a mail.
        text: What stands in it, without these and without white space around.
    """

    def __init__(self, text: str, start: int) -> None:
        self.start, self.end = start, start + len(text.rstrip())
        marks = _QUOTE_MARKS.match(text).group()
        self.depth = marks.count(">")
        self.text = text[len(marks) :].strip()

    @cached_property
    def is_field(self) -> bool:
        """Whether it is a line of a form, such as ``City: Boston``."""
        return bool(_FIELD.match(self.text))

    @cached_property
    def width(self) -> int:
        """Its columns; a Chinese, Japanese or Korean character takes two."""
        return len(self.text) + len(_WIDE.findall(self.text))

    @cached_property
    def is_item(self) -> bool:
        """Whether it is short and like a name: no longer word of it is written in lower case."""
        words = self.text.split()
        if _CASED.search(self.text):
            return len(words) <= 8 and not _LOWER_WORD.search(self.text)
        return len(words) <= 4 and self.width <= 30

    def continues(self) -> bool:
        """Whether it begins as no sentence does."""
        return bool(_CONTINUED.match(self.text)) and not _GEORGIAN.match(self.text)

    def is_full(self, following: "Line", width: int) -> bool:
        """Whether the first word of the following line had no room in it."""
        first = _FIRST_WORD.match(following.text)
        word = first.group() if first else ""
        return self.width + 1 + len(word) + len(_WIDE.findall(word)) > width


class Paragraph:
    """Lines without a blank line between them.

    A line end ends a sentence where the next line begins with a bullet, where both lines are fields of a form, and where the
    lines are items: no stop comes after them in the paragraph, or both lines are short and like names. It does not where the
    line is as long as the paragraph is wide, or the next line continues in lower case.
    """

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines
        self.start, self.end = lines[0].start, lines[-1].end

    def cuts(self, ended: Set[int]) -> list[int]:
        """Where the lines begin that begin a sentence.

        Args:
            ended: Where those sentences of the paragraph end that have a stop.
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
        """Whether a sentence without a stop ends with this line; ``is_prose``: a stop comes later."""
        wide = _NARROW <= self._width <= _WIDEST
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
        return line.is_item and following.width >= max(_HEADED, 2 * line.width)

    @cached_property
    def _width(self) -> int:
        """The columns at which it was wrapped; a long address, which no program wraps, is not looked at."""
        widths = [line.width for line in self.lines]
        return max((width for width in widths if width <= _WIDEST), default=max(widths))

    @cached_property
    def _is_filled(self) -> bool:
        """Whether nearly all lines but the last are about as long as the paragraph is wide."""
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
        """Whether all lines begin in lower case, as in a list that is typed in haste."""
        return all(line.continues() for line in self.lines)


def paragraphs(text: str) -> Iterator[Paragraph]:
    """The paragraphs of a text, which are separated by blank lines; lines end where :meth:`str.splitlines` says."""
    lines: list[Line] = []
    start = 0
    for line in text.splitlines(keepends=True):
        if line.strip():
            lines.append(Line(line, start))
        start += len(line)
        if lines and (line.isspace() or line.endswith(_PARAGRAPH_END)):
            yield Paragraph(lines)
            lines = []
    if lines:
        yield Paragraph(lines)
