"""Reads records with texts from local files, object stores and other file systems of fsspec.

>>> next(read_records("texts.jsonl"))
Record(row={'id': 7, 'text': 'Angela Merkel besuchte Nairobi.'}, text='Angela Merkel besuchte Nairobi.', json='{"id": 7, ...')

A record of CoNLL has only its words; a record of any other format has all columns of the file. Files can be compressed, as in
``texts.jsonl.gz``.
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
from ..data.json_files import reject_repeated_keys
from ..data.reader_types import DatasetError
from ..data.tags import is_outside, is_prefixed
from ..data.text_files import read_lines
from ..model.errors import RetrieveAllError

Row = dict[str, Any]
Text = str | list[str]

ROWS_PER_CHUNK = 1024
_TEXT, _WORDS = "text", "tokens"
_CONLL = "CoNLL"
FORMATS = {".jsonl": "JSON lines", ".ndjson": "JSON lines", ".json": "JSON", ".csv": "CSV", ".parquet": "parquet"}
FORMATS |= dict.fromkeys((".conll", ".conllu", ".bio", ".iob", ".iob2", ".tsv"), _CONLL) | {".txt": "plain text"}
"""Suffix of a source to its format."""
_COMPRESSED = {".gz", ".bz2", ".xz", ".zst"}
_LINES_INSPECTED = 1000  # to detect that a file is in another format than its suffix says


class RecordError(RetrieveAllError, ValueError):
    """A file or a record cannot be read or written in its format. The message gives the place."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file.

    Attributes:
        row: The columns of the record.
        text: The text, or its words; ``None`` for a record without text.
        json: The text of the row in its file, if the file is JSON.
    """

    row: Row
    text: str | Sequence[str] | None
    json: str | None = None


def read_records(path: str, column: str | None = None, text_only: bool = False) -> Iterator[Record]:
    """Reads the records of a file lazily.

    Args:
        path: A path or a URL that fsspec supports, with one of the suffixes of :data:`FORMATS`.
        column: The column that holds the text, or a list of words; by default ``text`` or ``tokens``.
        text_only: Whether to read only the text of a parquet file, which is faster.

    Raises:
        RecordError: The suffix is unknown, or the file or a record is malformed.
        EncodingError: A text file has an encoding that cannot be detected.
    """
    kind = FORMATS[suffix_of(path, FORMATS)]
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


def read_tables(path: str, rows: int = ROWS_PER_CHUNK) -> Iterator[pa.Table]:
    """Reads a parquet file as tables of at most ``rows`` rows, with the original types."""
    with _opened(path) as stream:
        for batch in _parquet_file(stream, path).iter_batches(rows):
            yield pa.Table.from_batches([batch])


def schema_of_parquet(path: str) -> pa.Schema:
    """Reads the schema of a parquet file.

    Raises:
        RecordError: Two columns have the same name.
    """
    with _opened(path) as stream:
        schema = _parquet_file(stream, path).schema_arrow
    if duplicates := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise RecordError(f"{path} has two columns {duplicates[0]!r}. Rename one of them.")
    return schema


def suffix_of(path: str, formats: Mapping[str, str]) -> str:
    """The suffix of a path in lower case, without that of a compression.

    Args:
        path: A path or URL.
        formats: The supported suffixes, each with the name of its format.

    Raises:
        RecordError: The suffix is not supported.
    """
    suffixes = [suffix.lower() for suffix in PurePosixPath(path).suffixes]
    if formats is FORMATS and suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in formats:
        by_format = {kind: ", ".join(name for name in formats if formats[name] == kind) for kind in formats.values()}
        supported = ", ".join(f"{suffixes} ({kind})" for kind, suffixes in by_format.items())
        problem = f"the unsupported suffix {suffix!r}" if suffix else "no suffix"
        raise RecordError(f"{path} has {problem}. Supported suffixes are {supported}.")
    return suffix


def text_columns(column: str | None) -> list[str]:
    """The columns that can hold the text, in order of preference."""
    return [column] if column else [_TEXT, _WORDS]


def text_of(row: Row, column: str | None, where: str) -> Text | None:
    """The text of a row, or its list of words; ``None`` if the column is missing, null or NaN.

    Args:
        row: The row.
        column: The column that holds the text; by default ``text`` or ``tokens``.
        where: How the error message calls the row.

    Raises:
        RecordError: The column holds a value of another type.
    """
    for name in text_columns(column):
        text = row.get(name)
        if text is None or _is_nan(text):
            continue
        if isinstance(text, str) or (isinstance(text, list) and all(isinstance(word, str) for word in text)):
            return text
        raise RecordError(
            f"{where}: {name!r} is {text!r:.80}, which is neither a text nor a list of words. Choose another `column`."
        )
    return None


def _is_nan(value: Any) -> bool:
    """Whether a value is NaN, which pandas writes for a missing value."""
    return isinstance(value, float) and math.isnan(value)


def check_text_column(names: Iterable[str], column: str | None, where: str) -> None:
    """Checks that one of the columns can hold the text.

    Raises:
        RecordError: There is no such column.
    """
    if not set(text_columns(column)) & set(names):
        present = ", ".join(map(repr, names)) or "none"
        raise RecordError(f"{where} has no column {column or _TEXT!r}. Its columns are: {present}. Set `column` to one of them.")


# The readers of the formats. Each yields the rows of a file and, for JSON, the text of each row.

_Rows = Iterator[tuple[Row, str | None]]


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading, and decompresses it if its suffix says so.

    Raises:
        RecordError: The file does not exist, is a folder or cannot be decompressed.
    """
    compressed = PurePosixPath(path).suffix.lower() in _COMPRESSED
    try:
        with fsspec.open(path, "rb", compression="infer" if compressed else None) as stream:
            yield stream
    except FileNotFoundError as error:
        raise RecordError(f"There is no file {path}.") from error
    except IsADirectoryError as error:
        raise RecordError(f"{path} is a folder. Give the path of a file.") from error
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if not compressed or getattr(error, "errno", None) is not None:
            raise
        raise RecordError(f"{path} cannot be decompressed: {error}") from error


