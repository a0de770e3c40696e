"""The types that all readers share: what they are given, what they return, and how they report problems.

>>> TaggedSentence(["Bonn", "ruft"], ["B-LOC", "O"], "sw.conll", [1, 2]).place_of(0)
"sw.conll, line 1, word 'Bonn'"
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..model.errors import RetrieveAllError


class DatasetError(RetrieveAllError, ValueError):
    """A dataset cannot be read as labelled sentences, or cannot be written; the message says what to change."""


@dataclass(frozen=True)
class ColumnNames:
    """The columns that hold words and labels, for data in which the readers cannot find them.

    Attributes:
        tokens_column: Name of the column of words or texts; in CoNLL files also its number, counted from 1.
        tags_column: Name or number of the column of tags or mentions.
        tag_names: The tags that the numbers 0, 1, ... stand for.
    """

    tokens_column: str | None = None
    tags_column: str | None = None
    tag_names: Sequence[str] | None = None

    @classmethod
    def from_options(cls, tokens_column: str | None, tags_column: str | None, tag_names: str | None) -> "ColumnNames":
        """Takes ``tag_names`` as one string, separated by commas, as on the command line."""
        return cls(tokens_column, tags_column, [name.strip() for name in tag_names.split(",")] if tag_names else None)


class SourceRecord(NamedTuple):
    """One record of a JSON file, a parquet file or a dataset of the Hub.

    Attributes:
        fields: Its columns.
        place: The file and line or row, for messages.
        extra: Columns that the reader has taken out of ``fields``, because they hold neither the text nor labels.
    """

    fields: dict[str, Any]
    place: str
    extra: dict[str, Any] = {}  # noqa: RUF012  (never changed)


@dataclass(frozen=True)
class TaggedSentence:
    """A sentence with one tag per word, as a file holds it.

    Attributes:
        words: The words.
        tags: One tag per word, in the spelling of the file.
        place: The file and row, for messages.
        lines: The line number of each word; empty if the words have no lines of their own.
        extra: The other columns of the record.
    """

    words: list[str]
    tags: list[str]
    place: str
    lines: list[int] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def place_of(self, position: int) -> str:
        """The file, line and word at a position, for messages."""
        place = f"{self.place}, line {self.lines[position]}" if self.lines else self.place
        return f"{place}, word {self.words[position]!r}"


class CharSpan(NamedTuple):
    """A labelled range of characters: the code points from ``start`` up to, not including, ``end``."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class SpanText:
    """A text with labelled character ranges, as a file holds it.

    Attributes:
        text: The text; or a list of words, and the ranges then refer to the words joined by single spaces.
        spans: The labelled ranges.
        place: The file and line or row, for messages.
        extra: The other columns of the record.
        scored: Whether the ranges have scores. Only the predictions of a model have them.
    """

    text: str | list[str]
    spans: list[CharSpan]
    place: str
    extra: dict[str, Any] = field(default_factory=dict)
    scored: bool = False


RawExample = TaggedSentence | SpanText
"""What every reader returns; :func:`.loading.load_examples` makes examples of it."""


class Notes:
    """Collects what the readers leave out or change: a count for each kind, and the first case of it.

    >>> notes = Notes()
    >>> notes.add("mentions with white space at their ends, which was cut off", "'Bonn ' (de.jsonl, line 1)")
    >>> list(notes)
    ["mentions with white space at their ends, which was cut off: 1, such as 'Bonn ' (de.jsonl, line 1)"]
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, kind: str, example: str) -> None:
        """Counts one more case of a kind."""
        count, first = self._found.get(kind, (0, example))
        self._found[kind] = (count + 1, first)

    def __iter__(self) -> Iterator[str]:
        return (f"{kind}: {count:,}, such as {first}" for kind, (count, first) in self._found.items())
