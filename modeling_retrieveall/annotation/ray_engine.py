"""Annotates a corpus with many workers: a Ray Data pipeline, on one machine or on a cluster.

>>> load = functools.partial(RetrieveAllModel.from_pretrained, "shipped")
>>> annotate_on_ray(load, "s3://bucket/texts.parquet", "s3://bucket/entities.parquet", workers=(2, 8))
AnnotationSummary(records=20000, resumed=0, without_text=12)

One task reads the source in parts, actors that hold a model annotate the parts, and further tasks write them in order. Ray
restarts an actor that has died and repeats its part. Between tasks a part is a block of JSON lines, or an Arrow table if both the
source and the target are parquet, so that all types are kept.
"""

import logging as python_logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import ray
import torch
from fsspec.implementations.local import LocalFileSystem
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.exceptions import RayTaskError
from transformers.utils import logging

from ..model.atomic import check_sources, check_writable, move_into_place
from ..model.errors import InputError
from .added_columns import AnnotationModel, annotate_records
from .annotate import BATCHES_PER_CHUNK, AnnotationSummary, check_batch_size
from .journal import target_lock
from .readers import FORMATS, Record, RecordError, Row, parse_row, read_records, read_tables, suffix_of, text_columns, text_of
from .source_checks import check_source, local_paths
from .writers import json_line, schema_with_columns, with_columns, write_parquet

OUTPUTS = {".jsonl": "JSON lines", ".parquet": "parquet"}
"""Suffix of a target to its format."""
_PARTS_PER_FILE = 16
_IO_CPUS = 0  # reserved by a reading or writing task; if workers reserve all cores, a task that needs one would never start


def annotate_on_ray(
    load: Callable[[], AnnotationModel],
    source: str,
    target: str,
    *,
    workers: tuple[int, int] = (1, 1),
    cpus: int = 1,
    gpus: float = 0,
    address: str | None = None,
    column: str | None = None,
    prefix: str = "",
    batch_size: int = 16,
    overwrite: bool = False,
    **settings: Any,
) -> AnnotationSummary:
    """Annotates all records of a source. The rows are the same as those of :func:`annotate`.

    Args:
        load: Loads the model. It is called in each worker, so every node of a cluster needs the files of the model.
        source: A path or URL that every node can open with fsspec; see :func:`read_records`. It can also be a glob pattern, or a
            folder with the suffix of its files, such as the target of an earlier job.
        target: A path or URL with one of the suffixes of :data:`OUTPUTS`. It becomes a folder of files whose names follow the
            order of the source. The folder appears when the job is complete; its file ``_SUCCESS`` is written last.
        workers: Minimum and maximum number of workers; within these limits Ray scales with the load.
        cpus: CPU cores per worker.
        gpus: GPUs per worker; with 0.5 two workers share a GPU.
        address: The address of the Ray cluster; ``"auto"`` is the cluster of this machine. By default a cluster is started on
            this machine for the job.
        column: See :func:`annotate`.
        prefix: See :func:`annotate`.
        batch_size: See :func:`annotate`.
        overwrite: See :func:`annotate`.
        **settings: See :func:`annotate`.

    Returns:
        See :func:`annotate`.

    Raises:
        RecordError: See :func:`annotate`.
        EncodingError: See :func:`annotate`.
        FileNotFoundError: The source does not exist.
        FileExistsError: See :func:`annotate`.
        JournalError: Another process is writing the target. This is detected for local targets only.
        InputError: ``batch_size`` is below 1, or this machine has too few cores or GPUs. Errors of the model are raised as well.
    """
    check_batch_size(batch_size)
    suffix, files = suffix_of(target, OUTPUTS), _files(source)
    filesystem, folder = fsspec.core.url_to_fs(target)
    is_local = isinstance(filesystem, LocalFileSystem)
    unfinished = f"{folder}.unfinished"
    with target_lock(Path(folder)) if is_local else nullcontext():  # before the checks, see prepare_annotation
        if filesystem.exists(folder) and not overwrite:
            raise FileExistsError(f"{target} already exists. Set `overwrite` to replace it, or choose another path.")
        if filesystem.isfile(folder):
            raise RecordError(f"The target {target} is a file, but Ray writes a folder. Choose another path.")
        if is_local:
            check_writable(Path(folder))
        check_sources(Path(folder), local_paths(files) if is_local else _paths_on(filesystem, files))
        # All files of the target need the same columns, so all records are read first. Reading is much faster than annotation.
        summary = check_source(files, column, prefix, target)
        schema = None if summary.schema is None else schema_with_columns(summary.schema, prefix)
        both_parquet = suffix == suffix_of(files[0], FORMATS) == ".parquet"
        parts = _ArrowParts(column, prefix, schema) if both_parquet else _JsonParts(column, prefix, schema)
        with _cluster(address, {"CPU": workers[0] * cpus, "GPU": workers[0] * gpus}):
            _remove(filesystem, unfinished)
            filesystem.makedirs(unfinished)
            read = _read(files, parts, BATCHES_PER_CHUNK * batch_size)
            annotated = _annotate(read, load, parts, {"batch_size": batch_size, **settings}, workers, cpus, gpus)
            counts = _run(_write(annotated, parts, filesystem.unstrip_protocol(unfinished), suffix))
            _move_into_place(filesystem, unfinished, folder, list(counts))
    return AnnotationSummary(sum(counts.values()), 0, summary.without_text)