def _jsonl(stream: BinaryIO, path: str) -> _Rows:
    for number, line in enumerate(read_lines(stream, path), start=1):
        if line.strip():
            yield parse_row(line.strip(), f"{path}, line {number}"), line.strip()


def parse_row(text: str, where: str) -> Row:
    """Parses one JSON object. A number that is too large for a float becomes a ``Decimal``, which is exact.

    Raises:
        RecordError: The text is not a JSON object, or a key occurs twice.
    """
    try:
        row = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:  # ValueError includes invalid numbers and repeated keys
        raise RecordError(f"{where} is not valid JSON ({error}): {text!r:.80}") from error
    if not isinstance(row, dict):
        raise RecordError(f"{where} is not a JSON object: {row!r:.80}")
    return row


def _number(written: str) -> float | Decimal:
    number = float(written)
    return Decimal(written) if math.isinf(number) else number


_DECODER = json.JSONDecoder(object_pairs_hook=reject_repeated_keys, parse_float=_number)
_BETWEEN = re.compile(r"\s*")
_BETWEEN_LISTED = re.compile(r"\s*(?:,\s*|$)")
_LINE_ENDS = re.compile(r"\s*[\r\n]\s*")  # between the parts of an object; line ends inside strings are escaped


def _json(stream: BinaryIO, path: str) -> _Rows:
    """Reads a list of objects, or a sequence of objects."""
    text = "".join(read_lines(stream, path, keep_ends=True)).strip()
    listed = text.startswith("[")
    if listed and not text.endswith("]"):
        raise RecordError(f"{path} is not valid JSON: its list does not end with ']'.")
    text = text[1:-1].strip() if listed else text
    position, number = 0, 1
    while position < len(text):
        where = f"{path}, record {number}"
        try:
            row, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{where} is not valid JSON ({error}): {text[position : position + 80]!r}") from error
        if not isinstance(row, dict):
            raise RecordError(f"{where} is not a JSON object: {row!r:.80}")
        yield row, _LINE_ENDS.sub(" ", text[position:end])
        separator = (_BETWEEN_LISTED if listed else _BETWEEN).match(text, end)
        if separator is None:
            raise RecordError(f"{path} is not valid JSON: there is no comma after record {number}.")
        position, number = separator.end(), number + 1


