"""Texts in files, one record after the other, on this machine or in an object store.

>>> next(read_records("texts.jsonl"))
Record(row={'id': 7, 'text': 'Angela Merkel besuchte Nairobi.'}, text='Angela Merkel besuchte Nairobi.', json='{"id": 7, ...')

JSON lines, JSON and CSV keep all columns of a record, CoNLL only its words. A file may be compressed, as in ``texts.jsonl.gz``.
"""

import csv
import json
import lzma
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from ..data.conll import read_words
from ..data.json_files import without_repeated_keys
from ..data.rows import DatasetError
from ..data.tags import is_outside, is_prefixed
from ..data.text_files import lines
from ..model.errors import RetrieveAllError

Row = dict[str, Any]
Text = str | list[str]

ROWS_AT_A_TIME = 1024
_TEXT, _WORDS = "text", "tokens"
_CONLL = "CoNLL"
FORMATS = {".jsonl": "JSON lines", ".ndjson": "JSON lines", ".json": "JSON", ".csv": "CSV", ".parquet": "parquet"}
FORMATS |= dict.fromkeys((".conll", ".conllu", ".bio", ".iob", ".iob2", ".tsv"), _CONLL) | {".txt": "plain text"}
"""The suffix of a file, and what is read from it."""
_COMPRESSED = {".gz", ".bz2", ".xz", ".zst"}
_LINES_LOOKED_AT = 1000  # to tell what kind of lines a file has


class RecordError(RetrieveAllError, ValueError):
    """A file cannot be read as what its name says it is, or not be written as such; the message says where."""


@dataclass(frozen=True, slots=True)
class Record:
    """One text of a file.

    Attributes:
        row: Its columns.
        text: The text, or its words; ``None`` when it has none.
        json: How a JSON file writes the row.
    """

    row: Row
    text: str | Sequence[str] | None
    json: str | None = None


def read_records(path: str, column: str | None = None, text_only: bool = False) -> Iterator[Record]:
    """The records of a file, read as they are asked for.

    Args:
        path: A path or URL that fsspec opens; its suffix tells the format.
        column: The column that holds the text; ``text`` or ``tokens`` when not given.
        text_only: Leave out the other columns of parquet, which makes it faster.

    Raises:
        RecordError: The suffix is unknown, or a record is not what it should be.
        EncodingError: The file is text in an encoding that it does not tell.
    """
    kind = FORMATS[format_of(path, FORMATS)]
    with _opened(path) as stream:
        if kind == "parquet":
            rows = _parquet(stream, path, text_columns(column) if text_only else None)
        elif kind == _CONLL:
            rows = _conll(stream, path, column)
        else:
            rows = {"JSON lines": _jsonl, "JSON": _json, "CSV": _csv, "plain text": _txt}[kind](stream, path)
        for number, (row, written) in enumerate(rows, start=1):
            text = text_of(row, column, f"{path}, record {number}")
            row |= {name: None for name in text_columns(column) if _is_nan(row.get(name))}
            yield Record(row, text, written)


def read_tables(path: str, rows: int = ROWS_AT_A_TIME) -> Iterator[pa.Table]:
    """The rows of a parquet file as tables of a limited number of rows, with all their types."""
    with _opened(path) as stream:
        for batch in _parquet_file(stream, path).iter_batches(rows):
            yield pa.Table.from_batches([batch])


def schema_of_parquet(path: str) -> pa.Schema:
    """The columns of a parquet file.

    Raises:
        RecordError: Two of them have one name.
    """
    with _opened(path) as stream:
        schema = _parquet_file(stream, path).schema_arrow
    if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise RecordError(f"{path} has two columns {twice[0]!r}. Rename one of them.")
    return schema


def format_of(path: str, formats: Mapping[str, str]) -> str:
    """The suffix of a path, which is one of the formats; that of a compression may follow it.

    Raises:
        RecordError: It is not.
    """
    suffixes = [suffix.lower() for suffix in PurePosixPath(path).suffixes]
    if formats is FORMATS and suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in formats:
        names = {what: ", ".join(name for name in formats if formats[name] == what) for what in formats.values()}
        known = ", ".join(f"{suffixes} ({what})" for what, suffixes in names.items())
        raise RecordError(f"{path} ends with {suffix or 'no suffix'!r}; give a file that ends with one of {known}.")
    return suffix