def _read(files: Sequence[str], parts: "_JsonParts", size: int) -> Dataset:
    """The parts of a source, read by one task."""
    one_row = ray.data.from_items([0])
    return one_row.map_batches(
        _read_parts, fn_kwargs={"parts": parts, "files": files, "size": size}, batch_format="pyarrow", num_cpus=_IO_CPUS
    )


def _annotate(
    read: Dataset,
    load: Callable[[], AnnotationModel],
    parts: "_JsonParts",
    settings: dict[str, Any],
    workers: tuple[int, int],
    cpus: int,
    gpus: float,
) -> Dataset:
    """The annotated parts."""
    return read.map(
        _Worker,
        fn_constructor_args=(load, cpus, parts, settings),
        # One part being annotated and one waiting. More would wait for a slow worker while another worker is idle.
        compute=ActorPoolStrategy(min_size=workers[0], max_size=workers[1], max_tasks_in_flight_per_actor=2),
        num_cpus=cpus,
        num_gpus=gpus,
    )


def _write(annotated: Dataset, parts: "_JsonParts", folder: str, suffix: str) -> Dataset:
    """The names of the written files and the number of records in each."""
    return annotated.map_batches(
        _write_parts,
        fn_kwargs={"parts": parts, "folder": folder, "suffix": suffix},
        batch_size=_PARTS_PER_FILE,
        batch_format="pyarrow",
        num_cpus=_IO_CPUS,
    )


def _files(source: str) -> list[str]:
    """The files of a source, as URLs that every node can open."""
    suffix = suffix_of(source, FORMATS)
    filesystem, path = fsspec.core.url_to_fs(source)
    if filesystem.isfile(path):
        found = [path]
    else:
        found = sorted(filesystem.glob(f"{path}/*{suffix}" if filesystem.isdir(path) else path))
    if not found:
        raise FileNotFoundError(f"{source} does not exist, or has no file that ends with {suffix}.")
    return [filesystem.unstrip_protocol(file) for file in found]


def _paths_on(filesystem: fsspec.AbstractFileSystem, files: Iterable[str]) -> list[Path]:
    """The paths of the files that are on a file system."""
    places = map(fsspec.core.url_to_fs, files)
    return [Path(path) for other, path in places if other == filesystem]


def _move_into_place(filesystem: fsspec.AbstractFileSystem, unfinished: str, folder: str, files: Sequence[str]) -> None:
    """Replaces the target with the finished folder, atomically if the file system is local."""
    if isinstance(filesystem, LocalFileSystem):
        filesystem.touch(f"{unfinished}/_SUCCESS")
        move_into_place(Path(unfinished), Path(folder))
        return
    old = f"{folder}.old"
    _remove(filesystem, old)
    if filesystem.exists(folder):
        filesystem.mv(folder, old, recursive=True)
    for file in files:
        filesystem.mv(f"{unfinished}/{file}", f"{folder}/{file}")
    filesystem.touch(f"{folder}/_SUCCESS")
    _remove(filesystem, unfinished)
    _remove(filesystem, old)


def _remove(filesystem: fsspec.AbstractFileSystem, folder: str) -> None:
    filesystem.invalidate_cache()  # cached listings lack the files of other processes
    if filesystem.exists(folder):
        filesystem.rm(folder, recursive=True)


@contextmanager
def _cluster(address: str | None, needed: dict[str, float]) -> Iterator[None]:
    """Connects to Ray with reduced logging: to a connection that this process has, to ``address``, or to a new local cluster."""
    running = ray.is_initialized()
    if not running:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options = {} if address else {"include_dashboard": False}
        ray.init(address or "local", logging_level=python_logging.ERROR, **options)
    log = python_logging.getLogger("ray.data")
    level = log.level
    log.setLevel(python_logging.CRITICAL)
    try:
        available = ray.cluster_resources()
        missing = [(name, n, available.get(name, 0)) for name, n in needed.items() if n > available.get(name, 0)]
        if missing and address is None:  # a cluster may scale up
            problems = "; ".join(f"{n:g} {name}s, but there are {present:g}" for name, n, present in missing)
            raise InputError(f"The workers need {problems}. Use fewer workers, or fewer resources per worker.")
        with DataContext.current(_context()):
            yield
    finally:
        log.setLevel(level)
        if not running:
            ray.shutdown()


def _context() -> DataContext:
    context = DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.target_max_block_size = 1  # byte, so that each part is a separate block and any worker can take it
    context.raise_original_map_exception = True
    context.enable_progress_bars = False
    return context


