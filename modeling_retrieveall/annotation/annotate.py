"""Annotates the texts of a file and writes them to another file, in the same order; an interrupted run can be resumed.

>>> annotate(model, "texts.jsonl", "entities.jsonl")
AnnotationSummary(records=1000, resumed=0, without_text=3)

1. All records are read once, so that errors in the source are reported before the model runs.
2. The records are annotated in chunks. The results of each chunk are appended to a journal beside the target before the next
   chunk starts. If the process is interrupted, the same call continues after the last complete result.
3. The target is written from the source and the journal, and then moved into place.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import fsspec
from transformers.utils import logging

from ..model.atomic import check_sources, replacing
from ..model.errors import InputError
from .added_columns import UNCERTAINTY, AnnotationModel, added_names, annotate_records
from .journal import Journal, target_lock, text_key
from .model_fingerprint import model_fingerprint
from .readers import Record, RecordError, Row, read_records, read_tables, suffix_of
from .source_checks import SourceSummary, check_source, is_parquet, local_paths
from .writers import OUTPUTS, WRITERS

BATCHES_PER_CHUNK = 16
"""Number of batches in a chunk. The model sorts the sentences of a chunk by length, which reduces padding."""

Order = Literal["source", "uncertain"]


@dataclass(frozen=True, slots=True)
class AnnotationSummary:
    """The result of an annotation job.

    Attributes:
        records: Number of records in the target.
        resumed: Number of records whose results came from an earlier, interrupted run.
        without_text: Number of records without text, which have no entities.
    """

    records: int
    resumed: int
    without_text: int


def annotate(
    model: AnnotationModel,
    source: str,
    target: str,
    *,
    column: str | None = None,
    prefix: str = "",
    batch_size: int = 16,
    overwrite: bool = False,
    order: Order = "source",
    **settings: Any,
) -> AnnotationSummary:
    """Annotates all records of a file.

    Args:
        model: The model.
        source: Path or URL of the source; see :func:`read_records`.
        target: Local path with one of the suffixes of :data:`OUTPUTS`. The file appears when the job is complete.
        column: The column that holds the text; see :func:`read_records`.
        prefix: Prefix of the added columns ``entities``, ``language`` and ``known``.
        batch_size: Number of sentences decoded together.
        overwrite: Whether to replace an existing target.
        order: ``"source"``, or ``"uncertain"``: the records with the least certain entities come first. These are the records
            in which the score of an entity, or of a span that was nearly extracted, is near 0.5. Each record gets the column
            ``uncertainty``. Needs a target in JSON lines and the memory for all records.
        **settings: ``language``, ``prior``, ``labels``, ``threshold`` and ``consistent_labels``: see
            :meth:`RetrieveAllModel.extract`.

    Returns:
        The number of records in the target, of those from an earlier run, and of those without text.

    Raises:
        RecordError: The source cannot be read, a record cannot be written in the output format, or the source has a column with
            the name of an added column.
        EncodingError: The source is a text file with an encoding that cannot be detected.
        FileExistsError: The target exists and ``overwrite`` is not set.
        JournalError: The journal of the target belongs to another job, or another process is writing the target.
    """
    with prepare_annotation(source, target, column=column, prefix=prefix, overwrite=overwrite, order=order) as job:
        return job.run(model, batch_size, **settings)


@contextmanager
def prepare_annotation(
    source: str,
    target: str,
    *,
    column: str | None = None,
    prefix: str = "",
    overwrite: bool = False,
    order: Order = "source",
) -> Iterator["AnnotationJob"]:
    """Locks the target and checks the source and the target, so that the model is loaded only for a job that can run.

    Args:
        source: See :func:`annotate`.
        target: See :func:`annotate`.
        column: See :func:`annotate`.
        prefix: See :func:`annotate`.
        overwrite: See :func:`annotate`.
        order: See :func:`annotate`.

    Yields:
        The job.

    Raises:
        RecordError: See :func:`annotate`.
        EncodingError: See :func:`annotate`.
        FileExistsError: See :func:`annotate`.
        JournalError: Another process is writing the target.
    """
    suffix = suffix_of(target, OUTPUTS)
    if order not in get_args(Order):
        raise InputError(f"order is {order!r}; give {' or '.join(get_args(Order))}.")
    if order == "uncertain" and suffix != ".jsonl":
        raise InputError(f"The order 'uncertain' needs a target that ends with .jsonl, not {target}.")
    if "://" in target:
        raise RecordError(f"The target {target} is a URL. Give a local path, because the journal is written beside the target.")
    path = Path(target)
    with target_lock(path):  # before the checks, because another process may finish the target while the source is read
        if path.exists() and not overwrite:
            raise FileExistsError(f"{target} already exists. Set `overwrite` to replace it, or choose another path.")
        if path.is_dir():
            raise RecordError(f"The target {target} is a folder. Give the path of a file.")
        check_sources(path, local_paths([source]))
        summary = check_source([source], column, prefix, target, added_names(order == "uncertain"))
        yield AnnotationJob(source, path, column, prefix, summary, order)


def check_batch_size(batch_size: int) -> None:
    """Checks the number of sentences that are decoded together.

    Raises:
        InputError: It is below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; give at least 1.")