def _csv(stream: BinaryIO, path: str) -> _Rows:
    """Reads a header and rows with the same number of values. The delimiter is detected from the header."""
    written = read_lines(stream, path, keep_ends=True)
    header = next(written, "")
    csv.field_size_limit(1 << 30)
    reader = csv.reader(chain([header], written), delimiter=max(",;\t", key=header.count), strict=True)
    try:
        names = next(reader, [])
        if len(set(names)) < len(names):
            raise RecordError(f"{path} has a repeated column name: {', '.join(map(repr, names))}. Rename one of the columns.")
        for values in reader:
            if values and len(values) != len(names):
                raise RecordError(
                    f"{path}, line {reader.line_num} has {len(values)} values, but the header has {len(names)} columns."
                )
            if values:
                yield dict(zip(names, values, strict=True)), None
    except csv.Error as error:
        raise RecordError(f"{path}, line {reader.line_num} is not valid CSV: {error}.") from error


def _txt(stream: BinaryIO, path: str) -> _Rows:
    written = read_lines(stream, path)
    head = list(islice(written, _LINES_INSPECTED))
    columns = [line.split("\t") if "\t" in line else line.split() for line in head if line.strip()]
    last = [line[-1] for line in columns if line[1:]]
    tagged = all(is_outside(tag) or is_prefixed(tag) for tag in last)
    same_number = len({len(line) for line in columns}) == 1
    if len(columns) == len(last) > 1 and (tagged or (same_number and any(map(is_outside, last)))):
        raise RecordError(f"{path} has one word and one tag per line, but .txt is read as plain text. Rename it to .conll.")
    return (({_TEXT: line}, None) for line in chain(head, written))


# Parquet


def _parquet(stream: BinaryIO, path: str, columns: list[str] | None) -> _Rows:
    file = _parquet_file(stream, path)
    names = [name for name in file.schema_arrow.names if columns is None or name in columns]
    for batch in file.iter_batches(ROWS_PER_CHUNK, columns=names):
        schema = pa.schema([field.with_type(_type_for_json(field.type)) for field in batch.schema])
        try:
            rows = batch.cast(schema).to_pylist()
        except (ValueError, ArithmeticError) as error:
            raise RecordError(f"{path} has a value that cannot be converted: {error}") from error
        yield from ((row, None) for row in rows)


def _parquet_file(stream: BinaryIO, path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(stream)
    except (pa.ArrowException, OSError) as error:
        raise RecordError(f"{path} cannot be read as parquet: {error}") from error


def _type_for_json(kind: pa.DataType) -> pa.DataType:
    """The type to read a value as, before it is written as JSON: text for dates and times, because Python lacks some of them."""
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
    if suffix_of(path, FORMATS) == ".tsv":
        cells = [cell for line in islice(read_lines(stream, path), _LINES_INSPECTED) for cell in line.split("\t")[1:]]
        if cells and not any(is_outside(cell) or is_prefixed(cell) for cell in cells):
            raise RecordError(
                f"{path} has no tags. Rename it to .csv if it is a table with a header, or to .conll if it is CoNLL."
            )
        stream.seek(0)
    try:
        sentences = read_words(stream, path, column)
    except DatasetError as error:
        raise RecordError(str(error).replace("tokens_column", "column")) from error
    return (({column or _WORDS: words}, None) for words in sentences)
