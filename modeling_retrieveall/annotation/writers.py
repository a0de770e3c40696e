r"""Writes annotated records as JSON lines, parquet, CoNLL or an HTML page.

>>> json_line(Record({"text": "Bonn", "n": 1.10}, "Bonn", '{"text": "Bonn", "n": 1.10}'), {"language": "de"})
b'{"text": "Bonn", "n": 1.10, "language": "de"}\n'

Every output except HTML can be read back. The checks here reject records that an output format cannot represent, before the
model runs.
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
from ..data.reader_types import DatasetError
from ..model.entities import Entity, Sentence, tags_from_entities
from .added_columns import ADDED_COLUMNS
from .html_report import write_report
from .readers import ROWS_PER_CHUNK, Record, RecordError, Row

OUTPUTS = {".jsonl": "JSON lines", ".parquet": "parquet", ".conll": "CoNLL", ".html": "HTML page"}
"""Suffix of a target to its format."""
COLUMN_OUTPUTS = {".jsonl", ".parquet"}
"""Suffixes of the formats that keep the columns of the source."""
Results = Iterable[tuple[Record, Row]]
"""Each record with its added columns."""


# JSON lines


def json_line(record: Record, added: Row, prefix: str = "") -> bytes:
    """A record and its added columns as one line of JSON in UTF-8.

    A record that was read from JSON keeps its original text, character for character.

    Args:
        record: The record.
        added: The added columns.
        prefix: Prefix of the added columns.
    """
    row = record.json or to_json(record.row)
    start, new = row.removesuffix("}").rstrip(), to_json({f"{prefix}{name}": value for name, value in added.items()})
    separator = ", " if start != "{" and added else ""
    # A lone surrogate stays escaped.
    return f"{start}{separator}{new[1:]}\n".encode("utf-8", "backslashreplace")


def to_json(row: Row) -> str:
    """A row as a JSON object."""
    return json.dumps(row, ensure_ascii=False, default=_as_text)


def _as_text(value: Any) -> str:
    """Converts a value that JSON does not support: bytes to base64, anything else with ``str``."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _write_jsonl(results: Results, path: Path, *, prefix: str, **_: Any) -> None:
    with path.open("wb") as stream:
        stream.writelines(json_line(record, added, prefix) for record, added in results)


# Parquet


def schema_with_columns(schema: pa.Schema, prefix: str) -> pa.Schema:
    """A schema with the added columns at its end."""
    for field in ADDED_COLUMNS:
        schema = schema.append(field.with_name(f"{prefix}{field.name}"))
    return schema


def with_columns(table: pa.Table, added: Sequence[Row], prefix: str) -> pa.Table:
    """A table with the added columns at its end."""
    for field, column in zip(ADDED_COLUMNS, pa.Table.from_pylist(added, schema=ADDED_COLUMNS).columns, strict=True):
        table = table.append_column(field.with_name(f"{prefix}{field.name}"), column)
    return table


def _cast_table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table cast to a schema, with nulls in missing columns, because the files of a source may have different columns."""
    if table.schema.equals(schema):
        return table
    return pa.concat_tables([schema.empty_table(), table], promote_options="permissive").cast(schema)


def common_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Merges the schemas of several parquet files.

    Raises:
        RecordError: A column has incompatible types.
    """
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        raise RecordError(f"The files have columns with incompatible types: {error}. {_USE_JSON}") from error


def inferred_schema(records: Iterable[Record]) -> pa.Schema:
    """Infers the schema of records without types. All records are read, because a later value may need a wider type.

    Raises:
        RecordError: A column has values of incompatible types, or values that parquet has no type for.
    """
    schema = pa.schema([])
    for chunk, first in _chunks(records):
        for name in dict.fromkeys(name for record in chunk for name in record.row):
            values = [record.row.get(name) for record in chunk]
            if error := _type_error(schema, name, values):
                counts = range(1, len(values) + 1)
                index = bisect_left(counts, True, key=lambda n: _type_error(schema, name, values[:n]) is not None)
                raise RecordError(
                    f"Record {first + index}: {name!r} cannot be written as parquet: {error}. {_USE_JSON}"
                ) from error
            schema = _with_values(schema, name, values)
    return schema