@dataclass(frozen=True, slots=True)
class AnnotationJob:
    """A job whose source and target have been checked; see :func:`prepare_annotation`."""

    source: str
    target: Path
    column: str | None
    prefix: str
    summary: SourceSummary
    order: Order

    def run(self, model: AnnotationModel, batch_size: int = 16, **settings: Any) -> AnnotationSummary:
        """Annotates the records that have no result yet, and writes the target.

        Raises:
            JournalError: The journal of the target belongs to another job.
            RecordError: The source has changed while the job was running.
            InputError: ``batch_size`` is below 1.
        """
        check_batch_size(batch_size)
        journal = Journal(Path(f"{self.target}.journal"), self._description(model, settings))
        if self.order == "uncertain":
            settings["near_misses"] = 0.0  # all that are known
        done = resumed = journal.open(text_key(record.text) for record in self._records())
        records = islice(self._records(), done, None)
        bar = {"unit": " records", "initial": done, "total": self.summary.records, "delay": 2, "disable": None}
        with journal, logging.tqdm(**bar) as progress:
            while chunk := list(islice(records, BATCHES_PER_CHUNK * batch_size)):
                keys = [text_key(record.text) for record in chunk]
                new = [record for record, key in zip(chunk, keys, strict=True) if journal.earlier_result(key) is None]
                added = iter(annotate_records(model, new, batch_size, **settings))
                journal.write(keys, [journal.earlier_result(key) or next(added) for key in keys])
                resumed += len(chunk) - len(new)
                progress.update(len(chunk))
        self._write_target(journal)
        journal.remove()
        return AnnotationSummary(self.summary.records, resumed, self.summary.without_text)

    def _description(self, model: AnnotationModel, settings: Row) -> Row:
        """Everything that the results depend on, by name."""
        filesystem, path = fsspec.core.url_to_fs(self.source)
        job = {"source": filesystem.unstrip_protocol(path), "column": self.column, **model_fingerprint(model), **settings}
        return job if self.order == "source" else {**job, "order": self.order}

    def _records(self, text_only: bool = True) -> Iterator[Record]:
        return read_records(self.source, self.column, text_only)

    def _write_target(self, journal: Journal) -> None:
        suffix = suffix_of(str(self.target), OUTPUTS)
        with replacing(self.target, local_paths([self.source])) as path:
            results = self._annotated_records(journal, text_only=suffix != ".jsonl")
            if self.order == "uncertain":
                results = iter(sorted(results, key=lambda result: -result[1][UNCERTAINTY]))
            WRITERS[suffix](
                results,
                path,
                prefix=self.prefix,
                schema=self.summary.schema,
                tables=read_tables(self.source) if is_parquet(self.source) else None,
            )

    def _annotated_records(self, journal: Journal, text_only: bool) -> Iterator[tuple[Record, Row]]:
        """Each record with its result."""
        results = iter(journal)
        for number, record in enumerate(self._records(text_only), start=1):
            key, added = next(results, (None, {}))
            if key != text_key(record.text):
                raise RecordError(
                    f"{self.source}, record {number} has changed since it was annotated. Run the same job again: it keeps the "
                    "results of all unchanged records."
                )
            yield record, added
