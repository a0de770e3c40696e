"""Which column of a column file holds the words, and which the tags: decided by all lines of the file, or refused.

>>> lines = [Line(1, 0, ["1", "Bonn", "B-LOC", "O"]), Line(2, 0, ["2", "ruft", "O", "O"])]
>>> table = Table("germeval.tsv", lines, [], has_index=True)
>>> words, tags = find_columns(table, Columns(), Notes())
>>> words.values, tags.values
(['Bonn', 'ruft'], ['B-LOC', 'O'])
"""

import re
from dataclasses import dataclass
from itertools import groupby, pairwise

from ..model.entities import Span
from .rows import Columns, DatasetError, Notes
from .tags import TagError, canonical_tags, detect_scheme, is_bare, is_outside, is_prefixed, spans_from_tags

_NUMBER = re.compile(r"\d+([-.:]\d+)?")
_WORD_NAMES = {"word", "words", "token", "tokens", "form", "#word", "#token", "#form"}
_TAG_NAMES = {"ner", "ner_tag", "ner_tags", "tag", "tags", "label", "labels"}
# Phrases, not entities: CoNLL-2000 and CoNLL-2003 tag them like entities, in the column before.
_CHUNKS = set(["NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "INTJ", "CONJP", "LST", "UCP", "NC", "VC", "PC"])
_CONLL_U = 10
_ENOUGH = 0.5
"""Share of cells that are tags, from which on a column is one of tags, and what is none in it a mistake."""


@dataclass(frozen=True)
class Line:
    """A line of a column file that holds a word.

    Attributes:
        number: Its number in the file, from 1.
        block: The number of the sentence that it is in.
        cells: Its columns.
    """

    number: int
    block: int
    cells: list[str]


@dataclass(frozen=True)
class Table:
    """The lines of a column file, which all have as many columns.

    Attributes:
        file: The file, for messages.
        lines: Its lines.
        names: The names of its columns; empty where it gives none.
        has_index: Whether the first column counts the words.
    """

    file: str
    lines: list[Line]
    names: list[str]
    has_index: bool = False


@dataclass(frozen=True)
class Column:
    """A column, or one key of a column of ``Key=value|Key=value``.

    Attributes:
        name: How messages call it, and how it can be asked for.
        values: Its cell on each line of the file.
    """

    name: str
    values: list[str]


def find_columns(table: Table, asked: Columns, notes: Notes) -> tuple[Column, Column]:
    """The column of the words and the column of the tags.

    Args:
        table: The file.
        asked: The columns that the user has named.
        notes: Takes what is left out: an inner layer of mentions.

    Raises:
        DatasetError: There is no such column, or it is not clear which it is; the message has a line and a proposal.
    """
    columns, index = _columns(table)
    words = _found_words(table, asked, columns, index)
    others = [column for column in columns if column is not words and column is not index]
    choices = others + [key for column in others for key in _keys(table, column)]
    if asked.tags:
        return words, _asked(table, [*columns, *choices[len(others) :]], asked.tags, "tags")
    if not others:
        raise DatasetError(f"{_first(table)} is not a word and a tag. Write the word, a tab and its tag.")
    return words, _tags(table, choices, others, notes)


def find_words(table: Table, asked: Columns) -> Column:
    """The column of the words, in a file that may have no tags.

    Raises:
        DatasetError: There is no such column, or it is not clear which it is.
    """
    return _found_words(table, asked, *_columns(table))


def _columns(table: Table) -> tuple[list[Column], Column | None]:
    """All columns, and the one that counts the words if there is one."""
    columns = [Column(_name(table, i), [line.cells[i] for line in table.lines]) for i in range(len(table.lines[0].cells))]
    return columns, columns[0] if table.has_index else None


def _found_words(table: Table, asked: Columns, columns: list[Column], index: Column | None) -> Column:
    return _asked(table, columns, asked.tokens, "tokens") if asked.tokens else _words(table, columns, index, asked.tags)


def has_index(lines: list[Line]) -> bool:
    """Whether the first column counts words, from 0 or 1 in each sentence or through the file; of two, the other has no tags."""
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


def _name(table: Table, position: int) -> str:
    return table.names[position] if position < len(table.names) else str(position + 1)


def _asked(table: Table, columns: list[Column], name: str, kind: str) -> Column:
    found = next((column for column in columns if column.name.lower() == name.lower()), None)
    if found is None and name.isdigit() and 0 < int(name) <= len(table.lines[0].cells):
        found = columns[int(name) - 1]
    if found is None:
        raise DatasetError(
            f"{table.file} has no column {name!r}, only {', '.join(column.name for column in columns)}. "
            f"Give one of them as --{kind}-column."
        )
    return found


def _first(table: Table) -> str:
    line = table.lines[0]
    return f"{table.file}, line {line.number}: {' '.join(line.cells)!r:.80}"


# Words


def _words(table: Table, columns: list[Column], index: Column | None, tags: str | None) -> Column:
    """The first column that is no index, unless it cannot be that of the words."""
    for column in columns:
        if column.name.lower() in _WORD_NAMES:
            return column
    column = columns[0 if index is None else 1]
    if len(columns) > 2 and index is None and (_is_counting(column) or _is_repeated(table, column)):
        raise DatasetError(
            f"{_first(table)}: which column holds the words? The first has {_examples(column)}. Give --tokens-column with the "
            "number of the column, from 1."
        )
    tags_first = len(columns) == 2 and tags is None and _share(column) == 1 and _share(columns[1]) < _ENOUGH
    return columns[1] if tags_first and any(map(is_prefixed, column.values)) else column


def _is_counting(column: Column) -> bool:
    return all(_NUMBER.fullmatch(cell) for cell in column.values)


def _is_repeated(table: Table, column: Column) -> bool:
    """Whether the column has the same cell on all lines of every sentence, as the id of a sentence or document has."""
    blocks = [list(lines) for _, lines in groupby(zip(table.lines, column.values, strict=True), key=lambda pair: pair[0].block)]
    return any(len(block) > 2 for block in blocks) and all(len({cell for _, cell in block}) == 1 for block in blocks)


def _examples(column: Column) -> str:
    return ", ".join(map(repr, dict.fromkeys(column.values[:3])))


# Tags


def _keys(table: Table, column: Column) -> list[Column]:
    """The keys of a column of ``Key=value|Key=value``, as MISC of CoNLL-U, whose values are tags; ``O`` where one is missing."""
    if not any("=" in cell for cell in column.values) or not all(cell == "_" or "=" in cell for cell in column.values):
        return []
    values: dict[str, list[str]] = {}
    for position, cell in enumerate(column.values):
        for key, _, value in (part.partition("=") for part in cell.split("|")):
            tags = values.setdefault(key, ["O"] * len(column.values))
            tags[position] = value if is_outside(tags[position]) else tags[position]
    return [Column(key, tags) for key, tags in values.items() if any(map(is_prefixed, tags))]


def _share(column: Column) -> float:
    """The share of the cells that are ``O`` or have a prefix."""
    return sum(is_outside(cell) or is_prefixed(cell) for cell in column.values) / len(column.values)


def _tags(table: Table, choices: list[Column], others: list[Column], notes: Notes) -> Column:
    """The column of prefixed tags, or else that of bare ones; if neither is there the last, whose first tag will be refused."""
    last = others[-1]
    prefixed = [column for column in choices if _share(column) >= _ENOUGH and any(map(is_prefixed, column.values))]
    entities = [column for column in prefixed if not _is_chunks(column)]
    bare = [column for column in others if _is_bare(column)]
    named = [column for column in bare if not all(map(is_outside, column.values))]
    if prefixed and not entities and last not in [*prefixed, *bare]:
        raise _unclear(table, prefixed, "has phrases, not entities, and is not the last")
    if entities and last in named:
        raise _unclear(table, [*entities, last], "hold tags")
    candidates = entities or (prefixed and [last]) or named or bare[:1] or [last]
    return candidates[0] if len(candidates) == 1 else _outer(table, candidates, notes)


def _is_chunks(column: Column) -> bool:
    return {cell[2:] for cell in column.values if not is_outside(cell)} <= _CHUNKS


def _is_bare(column: Column) -> bool:
    """Whether the cells can be the tags of IO: types without prefixes, and ``O``, by which types are told from other words."""
    named = [cell for cell in column.values if not is_outside(cell)]
    return len(named) < len(column.values) and all(is_bare(cell) and not is_prefixed(cell) for cell in named)


def _outer(table: Table, candidates: list[Column], notes: Notes) -> Column:
    """Of several layers the one in whose mentions those of all others lie.

    The same mention in two layers means that they are no layers, but the tags of two annotators, or of a model.
    """
    mentions = [_mentions(table, column) for column in candidates]
    outer = [spans for spans in mentions if all(_lie_within(inner, spans) for inner in mentions if inner is not spans)]
    if len(outer) != 1:
        raise _unclear(table, candidates, "hold tags")
    column = next(column for column, spans in zip(candidates, mentions, strict=True) if spans is outer[0])
    for span in sorted(span for spans in mentions if spans is not outer[0] for span in spans):
        notes.add(
            f"mentions inside others were left out, as column {column.name} holds the outer ones",
            f"{span.label} ({table.file}, line {table.lines[span.start].number})",
        )
    return column


def _mentions(table: Table, column: Column) -> set[Span]:
    """The mentions of a column, by the lines of the file."""
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


def _lie_within(inner: set[Span], outer: set[Span]) -> bool:
    around = {position: span for span in outer for position in range(span.start, span.end)}
    return not inner & outer and all(span.start in around and around[span.start] is around.get(span.end - 1) for span in inner)


def _unclear(table: Table, candidates: list[Column], what: str) -> DatasetError:
    column = candidates[0]
    position = next((i for i, cell in enumerate(column.values) if not is_outside(cell)), 0)
    line = table.lines[position]
    names = " and ".join(column.name for column in candidates)
    return DatasetError(
        f"{table.file}, line {line.number}: {' '.join(line.cells)!r:.80}: which column holds the tags of the entities? Column "
        f"{names} {what}. Give --tags-column {column.name}, or the number or name of another."
    )
