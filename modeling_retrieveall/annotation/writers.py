r"""Records and what was found in them, written as JSON lines, parquet, CoNLL or a page.

>>> json_line(Record({"text": "Bonn", "n": 1.10}, "Bonn", '{"text": "Bonn", "n": 1.10}'), {"language": "de"})
b'{"text": "Bonn", "n": 1.10, "language": "de"}\n'

What is written can be read back: a record for which that is impossible is refused before any work is done.
"""

import base64
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ..data.conll import read_words
from ..data.rows import DatasetError
from ..model.entities import Entity, Sentence, tags_from_entities
from .html_report import write_report
from .records import ROWS_AT_A_TIME, Record, RecordError, Row

OUTPUTS = {".jsonl": "JSON lines", ".parquet": "parquet", ".conll": "CoNLL", ".html": "a page to look at"}
"""The suffix of a target, and what is written to it."""
ADDED = pa.schema(
    {
        "entities": pa.list_(
            pa.struct({"text": pa.string(), "label": pa.string(), "start": pa.int64(), "end": pa.int64(), "score": pa.float64()})
        ),
        "language": pa.string(),
        "known": pa.bool_(),
    }
)
"""The columns that are added."""
WITH_COLUMNS = {".jsonl", ".parquet"}
"""The targets that keep the columns of the source."""
Results = Iterable[tuple[Record, Row]]


# JSON lines


def json_line(record: Record, added: Row, prefix: str = "") -> bytes:
    """A record and what is added to it, as a line of JSON in UTF-8.

    What a JSON file wrote of the record stays as it is, character for character.
    """
    row = record.json or to_json(record.row)
    start, new = row.removesuffix("}").rstrip(), to_json({f"{prefix}{name}": value for name, value in added.items()})
    separator = ", " if start != "{" and added else ""
    # A lone surrogate stays escaped.
    return f"{start}{separator}{new[1:]}\n".encode("utf-8", "backslashreplace")


def to_json(row: Row) -> str:
    """A row as an object of JSON."""
    return json.dumps(row, ensure_ascii=False, default=_as_text)


def _as_text(value: Any) -> str:
    """What JSON cannot write: bytes in base64, everything else as ``str`` writes it."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _write_jsonl(results: Results, path: Path, *, prefix: str, **_: Any) -> None:
    with path.open("wb") as stream:
        stream.writelines(json_line(record, added, prefix) for record, added in results)


# Parquet


def schema_with_columns(schema: pa.Schema, prefix: str) -> pa.Schema:
    """The columns of a source and those that are added."""
    for field in ADDED:
        schema = schema.append(field.with_name(f"{prefix}{field.name}"))
    return schema


def with_columns(table: pa.Table, added: Sequence[Row], prefix: str) -> pa.Table:
    """A table with the columns that are added."""
    for field, column in zip(ADDED, pa.Table.from_pylist(added, schema=ADDED).columns, strict=True):
        table = table.append_column(field.with_name(f"{prefix}{field.name}"), column)
    return table


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the columns of a schema, and nulls where it lacks one: a source may have several files."""
    if table.schema.equals(schema):
        return table
    return pa.concat_tables([schema.empty_table(), table], promote_options="permissive").cast(schema)


