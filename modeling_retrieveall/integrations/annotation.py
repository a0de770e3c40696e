"""A file of texts annotated into another: in order, record by record, going on where a crash has left it.

>>> annotate(model, "texts.jsonl", "entities.jsonl")
Annotated(records=1000, resumed=0)

Every finished record is a line of a journal beside the output, written before the next batch begins. Started again, the same
command goes on after its last whole line; only when all is done is the output written from it, at once.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from transformers.utils import logging

from ..entities import Entity, Sentence, tags_from_entities
from ..errors import RetrieveAllError
from ..outputs import Extraction, entity_dict
from .records import Record, RecordError, format_of, read_records, text_of
from .report import write_report

OUTPUTS = {".jsonl": "JSON lines", ".parquet": "parquet", ".conll": "CoNLL", ".html": "a page to look at"}
"""Suffix to what is written."""
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
BATCHES_AT_A_TIME = 16
"""Batches of which the records are given to the model at once; it packs those of like length together."""
_ROWS_AT_A_TIME = 1024
Row = dict[str, Any]


class Annotates(Protocol):
    """What annotates texts: a model."""

    @property
    def languages(self) -> dict[str, str]:
        """The adapter of each language."""

    def explain(self, texts: Any = None, languages: Any = None, batch_size: Any = None, *, words: Any = None, **_: Any) -> Any:
        """As :meth:`RetrieveAllModel.explain`."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """What was done.

    Attributes:
        records: Records in the output.
        resumed: How many of them an earlier run had finished.
    """

    records: int
    resumed: int


class JournalError(RetrieveAllError, ValueError):
    """There is a journal of another job where this one's should be."""


def annotate(
    model: Annotates,
    source: str,
    target: str,
    *,
    column: str | None = None,
    batch_size: int = 16,
    overwrite: bool = False,
    **settings: Any,
) -> Annotated:
    """Annotates all records of a file.

    Args:
        model: The model.
        source: As for :func:`read_records`.
        target: A path ending with one of :data:`OUTPUTS`; it appears when all is done.
        column: As for :func:`read_records`.
        batch_size: Sentences decoded together.
        overwrite: Replace a target that is there.
        **settings: ``languages``, ``prior``, ``threshold`` of :meth:`RetrieveAllModel.explain`.

    Returns:
        How many records there are.

    Raises:
        RecordError: The source cannot be read.
        FileExistsError: The target is there.
        JournalError: The journal beside it is of another job.
    """
    check(source, target, column, overwrite)
    journal = Journal(
        Path(f"{target}.journal"), {"source": _identity(source), "column": column, "model": model.languages, **settings}
    )
    done = journal.open()
    records = islice(read_records(source, column), done, None)
    bar = {"unit": " records", "initial": done, "delay": 2, "disable": None}
    with journal, logging.tqdm(**bar) as progress:
        while part := list(islice(records, BATCHES_AT_A_TIME * batch_size)):
            journal.write(annotated(model, part, batch_size, **settings))
            progress.update(len(part))
    count = _write(journal, target, column)
    journal.path.unlink()
    return Annotated(count, done)


def check(source: str, target: str, column: str | None, overwrite: bool) -> None:
    """Raises what :func:`annotate` would raise at its beginning, for those who have yet to load a model."""
    format_of(target, OUTPUTS)
    if "://" in target:
        raise RecordError(f"{target} is a URL. Give a file of this machine; its journal stands beside it.")
    if Path(target).exists() and not overwrite:
        raise FileExistsError(f"{target} is there already. Give --overwrite to replace it, or another name.")
    next(read_records(source, column), None)


def annotated(model: Annotates, records: Sequence[Record], batch_size: int | None = None, **settings: Any) -> list[Row]:
    """The rows of records, each with ``entities``, ``language`` and ``known`` added."""
    results: dict[int, Extraction] = {}
    texts = [i for i, record in enumerate(records) if isinstance(record.text, str)]
    words = [i for i, record in enumerate(records) if not isinstance(record.text, str)]
    for positions, name in ((texts, "texts"), (words, "words")):
        if positions:
            found = model.explain(**{name: [records[i].text for i in positions]}, batch_size=batch_size, **settings)
            results.update(zip(positions, found, strict=True))
    return [{**record.row, **_columns(results[i])} for i, record in enumerate(records)]


def _columns(result: Extraction) -> Row:
    return {
        "entities": [entity_dict(entity) for entity in result.entities],
        "language": result.route.language,
        "known": result.route.known,
    }


def json_line(row: Row) -> bytes:
    """A row as a line of JSON in UTF-8; a lone surrogate stays escaped, and what JSON has no word for becomes text."""
    return json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace") + b"\n"