def _run(pipeline: Dataset) -> dict[str, int]:
    """Runs the pipeline. Returns the names of the written files and the number of records in each."""
    written: dict[str, int] = {}
    try:
        with logging.tqdm(unit=" records", delay=2, disable=None) as progress:
            for row in pipeline.iter_rows():
                written[row["file"]] = row["records"]
                progress.update(row["records"])
    except RayTaskError as error:
        if isinstance(error.cause, _WorkerError):
            raise error.cause.error from error
        raise
    return written


# In tasks and actors


class _WorkerError(Exception):
    """Wraps an error of a task, so that the caller gets it without the text that Ray adds to error messages."""

    def __init__(self, error: Exception, *_text_of_ray: str) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def _wrap_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _WorkerError(error) from error


class _JsonParts:
    """Reads, annotates and writes parts of a source as blocks of JSON lines.

    Args:
        column: See :func:`annotate`.
        prefix: See :func:`annotate`.
        schema: The columns to write, if the target is parquet.
    """

    def __init__(self, column: str | None, prefix: str, schema: pa.Schema | None) -> None:
        self.column = column
        self.prefix = prefix
        self.schema = schema

    def read(self, files: Sequence[str], size: int) -> Iterator[bytes]:
        """Reads the records of files in parts of at most ``size`` records."""
        records = chain.from_iterable(read_records(file, self.column) for file in files)
        while part := b"".join(json_line(record, {}) for record in islice(records, size)):
            yield part

    def annotate(self, part: bytes, annotate: Callable[[list[Record]], list[Row]]) -> tuple[bytes, int]:
        """Adds the columns to a part. Returns the new part and the number of its records."""
        written = [line.decode() for line in part.split(b"\n")[:-1]]
        rows = [parse_row(line, "a record") for line in written]
        records = [Record(row, text_of(row, self.column, "a record"), line) for row, line in zip(rows, written, strict=True)]
        added = annotate(records)
        return b"".join(json_line(*pair, self.prefix) for pair in zip(records, added, strict=True)), len(records)

    def write(self, parts: Iterable[bytes], stream: BinaryIO) -> None:
        """Writes parts to an open file."""
        if self.schema is None:
            stream.writelines(parts)
            return
        rows = ([parse_row(line.decode(), "a record") for line in part.split(b"\n")[:-1]] for part in parts)
        write_parquet((pa.Table.from_pylist(part, schema=self.schema) for part in rows), stream, self.schema)


class _ArrowParts(_JsonParts):
    """Reads, annotates and writes parts of a source as Arrow tables, which keep all types of parquet."""

    def read(self, files: Sequence[str], size: int) -> Iterator[bytes]:
        """See :class:`_JsonParts`."""
        for table in chain.from_iterable(read_tables(file, size) for file in files):
            yield _to_bytes(table)

    def annotate(self, part: bytes, annotate: Callable[[list[Record]], list[Row]]) -> tuple[bytes, int]:
        """See :class:`_JsonParts`."""
        table = pa.ipc.open_stream(part).read_all()
        rows = table.select([name for name in text_columns(self.column) if name in table.column_names]).to_pylist()
        added = annotate([Record(row, text_of(row, self.column, "a record")) for row in rows])
        return _to_bytes(with_columns(table, added, self.prefix)), len(table)

    def write(self, parts: Iterable[bytes], stream: BinaryIO) -> None:
        """See :class:`_JsonParts`."""
        write_parquet((pa.ipc.open_stream(part).read_all() for part in parts), stream, self.schema)


def _to_bytes(table: pa.Table) -> bytes:
    stream = BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def _read_parts(_: pa.Table, parts: _JsonParts, files: Sequence[str], size: int) -> Iterator[pa.Table]:
    with _wrap_errors():
        for number, part in enumerate(parts.read(files, size)):
            yield pa.table({"number": [number], "data": [part], "records": [0]})


class _Worker:
    """An actor that holds a model and annotates parts.

    Args:
        load: Loads the model.
        cpus: Number of CPU cores of the worker.
        parts: The format of the parts.
        settings: Arguments of :func:`annotate_records`.
    """

    def __init__(self, load: Callable[[], AnnotationModel], cpus: int, parts: _JsonParts, settings: dict[str, Any]) -> None:
        self.load = load
        self.cpus = cpus
        self.parts = parts
        self.settings = settings

    @cached_property
    def model(self) -> AnnotationModel:
        """The model, loaded for the first part. Ray would report an error in ``__init__`` with a hundred lines of its own."""
        torch.set_num_threads(self.cpus)
        return self.load()

    def __call__(self, part: Row) -> Row:
        """Annotates a part."""
        with _wrap_errors():
            data, records = self.parts.annotate(
                part["data"], lambda records: annotate_records(self.model, records, **self.settings)
            )
            return {**part, "data": data, "records": records}


def _write_parts(table: pa.Table, parts: _JsonParts, folder: str, suffix: str) -> pa.Table:
    file = f"part-{table['number'][0].as_py():06}{suffix}"  # the number of the first part is unique and keeps the order
    with _wrap_errors(), fsspec.open(f"{folder}/{file}", "wb") as stream:
        parts.write((part.as_py() for part in table["data"]), stream)
    return pa.table({"file": [file], "records": [sum(table["records"].to_pylist())]})