def text_columns(column: str | None) -> list[str]:
    """The columns that may hold the text."""
    return [column] if column else [_TEXT, _WORDS]


def text_of(row: Row, column: str | None, where: str) -> Text | None:
    """The text of a row, or its words; ``None`` when the column is missing, null or NaN.

    Args:
        row: The row.
        column: The column that holds the text; ``text`` or ``tokens`` when not given.
        where: What an error calls the row.

    Raises:
        RecordError: It holds something else.
    """
    for name in text_columns(column):
        text = row.get(name)
        if text is None or _is_nan(text):
            continue
        if isinstance(text, str) or (isinstance(text, list) and all(isinstance(word, str) for word in text)):
            return text
        raise RecordError(f"{where}: {name!r} is {text!r:.80}, neither a text nor a list of words. Give another --column.")
    return None


def _is_nan(value: Any) -> bool:
    """Whether a value is what pandas has where it has none."""
    return isinstance(value, float) and math.isnan(value)


def check_text_column(names: Iterable[str], column: str | None, where: str) -> None:
    """Makes sure that one of the columns may hold the text.

    Raises:
        RecordError: None may.
    """
    if not set(text_columns(column)) & set(names):
        raise RecordError(f"{where} has no {column or _TEXT!r}, only {', '.join(map(repr, names)) or 'nothing'}. Give --column.")


# Formats: each gives the row of a record and, for JSON, how the file writes it.

_Rows = Iterator[tuple[Row, str | None]]


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """The file, open for reading, unpacked if it is compressed.

    Raises:
        RecordError: There is none, or it is damaged.
    """
    compressed = PurePosixPath(path).suffix.lower() in _COMPRESSED
    try:
        with fsspec.open(path, "rb", compression="infer" if compressed else None) as stream:
            yield stream
    except FileNotFoundError as error:
        raise RecordError(f"There is no file {path}.") from error
    except IsADirectoryError as error:
        raise RecordError(f"{path} is a folder. Give a file.") from error
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if not compressed or getattr(error, "errno", None) is not None:
            raise
        raise RecordError(f"{path} cannot be unpacked: {error}") from error


def _jsonl(stream: BinaryIO, path: str) -> _Rows:
    for number, line in enumerate(lines(stream, path), start=1):
        if line.strip():
            yield parse_row(line.strip(), f"{path}, line {number}"), line.strip()


def parse_row(text: str, where: str) -> Row:
    """Reads one JSON object.

    A number that is too large for a float stays exact, as a ``Decimal``.

    Raises:
        RecordError: It is something else, or has a key twice.
    """
    try:
        row = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:  # more than JSONDecodeError: of numbers, and of keys that occur twice
        raise RecordError(f"{where} is no JSON ({error}): {text!r:.80}") from error
    if not isinstance(row, dict):
        raise RecordError(f"{where} is {row!r:.80}, not a JSON object.")
    return row


def _number(written: str) -> float | Decimal:
    number = float(written)
    return Decimal(written) if math.isinf(number) else number


_DECODER = json.JSONDecoder(object_pairs_hook=without_repeated_keys, parse_float=_number)
_BETWEEN = re.compile(r"\s*")
_BETWEEN_LISTED = re.compile(r"\s*(?:,\s*|$)")
_LINE_ENDS = re.compile(r"\s*[\r\n]\s*")  # between the parts of an object: inside of strings they are escaped


def _json(stream: BinaryIO, path: str) -> _Rows:
    """A list of objects, or objects one after the other."""
    text = "".join(lines(stream, path, keep_ends=True)).strip()
    listed = text.startswith("[")
    if listed and not text.endswith("]"):
        raise RecordError(f"{path} is no JSON: its list does not end with ']'.")
    text = text[1:-1].strip() if listed else text
    position, number = 0, 1
    while position < len(text):
        where = f"{path}, record {number}"
        try:
            row, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{where} is no JSON ({error}): {text[position : position + 80]!r}") from error
        if not isinstance(row, dict):
            raise RecordError(f"{where} is {row!r:.80}, not a JSON object.")
        yield row, _LINE_ENDS.sub(" ", text[position:end])
        separator = (_BETWEEN_LISTED if listed else _BETWEEN).match(text, end)
        if separator is None:
            raise RecordError(f"{path} is no JSON: no comma follows record {number}.")
        position, number = separator.end(), number + 1


