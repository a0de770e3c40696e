"""Texts in files, one record after the other: JSON lines, parquet, CoNLL and plain text, here or in an object store.

>>> next(read_records("texts.jsonl"))
Record(row={'id': 7, 'text': 'Angela Merkel besuchte Nairobi.'}, text='Angela Merkel besuchte Nairobi.')
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import fsspec
import pyarrow.parquet as pq

from ..errors import RetrieveAllError

_ROWS_AT_A_TIME = 1024
_TEXT, _WORDS = "text", "tokens"
FORMATS = {".jsonl": "JSON lines", ".parquet": "parquet", ".conll": "CoNLL", ".txt": "plain text"}
"""Suffix to what is read."""


class RecordError(RetrieveAllError, ValueError):
    """A file cannot be read as what its name says it is; the message says where."""


@dataclass(frozen=True, slots=True)
class Record:
    """One text of a file.

    Attributes:
        row: All that the file has of it.
        text: The text, or its words.
    """

    row: dict[str, Any]
    text: str | Sequence[str]


def read_records(path: str, column: str | None = None) -> Iterator[Record]:
    """The records of a file, read as they are asked for.

    Args:
        path: A path or URL that fsspec opens; its suffix tells the format.
        column: Where the text stands in JSON lines and parquet; ``text`` or ``tokens`` when not given.

    Raises:
        RecordError: The suffix is none of ours, or a record is not what it should be.
    """
    suffix = format_of(path, FORMATS)
    rows = {".jsonl": _jsonl, ".parquet": _parquet, ".conll": _conll, ".txt": _txt}[suffix](path)
    for number, row in enumerate(rows, start=1):
        yield Record(row, text_of(row, column, f"{path}, record {number}"))


def format_of(path: str, formats: dict[str, str]) -> str:
    """The suffix of a path, which is one of the formats.

    Raises:
        RecordError: It is not.
    """
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in formats:
        known = ", ".join(f"{name} ({what})" for name, what in formats.items())
        raise RecordError(f"{path} ends with {suffix or 'no suffix'!r}; give a file that ends with one of {known}.")
    return suffix


def text_of(row: dict[str, Any], column: str | None, where: str) -> str | list[str]:
    """The text of a row, or its words.

    Args:
        row: The row.
        column: Where it stands; ``text`` or ``tokens`` when not given.
        where: What an error calls the row.

    Raises:
        RecordError: There is none.
    """
    name = column or next((name for name in (_TEXT, _WORDS) if name in row), None)
    if name is None or name not in row:
        raise RecordError(f"{where} has no {column or 'text'!r}, only {', '.join(map(repr, row)) or 'nothing'}. Give --column.")
    text = row[name]
    if isinstance(text, str) or (isinstance(text, list) and all(isinstance(word, str) for word in text)):
        return text
    raise RecordError(f"{where}: {name!r} is {text!r:.80}, neither a text nor a list of words. Give another --column.")


def lines(stream: Iterable[bytes]) -> Iterator[str]:
    """Lines without their ends; only a line feed ends one, and bytes that are no UTF-8 become U+FFFD."""
    for line in stream:
        yield line.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")


def _lines(path: str) -> Iterator[str]:
    with _opened(path) as stream:
        yield from lines(stream)


def _opened(path: str) -> Any:
    """The file, open for reading.

    Raises:
        RecordError: There is none.
    """
    try:
        return fsspec.open(path, "rb").open()
    except FileNotFoundError as error:
        raise RecordError(f"There is no file {path}.") from error


def _jsonl(path: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise RecordError(f"{path}, line {number} is no JSON ({error}): {line!r:.80}") from error
        if not isinstance(row, dict):
            raise RecordError(f"{path}, line {number} is {row!r:.80}, not a JSON object.")
        yield row


def _parquet(path: str) -> Iterator[dict[str, Any]]:
    with _opened(path) as stream:
        for batch in pq.ParquetFile(stream).iter_batches(_ROWS_AT_A_TIME):
            yield from batch.to_pylist()


def _conll(path: str) -> Iterator[dict[str, Any]]:
    """Sentences: the first column of each line; an empty line ends one, lines of ``-DOCSTART-`` and ``# `` are passed over."""
    words: list[str] = []
    for line in _lines(path):
        if line.strip() and not line.startswith(("-DOCSTART-", "# ")):
            words.append(line.split("\t")[0] if "\t" in line else line.split()[0])
        elif words and not line.strip():
            yield {_WORDS: words}
            words = []
    if words:
        yield {_WORDS: words}


def _txt(path: str) -> Iterator[dict[str, Any]]:
    return ({_TEXT: line} for line in _lines(path))