def _identity(source: str) -> list[Any]:
    """What tells a file from another of the same name."""
    filesystem, path = fsspec.core.url_to_fs(source)
    info = filesystem.info(path)
    return [str(info["name"]), info["size"], str(info.get("mtime") or info.get("ETag") or info.get("etag") or "")]


class Journal:
    """Finished rows, a line each, and first a line that says whose they are.

    Args:
        path: Its file.
        job: What the rows are of.
    """

    def __init__(self, path: Path, job: Row) -> None:
        self.path = path
        self._job = hashlib.sha256(json.dumps(job, sort_keys=True, default=str).encode()).hexdigest()
        self._stream: Any = None

    def open(self) -> int:
        """Opens it for what follows; the number of rows that it has.

        Raises:
            JournalError: It is of another job.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self.path.open("r+b" if self.path.exists() else "w+b")
        whole, lines = 0, 0
        for line in self._stream:
            if not line.endswith(b"\n"):  # a crash has cut it
                break
            if lines == 0 and json.loads(line) != {"job": self._job}:
                self._stream.close()
                raise JournalError(f"{self.path} is of another source or other settings. Delete it, or give another output.")
            whole, lines = whole + len(line), lines + 1
        self._stream.seek(whole)
        self._stream.truncate()
        if lines == 0:
            self.write([{"job": self._job}])
        return max(lines - 1, 0)

    def __iter__(self) -> Iterator[Row]:
        """All rows, in order; as often as asked for."""
        with self.path.open("rb") as stream:
            next(stream)
            for line in stream:
                yield json.loads(line)

    def write(self, rows: Sequence[Row]) -> None:
        """Appends rows; when it returns they are on the disk."""
        self._stream.write(b"".join(json_line(row) for row in rows))
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: Any) -> None:
        self._stream.close()


# Outputs


def _write(journal: Journal, target: str, column: str | None) -> int:
    """Writes the target aside and moves it into place; the number of its records."""
    unfinished = f"{target}.unfinished"
    writers: dict[str, Callable[[Iterable[Row], str, str | None], int]] = {
        ".jsonl": _write_jsonl,
        ".parquet": _write_parquet,
        ".conll": _write_conll,
        ".html": write_report,
    }
    count = writers[format_of(target, OUTPUTS)](journal, unfinished, column)
    os.replace(unfinished, target)
    return count


def _write_jsonl(rows: Iterable[Row], path: str, column: str | None) -> int:
    count = 0
    with open(path, "wb") as stream:
        for row in rows:
            stream.write(json_line(row))
            count += 1
    return count


def _write_parquet(rows: Iterable[Row], path: str, column: str | None) -> int:
    return write_parquet(rows, path, schema_of(rows))


def write_parquet(rows: Iterable[Row], where: str | BinaryIO, schema: pa.Schema) -> int:
    """Writes rows to a path or an open file; the number of them."""
    count = 0
    with pq.ParquetWriter(where, schema) as writer:
        for part in _in_parts(rows):
            writer.write_table(pa.Table.from_pylist(part, schema=schema))
            count += len(part)
    return count


def schema_of(rows: Iterable[Row]) -> pa.Schema:
    """The columns of all rows, and those that are added.

    Rows may lack what others have, and numbers may be whole in one part and not in the next: all are read.
    """
    inferred = [_schema(part) for part in _in_parts(rows)]
    return pa.unify_schemas([*inferred, ADDED], promote_options="permissive")


def _schema(rows: list[Row]) -> pa.Schema:
    """Of the columns that any of the rows has, but for those that are added."""
    names = dict.fromkeys(name for row in rows for name in row if name not in ADDED.names)
    return pa.table({name: [row.get(name) for row in rows] for name in names}).schema


def _in_parts(rows: Iterable[Row]) -> Iterator[list[Row]]:
    waiting = iter(rows)
    while part := list(islice(waiting, _ROWS_AT_A_TIME)):
        yield part


def _write_conll(rows: Iterable[Row], path: str, column: str | None) -> int:
    count = 0
    with open(path, "w", encoding="utf-8", errors="replace", newline="\n") as stream:
        for count, row in enumerate(rows, start=1):
            text = text_of(row, column, f"record {count}")
            sentence = Sentence.from_text(text) if isinstance(text, str) else Sentence.from_words(text)
            entities = [Entity(**entity) for entity in row["entities"]]
            for word, tag in zip(sentence.words, tags_from_entities(entities, sentence), strict=True):
                stream.write(f"{word.text}\t{tag}\n")
            stream.write("\n")
    return count