def common_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns of parquet files together.

    Raises:
        RecordError: A column has other values in one file than in another.
    """
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        raise RecordError(f"The files have different columns: {error}. {_JSON_CAN}") from error


def inferred_schema(records: Iterable[Record]) -> pa.Schema:
    """The columns of rows that have no types: of all, as a number may be whole in one row and not in the next.

    Raises:
        RecordError: A column has values of several types, or values for which parquet has no type.
    """
    schema = pa.schema([])
    for part, first in _in_parts(records):
        for name in dict.fromkeys(name for record in part for name in record.row):
            values = [record.row.get(name) for record in part]
            if error := _type_error(schema, name, values):
                counts = range(1, len(values) + 1)
                odd = bisect_left(counts, True, key=lambda n: _type_error(schema, name, values[:n]) is not None)
                raise RecordError(f"Record {first + odd}: {name!r} cannot be written as parquet: {error}. {_JSON_CAN}") from error
            schema = _with_values(schema, name, values)
    return schema


def _with_values(schema: pa.Schema, name: str, values: list[Any]) -> pa.Schema:
    return pa.unify_schemas([schema, pa.table({name: values}).schema], promote_options="permissive")


def _type_error(schema: pa.Schema, name: str, values: list[Any]) -> Exception | None:
    """Why values have no common type with those before them."""
    try:
        _with_values(schema, name, values)
    except _NO_TYPE as error:
        return error
    return None


def check_values(records: Iterable[Record], schema: pa.Schema) -> None:
    """Makes sure that rows can be written as parquet.

    Raises:
        RecordError: A record cannot.
    """
    try:
        pq.ParquetWriter(BytesIO(), schema).close()
    except pa.ArrowException as error:
        raise RecordError(f"The records cannot be written as parquet: {error} {_JSON_CAN}") from error
    for part, first in _in_parts(records):
        try:
            table_of(part, schema)
        except _NO_TYPE:
            for number, record in enumerate(part, start=first):
                try:
                    table_of([record], schema)
                except _NO_TYPE as error:
                    raise RecordError(f"Record {number} cannot be written as parquet: {error}. {_JSON_CAN}") from error
            raise


_NO_TYPE = (pa.ArrowException, ValueError, TypeError, OverflowError)
_JSON_CAN = "Give an output that ends with .jsonl."


def _in_parts(records: Iterable[Record]) -> Iterator[tuple[list[Record], int]]:
    """Records in parts of a given size, and the number of the first record of each part."""
    waiting, first = iter(records), 1
    while part := list(islice(waiting, ROWS_AT_A_TIME)):
        yield part, first
        first += len(part)


def write_parquet(tables: Iterable[pa.Table], where: str | BinaryIO, schema: pa.Schema) -> None:
    """Writes tables to a path or an open file."""
    with pq.ParquetWriter(where, schema) as writer:
        for table in tables:
            writer.write_table(_fitted(table, schema))


def table_of(records: Sequence[Record], schema: pa.Schema) -> pa.Table:
    """A table of rows, by the columns of their source."""
    return pa.Table.from_pylist([record.row for record in records], schema=schema)


def _write_parquet(results: Results, path: Path, *, prefix: str, schema: pa.Schema, tables: Iterable[pa.Table] | None) -> None:
    rest = iter(results)

    def annotated() -> Iterator[pa.Table]:
        for table in tables or ():
            yield with_columns(table, [added for _, added in islice(rest, len(table))], prefix)
        while part := list(islice(rest, ROWS_AT_A_TIME)):  # of a source that has no tables
            yield with_columns(table_of([record for record, _ in part], schema), [added for _, added in part], prefix)

    write_parquet(annotated(), str(path), schema_with_columns(schema, prefix))


# CoNLL


def conll_block(words: Sequence[str], tags: Sequence[str]) -> bytes:
    """A word and its tag a line, and an empty line after the last one; nothing for a record without words."""
    rows = "".join(f"{word}\t{tag}\n" for word, tag in zip(words, tags, strict=True))
    return f"{rows}\n".encode("utf-8", "replace") if rows else b""


def check_words(record: Record, where: str) -> None:
    """Makes sure that the words of a record can be read back from CoNLL; those of a raw text always can.

    Raises:
        RecordError: One of them cannot.
    """
    words = [] if record.text is None or isinstance(record.text, str) else record.text
    odd = next((word for word in words if not word.strip() or _UNWRITABLE.search(word)), None)
    if odd is None and not _read_back(words):
        odd = next((word for word in words if not _read_back([word])), words[0])
    if odd is not None:
        raise RecordError(
            f"{where}: the word {odd!r} could not be read back from CoNLL. Repair the record, or give an output that ends with "
            ".jsonl."
        )


_UNWRITABLE = re.compile(r"[\t\n\r]|^ | $")


def _read_back(words: Sequence[str]) -> bool:
    stream = BytesIO(conll_block(words, ["O"] * len(words)))
    known = [word.encode("utf-8", "replace").decode() for word in words]
    try:
        return read_words(stream, "") == ([known] if known else [])
    except DatasetError:
        return False


def _write_conll(results: Results, path: Path, **_: Any) -> None:
    with path.open("wb") as stream:
        for record, added in results:
            text = record.text or ""
            sentence = Sentence.from_text(text) if isinstance(text, str) else Sentence.from_words(text)
            tags = tags_from_entities([Entity(**entity) for entity in added["entities"]], sentence)
            stream.write(conll_block([word.text for word in sentence.words], tags))


def _write_html(results: Results, path: Path, **_: Any) -> None:
    write_report(((record.text, added) for record, added in results), path)


WRITERS: dict[str, Callable[..., None]] = {
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
    ".conll": _write_conll,
    ".html": _write_html,
}
"""Each writes results to a path; they differ in what they need besides."""