def _with_values(schema: pa.Schema, name: str, values: list[Any]) -> pa.Schema:
    return pa.unify_schemas([schema, pa.table({name: values}).schema], promote_options="permissive")


def _type_error(schema: pa.Schema, name: str, values: list[Any]) -> Exception | None:
    """The error raised when values are added to a schema, or ``None`` if they fit."""
    try:
        _with_values(schema, name, values)
    except _TYPE_ERRORS as error:
        return error
    return None


def check_values(records: Iterable[Record], schema: pa.Schema) -> None:
    """Checks that all records can be written as parquet.

    Raises:
        RecordError: A record cannot be written.
    """
    try:
        pq.ParquetWriter(BytesIO(), schema).close()
    except pa.ArrowException as error:
        raise RecordError(f"The records cannot be written as parquet: {error} {_USE_JSON}") from error
    for chunk, first in _chunks(records):
        try:
            table_of(chunk, schema)
        except _TYPE_ERRORS:
            for number, record in enumerate(chunk, start=first):
                try:
                    table_of([record], schema)
                except _TYPE_ERRORS as error:
                    raise RecordError(f"Record {number} cannot be written as parquet: {error}. {_USE_JSON}") from error
            raise


_TYPE_ERRORS = (pa.ArrowException, ValueError, TypeError, OverflowError)
_USE_JSON = "Choose a target that ends with .jsonl."


def _chunks(records: Iterable[Record]) -> Iterator[tuple[list[Record], int]]:
    """Yields chunks of records, each with the number of its first record, counted from 1."""
    remaining, first = iter(records), 1
    while chunk := list(islice(remaining, ROWS_PER_CHUNK)):
        yield chunk, first
        first += len(chunk)


def write_parquet(tables: Iterable[pa.Table], where: str | BinaryIO, schema: pa.Schema) -> None:
    """Writes tables to a path or an open file."""
    with pq.ParquetWriter(where, schema) as writer:
        for table in tables:
            writer.write_table(_cast_table(table, schema))


def table_of(records: Sequence[Record], schema: pa.Schema) -> pa.Table:
    """The rows of records as a table."""
    return pa.Table.from_pylist([record.row for record in records], schema=schema)


def _write_parquet(results: Results, path: Path, *, prefix: str, schema: pa.Schema, tables: Iterable[pa.Table] | None) -> None:
    remaining = iter(results)

    def annotated_tables() -> Iterator[pa.Table]:
        for table in tables or ():
            yield with_columns(table, [added for _, added in islice(remaining, len(table))], prefix)
        while chunk := list(islice(remaining, ROWS_PER_CHUNK)):  # only if the source is not parquet
            yield with_columns(table_of([record for record, _ in chunk], schema), [added for _, added in chunk], prefix)

    write_parquet(annotated_tables(), str(path), schema_with_columns(schema, prefix))


# CoNLL


def conll_block(words: Sequence[str], tags: Sequence[str]) -> bytes:
    """A sentence in CoNLL: one word and its tag per line, then an empty line. Empty for a record without words."""
    rows = "".join(f"{word}\t{tag}\n" for word, tag in zip(words, tags, strict=True))
    return f"{rows}\n".encode("utf-8", "replace") if rows else b""


def check_words(record: Record, where: str) -> None:
    """Checks that the words of a record can be read back from CoNLL. The words of a plain text always can.

    Args:
        record: The record.
        where: How the error message calls the record.

    Raises:
        RecordError: A word cannot be read back.
    """
    words = [] if record.text is None or isinstance(record.text, str) else record.text
    bad = next((word for word in words if not word.strip() or _UNWRITABLE.search(word)), None)
    if bad is None and not _can_be_read_back(words):
        bad = next((word for word in words if not _can_be_read_back([word])), words[0])
    if bad is not None:
        raise RecordError(
            f"{where}: the word {bad!r} cannot be read back from CoNLL. Fix it, or choose a target that ends with .jsonl."
        )


_UNWRITABLE = re.compile(r"[\t\n\r]|^ | $")


def _can_be_read_back(words: Sequence[str]) -> bool:
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
"""Suffix of a target to the function that writes results to a path. Each ignores the keyword arguments that it does not need."""
