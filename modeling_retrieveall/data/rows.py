"""What the readers of all formats give: sentences with a tag for each word, or texts with labelled ranges of characters.

>>> TaggedRow(["Bonn", "ruft"], ["B-LOC", "O"], "sw.conll", [1, 2]).place_of(0)
"sw.conll, line 1, word 'Bonn'"
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..model.errors import RetrieveAllError


class DatasetError(RetrieveAllError, ValueError):
    """A dataset that cannot be read as labelled sentences; the message says what to change."""


@dataclass(frozen=True)
class Columns:
    """Where words and labels stand, for data that does not show it.

    Attributes:
        tokens: The column of the words, or of the texts: its name, or in column files its number, from 1.
        tags: The column of the tags, or of the labelled ranges.
        tag_names: The tags that the numbers 0, 1, ... stand for.
    """

    tokens: str | None = None
    tags: str | None = None
    tag_names: Sequence[str] | None = None

    @classmethod
    def named(cls, tokens: str | None, tags: str | None, tag_names: str | None) -> "Columns":
        """Those that a command's options name; the names of tags are separated by commas."""
        return cls(tokens, tags, [name.strip() for name in tag_names.split(",")] if tag_names else None)


@dataclass(frozen=True)
class TaggedRow:
    """A sentence whose words are tagged.

    Attributes:
        words: Its words.
        tags: A tag for each word.
        place: Where it stands, for messages.
        lines: The line of each word; empty where the file has no lines.
        other: The other columns of its record.
    """

    words: list[str]
    tags: list[str]
    place: str
    lines: list[int] = field(default_factory=list)
    other: dict[str, Any] = field(default_factory=dict)

    def place_of(self, position: int) -> str:
        """Where the word at a position stands, and which it is."""
        place = f"{self.place}, line {self.lines[position]}" if self.lines else self.place
        return f"{place}, word {self.words[position]!r}"


class CharSpan(NamedTuple):
    """A labelled range of characters: code points ``start`` up to, not including, ``end``."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class SpanRow:
    """A text with labelled ranges of its characters.

    Attributes:
        text: The text; or its words, and ranges count the characters of the words with a space between.
        spans: The ranges.
        place: Where it stands, for messages.
        other: The other columns of its record.
        scored: Whether the ranges have scores, as those that a model has found.
    """

    text: str | list[str]
    spans: list[CharSpan]
    place: str
    other: dict[str, Any] = field(default_factory=dict)
    scored: bool = False


Row = TaggedRow | SpanRow


class Notes:
    """What was left out or changed in reading: how often, with the first example of each kind.

    >>> notes = Notes()
    >>> notes.add("spaces at the ends of mentions were cut off", "'Bonn ' (de.jsonl, line 1)")
    >>> list(notes)
    ["spaces at the ends of mentions were cut off: 1, such as 'Bonn ' (de.jsonl, line 1)"]
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, kind: str, example: str) -> None:
        """Counts one more of a kind."""
        count, first = self._found.get(kind, (0, example))
        self._found[kind] = (count + 1, first)

    def __iter__(self) -> Iterator[str]:
        return (f"{kind}: {count:,}, such as {first}" for kind, (count, first) in self._found.items())
