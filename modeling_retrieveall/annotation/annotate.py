"""A file of texts annotated into another one: in order, record by record, resumed after a crash.

>>> annotate(model, "texts.jsonl", "entities.jsonl")
Annotated(records=1000, resumed=0, without_text=3)

All records are read once before any work is done, so that what cannot be read or written is refused at once. Every finished
record is a line of a journal beside the output, written before the next batch begins. Started again, the same command continues
after its last whole line. When all is done, the output is written from source and journal, and moved into place.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem
from transformers.utils import logging

from ..model.atomic import check_sources, replacing
from ..model.outputs import Extraction, entity_dict
from .identity import identity
from .journal import Journal, JournalError, key_of, locked
from .records import (
    FORMATS,
    Record,
    RecordError,
    Row,
    check_text_column,
    format_of,
    read_records,
    read_tables,
    schema_of_parquet,
)
from .writers import ADDED, OUTPUTS, WITH_COLUMNS, WRITERS, check_values, check_words, common_schema, inferred_schema

__all__ = ["Annotated", "Annotates", "JournalError", "annotate", "annotated", "check_added", "examine", "prepared"]
BATCHES_AT_A_TIME = 16
"""Batches of which the records are given to the model at once; it packs those of like length together."""


class Annotates(Protocol):
    """What annotates texts: a model."""

    @property
    def languages(self) -> dict[str, str]:
        """The adapter of each language."""

    def extract(self, texts: Any, **options: Any) -> Any:
        """Extracts the entities of a list of texts; see :meth:`RetrieveAllModel.extract`."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """What was done.

    Attributes:
        records: Records in the output.
        resumed: How many of them an earlier run had finished.
        without_text: How many of them have no text, and so no entities.
    """

    records: int
    resumed: int
    without_text: int


def annotate(
    model: Annotates,
    source: str,
    target: str,
    *,
    column: str | None = None,
    prefix: str = "",
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
        prefix: Put before the names of the columns that are added: ``entities``, ``language`` and ``known``.
        batch_size: Sentences decoded together.
        overwrite: Replace a target that is there.
        **settings: ``language``, ``prior``, ``threshold`` of :meth:`RetrieveAllModel.extract`.

    Returns:
        How many records there are.

    Raises:
        RecordError: The source cannot be read, a record cannot be written to such a target, or the source has a column of a
            name that is added.
        EncodingError: The source is text in an encoding that it does not tell.
        FileExistsError: The target is there.
        JournalError: The journal beside it is of another job, or another process writes the target.
    """
    with prepared(source, target, column=column, prefix=prefix, overwrite=overwrite) as job:
        return job.run(model, batch_size, **settings)


@contextmanager
def prepared(
    source: str, target: str, *, column: str | None = None, prefix: str = "", overwrite: bool = False
) -> Iterator["AnnotationJob"]:
    """A job whose source and target have been checked, and whose target is locked: the model can be loaded.

    Args:
        source: As for :func:`annotate`.
        target: As for :func:`annotate`.
        column: As for :func:`annotate`.
        prefix: As for :func:`annotate`.
        overwrite: As for :func:`annotate`.

    Raises:
        RecordError: As for :func:`annotate`.
        EncodingError: As for :func:`annotate`.
        FileExistsError: As for :func:`annotate`.
        JournalError: Another process writes the target.
    """
    format_of(target, OUTPUTS)
    if "://" in target:
        raise RecordError(f"{target} is a URL. Give a file of this machine; its journal stands beside it.")
    path = Path(target)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{target} is there already. Give --overwrite to replace it, or another name.")
    if path.is_dir():
        raise RecordError(f"{target} is a folder. Give the name of a file.")
    check_sources(path, local_paths([source]))
    contents = examine([source], column, prefix, target)
    with locked(path):
        yield AnnotationJob(source, path, column, prefix, contents)


def local_paths(files: Iterable[str]) -> list[Path]:
    """Those of the files that are on this machine."""
    found = [fsspec.core.url_to_fs(file) for file in files]
    return [Path(path) for filesystem, path in found if isinstance(filesystem, LocalFileSystem)]


# What is known of a source before any work


@dataclass(frozen=True, slots=True)
class Contents:
    """What the files of a source hold.

    Attributes:
        records: How many records.
        without_text: How many of them have no text.
        schema: Their columns, when they are written as parquet.
    """

    records: int
    without_text: int
    schema: pa.Schema | None


def examine(files: Sequence[str], column: str | None, prefix: str, target: str) -> Contents:
    """Reads all records, to refuse what cannot be annotated or written before a model is loaded.

    Args:
        files: The files of a source, all of one format.
        column: As for :func:`annotate`.
        prefix: As for :func:`annotate`.
        target: Its suffix tells what will be written.

    Raises:
        RecordError: As for :func:`annotate`.
        EncodingError: As for :func:`annotate`.
    """
    suffix, where = format_of(target, OUTPUTS), files[0]
    schemas = [schema_of_parquet(file) for file in files] if _is_parquet(where) else []
    tally = _Tally(name for schema in schemas for name in schema.names)
    if schemas:
        check_text_column(tally.names, column, where)

    def records() -> Iterator[Record]:
        return chain.from_iterable(read_records(file, column, text_only=True) for file in files)

    read = tally.over(records(), check_words if suffix == ".conll" else None, where)
    schema = None
    if suffix == ".parquet":
        schema = common_schema(schemas) if schemas else inferred_schema(read)
    for _ in read:
        pass
    if tally.records:
        check_text_column(tally.names, column, f"{where}, record 1")
    if suffix in WITH_COLUMNS:
        check_added(tally.names, prefix, where)
    if schema is not None and not schemas:
        check_values(records(), schema)
    return Contents(tally.records, tally.without_text, schema)


