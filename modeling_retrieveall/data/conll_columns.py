"""Finds the columns of words and tags in a CoNLL file from all its lines, or refuses a file in which they are not clear.

>>> lines = [Line(1, 0, ["1", "Bonn", "B-LOC", "O"]), Line(2, 0, ["2", "ruft", "O", "O"])]
>>> table = Table("germeval.tsv", lines, [], has_index=True)
>>> words, tags = find_columns(table, ColumnNames(), Notes())
>>> words.values, tags.values
(['Bonn', 'ruft'], ['B-LOC', 'O'])
"""

import re
from dataclasses import dataclass
from itertools import groupby, pairwise

from ..model.entities import Span
from .reader_types import ColumnNames, DatasetError, Notes
from .tags import TagError, canonical_tags, detect_scheme, is_bare, is_outside, is_prefixed, spans_from_tags

_NUMBER = re.compile(r"\d+([-.:]\d+)?")
_WORD_NAMES = {"word", "words", "token", "tokens", "form", "#word", "#token", "#form"}
# CoNLL-2000 and CoNLL-2003 have a column of phrases, which are tagged like entities.
_CHUNK_TYPES = set(["NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "INTJ", "CONJP", "LST", "UCP", "NC", "VC", "PC"])
_MIN_TAG_SHARE = 0.5
"""A column holds tags if at least this share of its cells are tags; its other cells are then mistakes."""


@dataclass(frozen=True)
class Line:
    """A line of a CoNLL file that holds a word.

    Attributes:
        number: Its number in the file, counted from 1.
        block: The number of its sentence.
        cells: Its columns.
    """

    number: int
    block: int
    cells: list[str]


@dataclass(frozen=True)
class Table:
    """The lines of a CoNLL file, which all have the same number of columns.

    Attributes:
        file: The file, for messages.
        lines: Its lines.
        names: The names of its columns; empty if the file does not name them.
        has_index: Whether the first column counts the words.
    """

    file: str
    lines: list[Line]
    names: list[str]
    has_index: bool = False


@dataclass(frozen=True)
class Column:
    """A column, or one key of a column that holds ``Key=value|Key=value``.

    Attributes:
        name: Its name or number, in messages and in :class:`.reader_types.ColumnNames`.
        values: Its cell on each line of the file.
    """

    name: str
    values: list[str]


def find_columns(table: Table, asked: ColumnNames, notes: Notes) -> tuple[Column, Column]:
    """The column of the words and the column of the tags.

    Args:
        table: The file.
        asked: The columns that the user has named.
        notes: Collects what is left out: mentions inside others.

    Raises:
        DatasetError: There is no such column, or more than one column fits; the message names a line.
    """
    columns, index = _columns(table)
    words = _find_words(table, asked, columns, index)
    others = [column for column in columns if column is not words and column is not index]
    choices = others + [key for column in others for key in _keys(column)]
    if asked.tags_column:
        return words, _column_named(table, [*columns, *choices[len(others) :]], asked.tags_column, "tags")
    if not others:
        raise DatasetError(f"{_first_line(table)} is not a word and a tag. Write the word, a tab and its tag.")
    return words, _guess_tags(table, choices, others, notes)


def find_word_column(table: Table, asked: ColumnNames) -> Column:
    """The column of the words, in a file with or without tags.

    Raises:
        DatasetError: There is no such column, or more than one column fits.
    """
    return _find_words(table, asked, *_columns(table))


def _columns(table: Table) -> tuple[list[Column], Column | None]:
    """All columns, and the column that counts the words, if there is one."""
    columns = [Column(_column_name(table, i), [line.cells[i] for line in table.lines]) for i in range(len(table.lines[0].cells))]
    return columns, columns[0] if table.has_index else None


def _find_words(table: Table, asked: ColumnNames, columns: list[Column], index: Column | None) -> Column:
    return (
        _column_named(table, columns, asked.tokens_column, "tokens")
        if asked.tokens_column
        else _guess_words(table, columns, index, asked.tags_column)
    )


def has_index(lines: list[Line]) -> bool:
    """Whether the first column counts words, in each sentence or through the file, beginning with 0 or 1.

    In a file of two columns it counts words only if the other column has no tags.
    """
    rest = [cell for line in lines for cell in line.cells[1:]]
    if not rest or (len(rest) == len(lines) and any(is_outside(cell) or is_prefixed(cell) for cell in rest)):
        return False
    if not all(re.fullmatch(r"\d+([-.]\d+)?", line.cells[0]) for line in lines):
        return False
    counted = [line for line in lines if line.cells[0].isdigit()]
    numbers = [int(line.cells[0]) for line in counted]
    if not numbers or numbers[0] > 1:
        return False
    through = all(after == before + 1 for before, after in pairwise(numbers))
    return through or all(
        [int(line.cells[0]) for line in block] == list(range(start := int(block[0].cells[0]), start + len(block))) and start < 2
        for block in (list(lines) for _, lines in groupby(counted, key=lambda line: line.block))
    )


def _column_name(table: Table, position: int) -> str:
    return table.names[position] if position < len(table.names) else str(position + 1)


def _column_named(table: Table, columns: list[Column], name: str, kind: str) -> Column:
    found = next((column for column in columns if column.name.lower() == name.lower()), None)
    if found is None and name.isdigit() and 0 < int(name) <= len(table.lines[0].cells):
        found = columns[int(name) - 1]
    if found is None:
        raise DatasetError(
            f"{table.file} has no column {name!r}, only {', '.join(column.name for column in columns)}. "
            f"Set `{kind}_column` to one of them."
        )
    return found


def _first_line(table: Table) -> str:
    line = table.lines[0]
    return f"{table.file}, line {line.number}: {' '.join(line.cells)!r:.80}"


# Words


def _guess_words(table: Table, columns: list[Column], index: Column | None, tags: str | None) -> Column:
    """The first column that does not count words, unless its cells cannot be words."""
    for column in columns:
        if column.name.lower() in _WORD_NAMES:
            return column
    column = columns[0 if index is None else 1]
    if len(columns) > 2 and index is None and (_is_counting(column) or _is_repeated(table, column)):
        raise DatasetError(
            f"{_first_line(table)}: which column holds the words? The first has {_first_values(column)}. Set `tokens_column` to "
            "the number of the column, counted from 1."
        )
    tags_first = len(columns) == 2 and tags is None and _tag_share(column) == 1 and _tag_share(columns[1]) < _MIN_TAG_SHARE
    return columns[1] if tags_first and any(map(is_prefixed, column.values)) else column


def _is_counting(column: Column) -> bool:
    return all(_NUMBER.fullmatch(cell) for cell in column.values)


def _is_repeated(table: Table, column: Column) -> bool:
    """Whether the cells are equal on all lines of each sentence, like the id of a sentence or document."""
    blocks = [list(lines) for _, lines in groupby(zip(table.lines, column.values, strict=True), key=lambda pair: pair[0].block)]
    return any(len(block) > 2 for block in blocks) and all(len({cell for _, cell in block}) == 1 for block in blocks)


def _first_values(column: Column) -> str:
    return ", ".join(map(repr, dict.fromkeys(column.values[:3])))


# Tags


def _keys(column: Column) -> list[Column]:
    """The keys of a column such as MISC of CoNLL-U whose values are tags. A missing key is read as ``O``."""
    if not any("=" in cell for cell in column.values) or not all(cell == "_" or "=" in cell for cell in column.values):
        return []
    values: dict[str, list[str]] = {}
    for position, cell in enumerate(column.values):
        for key, _, value in (part.partition("=") for part in cell.split("|")):
            tags = values.setdefault(key, ["O"] * len(column.values))
            tags[position] = value if is_outside(tags[position]) else tags[position]
    return [Column(key, tags) for key, tags in values.items() if any(map(is_prefixed, tags))]


def _tag_share(column: Column) -> float:
    """The share of cells that are ``O`` or have a prefix."""
    return sum(is_outside(cell) or is_prefixed(cell) for cell in column.values) / len(column.values)


def _guess_tags(table: Table, choices: list[Column], others: list[Column], notes: Notes) -> Column:
    """The column of tags with prefixes; without one the column of types, such as ``PER``; without both the last column.

    The last column is then refused with its first tag, when the tags are read.
    """
    last = others[-1]
    prefixed = [column for column in choices if _tag_share(column) >= _MIN_TAG_SHARE and any(map(is_prefixed, column.values))]
    entities = [column for column in prefixed if not _is_chunks(column)]
    bare = [column for column in others if _is_bare(column)]
    named = [column for column in bare if not all(map(is_outside, column.values))]
    if prefixed and not entities and last not in [*prefixed, *bare]:
        raise _unclear(table, prefixed, "has phrases, not entities, and is not the last column")
    if entities and last in named:
        raise _unclear(table, [*entities, last], "hold tags")
    candidates = entities or (prefixed and [last]) or named or bare[:1] or [last]
    return candidates[0] if len(candidates) == 1 else _outer_layer(table, candidates, notes)


def _is_chunks(column: Column) -> bool:
    return {cell[2:] for cell in column.values if not is_outside(cell)} <= _CHUNK_TYPES


def _is_bare(column: Column) -> bool:
    """Whether the cells can be types without a prefix: some must be ``O``, which distinguishes types from words."""
    named = [cell for cell in column.values if not is_outside(cell)]
    return len(named) < len(column.values) and all(is_bare(cell) and not is_prefixed(cell) for cell in named)


def _outer_layer(table: Table, candidates: list[Column], notes: Notes) -> Column:
    """Of several layers of tags, the outer one: its mentions contain the mentions of all others.

    If two columns share a mention, they are not layers, but tags of two annotators, or of an annotator and a model.
    """
    mentions = [_mentions(table, column) for column in candidates]
    outer = [spans for spans in mentions if all(_contains_all(spans, inner) for inner in mentions if inner is not spans)]
    if len(outer) != 1:
        raise _unclear(table, candidates, "hold tags")
    column = next(column for column, spans in zip(candidates, mentions, strict=True) if spans is outer[0])
    for span in sorted(span for spans in mentions if spans is not outer[0] for span in spans):
        notes.add(
            f"mentions inside others, which were left out, as column {column.name} holds the outer mentions",
            f"{span.label} ({table.file}, line {table.lines[span.start].number})",
        )
    return column


def _mentions(table: Table, column: Column) -> set[Span]:
    """The mentions of a column; their positions are those of the lines in the file."""
    try:
        canonical = canonical_tags(column.values)
    except TagError as error:
        line = table.lines[column.values.index(error.tag)]
        raise DatasetError(f"{table.file}, line {line.number}, column {column.name}: {error}") from error
    tags = [canonical[tag] for tag in column.values]
    ends = [position + 1 for position, (a, b) in enumerate(pairwise(table.lines)) if a.block != b.block]
    bounds = list(pairwise([0, *ends, len(tags)]))
    scheme = detect_scheme(tags[start:end] for start, end in bounds)
    return {
        Span(start + span.start, start + span.end, span.label)
        for start, end in bounds
        for span in spans_from_tags(tags[start:end], scheme)[0]
    }


def _contains_all(outer: set[Span], inner: set[Span]) -> bool:
    """Whether each inner mention is part of an outer one, and none is equal to it."""
    around = {position: span for span in outer for position in range(span.start, span.end)}
    return not inner & outer and all(span.start in around and around[span.start] is around.get(span.end - 1) for span in inner)


def _unclear(table: Table, candidates: list[Column], what: str) -> DatasetError:
    column = candidates[0]
    position = next((i for i, cell in enumerate(column.values) if not is_outside(cell)), 0)
    line = table.lines[position]
    names = " and ".join(column.name for column in candidates)
    return DatasetError(
        f"{table.file}, line {line.number}: {' '.join(line.cells)!r:.80}: which column holds the tags of the entities? Column "
        f"{names} {what}. Set `tags_column` to {column.name}, or to the number or name of another column."
    )
