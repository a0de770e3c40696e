"""Checks of a source before the model is loaded, so that a record that cannot be annotated or written is reported early.

>>> check_source(["texts.jsonl"], column=None, prefix="", target="entities.parquet").records
1000
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from .added_columns import ADDED_COLUMNS, check_added_columns
from .readers import FORMATS, Record, check_text_column, read_records, schema_of_parquet, suffix_of
from .writers import COLUMN_OUTPUTS, OUTPUTS, check_values, check_words, common_schema, inferred_schema


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """What the files of a source hold.

    Attributes:
        records: Number of records.
        without_text: Number of records without text.
        schema: The columns to write, if the target is parquet.
    """

    records: int
    without_text: int
    schema: pa.Schema | None


def check_source(
    files: Sequence[str], column: str | None, prefix: str, target: str, added: Sequence[str] = ADDED_COLUMNS.names
) -> SourceSummary:
    """Reads all records of a source and checks that they can be annotated and written.

    Args:
        files: The files of the source, all in one format.
        column: See :func:`read_records`.
        prefix: The prefix of the added columns.
        target: The target; its suffix is the output format.
        added: The names of the added columns.

    Raises:
        RecordError: A file or a record cannot be read, cannot be written in the output format, or has a column with the name of
            an added column.
        EncodingError: A text file has an encoding that cannot be detected.
    """
    suffix, source = suffix_of(target, OUTPUTS), files[0]
    schemas = [schema_of_parquet(file) for file in files] if is_parquet(source) else []
    counter = _Counter(name for schema in schemas for name in schema.names)
    if schemas:
        check_text_column(counter.names, column, source)

    def records() -> Iterator[Record]:
        return chain.from_iterable(read_records(file, column, text_only=True) for file in files)

    counted = counter.count(records(), check_words if suffix == ".conll" else None, source)
    schema = None
    if suffix == ".parquet":
        schema = common_schema(schemas) if schemas else inferred_schema(counted)
    for _ in counted:  # reads the remaining records, which counts and checks them
        pass
    if counter.records:
        check_text_column(counter.names, column, f"{source}, record 1")
    if suffix in COLUMN_OUTPUTS:
        check_added_columns(counter.names, prefix, source, added)
    if schema is not None and not schemas:
        check_values(records(), schema)
    return SourceSummary(counter.records, counter.without_text, schema)


def is_parquet(file: str) -> bool:
    """Whether the suffix of a source is that of parquet."""
    return FORMATS[suffix_of(file, FORMATS)] == "parquet"


def local_paths(files: Iterable[str]) -> list[Path]:
    """The paths of those files that are on the local disk; URLs of other file systems are left out."""
    found = [fsspec.core.url_to_fs(file) for file in files]
    return [Path(path) for filesystem, path in found if isinstance(filesystem, LocalFileSystem)]


class _Counter:
    """Counts records while they are read, and collects the names of their columns."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = dict.fromkeys(names)
        self.records = self.without_text = 0

    def count(self, records: Iterable[Record], check: Callable[[Record, str], None] | None, source: str) -> Iterator[Record]:
        for record in records:
            self.records += 1
            self.without_text += not record.text
            self.names.update(dict.fromkeys(record.row))
            if check:
                check(record, f"{source}, record {self.records}")
            yield record