def _is_parquet(file: str) -> bool:
    return FORMATS[format_of(file, FORMATS)] == "parquet"


class _Tally:
    """Counts records as they are read, and collects the names of their columns."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = dict.fromkeys(names)
        self.records = self.without_text = 0

    def over(self, records: Iterable[Record], check: Callable[[Record, str], None] | None, source: str) -> Iterator[Record]:
        for record in records:
            self.records += 1
            self.without_text += not record.text
            self.names.update(dict.fromkeys(record.row))
            if check:
                check(record, f"{source}, record {self.records}")
            yield record


def check_added(names: Iterable[str], prefix: str, where: str) -> None:
    """Makes sure that no column of the user's has the name of one that is added.

    Raises:
        RecordError: One has.
    """
    if taken := [f"{prefix}{name}" for name in ADDED.names if f"{prefix}{name}" in set(names)]:
        advice = "Give another --prefix." if prefix else "Give the new ones a prefix, as in --prefix retrieveall_."
        raise RecordError(f"{where} has {', '.join(map(repr, taken))} already, which new columns would replace. {advice}")


# The work


def annotated(model: Annotates, records: Sequence[Record], batch_size: int | None = None, **settings: Any) -> list[Row]:
    """What is added to each record: ``entities``, ``language`` and ``known``; a record without text has no entities."""
    added = [_columns(_NOTHING)] * len(records)
    texts = [i for i, record in enumerate(records) if record.text and isinstance(record.text, str)]
    words = [i for i, record in enumerate(records) if record.text and not isinstance(record.text, str)]
    for positions, split in ((texts, False), (words, True)):
        if positions:
            given = [records[i].text for i in positions]
            found = model.extract(given, is_split_into_words=split, batch_size=batch_size, **settings)
            for i, extraction in zip(positions, found, strict=True):
                added[i] = _columns(extraction)
    return added


_NOTHING = Extraction("", [], [])


def _columns(result: Extraction) -> Row:
    return {
        "entities": [entity_dict(entity) for entity in result.entities],
        "language": result.language,
        "known": result.known,
    }


@dataclass(frozen=True, slots=True)
class AnnotationJob:
    """A source that can be read and a target that can be written; see :func:`prepared`."""

    source: str
    target: Path
    column: str | None
    prefix: str
    contents: Contents

    def run(self, model: Annotates, batch_size: int = 16, **settings: Any) -> Annotated:
        """Annotates the records that are not finished yet, and writes the target.

        Raises:
            JournalError: The journal beside the target is of another job.
            RecordError: The source has been changed in the meantime.
        """
        journal = Journal(Path(f"{self.target}.journal"), self._identity(model, settings))
        done = resumed = journal.open(key_of(record.text) for record in self._records())
        records = islice(self._records(), done, None)
        bar = {"unit": " records", "initial": done, "total": self.contents.records, "delay": 2, "disable": None}
        with journal, logging.tqdm(**bar) as progress:
            while part := list(islice(records, BATCHES_AT_A_TIME * batch_size)):
                keys = [key_of(record.text) for record in part]
                new = [record for record, key in zip(part, keys, strict=True) if journal.known(key) is None]
                added = iter(annotated(model, new, batch_size, **settings))
                journal.write(keys, [journal.known(key) or next(added) for key in keys])
                resumed += len(part) - len(new)
                progress.update(len(part))
        self._write(journal)
        journal.path.unlink()
        return Annotated(self.contents.records, resumed, self.contents.without_text)

    def _identity(self, model: Annotates, settings: Row) -> Row:
        filesystem, path = fsspec.core.url_to_fs(self.source)
        return {"source": filesystem.unstrip_protocol(path), "column": self.column, **identity(model), **settings}

    def _records(self, text_only: bool = True) -> Iterator[Record]:
        return read_records(self.source, self.column, text_only)

    def _write(self, journal: Journal) -> None:
        suffix = format_of(str(self.target), OUTPUTS)
        with replacing(self.target, local_paths([self.source])) as path:
            WRITERS[suffix](
                self._joined(journal, text_only=suffix != ".jsonl"),
                path,
                prefix=self.prefix,
                schema=self.contents.schema,
                tables=read_tables(self.source) if _is_parquet(self.source) else None,
            )

    def _joined(self, journal: Journal, text_only: bool) -> Iterator[tuple[Record, Row]]:
        """Each record with its result."""
        results = iter(journal)
        for number, record in enumerate(self._records(text_only), start=1):
            key, added = next(results, (None, {}))
            if key != key_of(record.text):
                raise RecordError(
                    f"{self.source}, record {number} has been changed since it was annotated. Give the same command again: it "
                    "keeps what is finished of the other records."
                )
            yield record, added