def _csv(stream: BinaryIO, path: str) -> _Rows:
    """A header and rows, of which all have as many values; the header tells the delimiter."""
    written = lines(stream, path, keep_ends=True)
    header = next(written, "")
    csv.field_size_limit(1 << 30)
    reader = csv.reader(chain([header], written), delimiter=max(",;\t", key=header.count), strict=True)
    try:
        names = next(reader, [])
        if len(set(names)) < len(names):
            raise RecordError(f"{path} has a column twice: {', '.join(map(repr, names))}. Rename one of them.")
        for values in reader:
            if values and len(values) != len(names):
                raise RecordError(
                    f"{path}, line {reader.line_num} has {len(values)} values, but the header names {len(names)} columns."
                )
            if values:
                yield dict(zip(names, values, strict=True)), None
    except csv.Error as error:
        raise RecordError(f"{path}, line {reader.line_num} is no CSV: {error}.") from error


def _txt(stream: BinaryIO, path: str) -> _Rows:
    written = lines(stream, path)
    head = list(islice(written, _LINES_LOOKED_AT))
    columns = [line.split("\t") if "\t" in line else line.split() for line in head if line.strip()]
    last = [line[-1] for line in columns if line[1:]]
    tagged = all(is_outside(tag) or is_prefixed(tag) for tag in last)
    same_number = len({len(line) for line in columns}) == 1
    if len(columns) == len(last) > 1 and (tagged or (same_number and any(map(is_outside, last)))):
        raise RecordError(f"{path} has a word and a tag on each line, but .txt is read as plain text. Rename it to .conll.")
    return (({_TEXT: line}, None) for line in chain(head, written))


# Parquet


def _parquet(stream: BinaryIO, path: str, columns: list[str] | None) -> _Rows:
    file = _parquet_file(stream, path)
    names = [name for name in file.schema_arrow.names if columns is None or name in columns]
    for batch in file.iter_batches(ROWS_AT_A_TIME, columns=names):
        schema = pa.schema([field.with_type(_type_for_json(field.type)) for field in batch.schema])
        try:
            rows = batch.cast(schema).to_pylist()
        except (ValueError, ArithmeticError) as error:
            raise RecordError(f"{path} has a value that cannot be read: {error}") from error
        yield from ((row, None) for row in rows)


def _parquet_file(stream: BinaryIO, path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(stream)
    except (pa.ArrowException, OSError) as error:
        raise RecordError(f"{path} cannot be read as parquet: {error}") from error


def _type_for_json(kind: pa.DataType) -> pa.DataType:
    """The type as which a value is read for JSON: dates and times as text, of which Python has not all."""
    if pa.types.is_temporal(kind):
        return pa.int64() if pa.types.is_duration(kind) else pa.string()
    if pa.types.is_dictionary(kind):
        return _type_for_json(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_type_for_json(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(kind.key_field.with_type(_type_for_json(kind.key_type)), _type_for_json(kind.item_type))
    if pa.types.is_nested(kind) and hasattr(kind, "value_field"):  # lists of all kinds
        return pa.list_(kind.value_field.with_type(_type_for_json(kind.value_type)), getattr(kind, "list_size", -1))
    return kind


# CoNLL


def _conll(stream: BinaryIO, path: str, column: str | None) -> _Rows:
    if format_of(path, FORMATS) == ".tsv":
        cells = [cell for line in islice(lines(stream, path), _LINES_LOOKED_AT) for cell in line.split("\t")[1:]]
        if cells and not any(is_outside(cell) or is_prefixed(cell) for cell in cells):
            raise RecordError(f"{path} has no tags. Rename it to .csv if it is a table with a header, to .conll if it is CoNLL.")
        stream.seek(0)
    try:
        sentences = read_words(stream, path, column)
    except DatasetError as error:
        raise RecordError(str(error).replace("--tokens-column", "--column")) from error
    return (({column or _WORDS: words}, None) for words in sentences)
