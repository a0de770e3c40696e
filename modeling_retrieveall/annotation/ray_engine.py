"""A corpus annotated by many workers: a pipeline of Ray Data, on one machine or on a cluster.

>>> load = functools.partial(RetrieveAllModel.from_pretrained, "shipped")
>>> annotate_on_ray(load, "s3://bucket/texts.parquet", "s3://bucket/entities.parquet", workers=(2, 8))
20000

One task reads the source, part by part; actors that hold a model annotate the parts; tasks write them, in order. Ray starts an
actor again that has died, and hands its part out again. Between tasks a part is lines of JSON; or a table with all its types,
when parquet is written from parquet.
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

from ..model.atomic import check_sources, move_into_place
from ..model.errors import InputError
from .annotate import BATCHES_AT_A_TIME, Annotated, Annotates, annotated, examine, local_paths
from .journal import locked
from .records import FORMATS, Record, Row, format_of, parse_row, read_records, read_tables, text_columns, text_of
from .writers import json_line, schema_with_columns, with_columns, write_parquet

OUTPUTS = {".jsonl": "JSON lines", ".parquet": "parquet"}
"""Suffix to what is written."""
_PARTS_A_FILE = 16
_BESIDE_THE_WORKERS = 0  # cores for reading and writing: the workers may hold all, and a task that asks for one would never start


def annotate_on_ray(
    load: Callable[[], Annotates],
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
) -> Annotated:
    """Annotates all records of a source, row for row as :func:`annotate` does.

    Args:
        load: Makes the model; called in each worker, so on a cluster by what every node has.
        source: A path or URL that fsspec opens on every node, as for :func:`read_records`; also a folder named like its files,
            such as the target of an earlier job, or a pattern.
        target: A path or URL ending with one of :data:`OUTPUTS`: a folder of files whose names are in the order of the source.
            It appears when all is done; ``_SUCCESS`` in it is written last.
        workers: Workers at least and at most; Ray decides by the load.
        cpus: Cores of each.
        gpus: GPUs of each; 0.5 puts two on one.
        address: The cluster; ``"auto"`` is the one this machine belongs to. Without, one is started here and stopped again.
        column: As for :func:`read_records`.
        prefix: As for :func:`annotate`.
        batch_size: Sentences decoded together.
        overwrite: Replace a target that is there.
        **settings: ``language``, ``prior``, ``threshold`` of :meth:`RetrieveAllModel.extract`.

    Returns:
        How many records there are.

    Raises:
        RecordError: As for :func:`annotate`.
        EncodingError: As for :func:`annotate`.
        FileNotFoundError: There is no source.
        FileExistsError: The target is there.
        JournalError: Another process writes the target, which is on this machine.
        InputError: This machine has too few cores or GPUs; or what the model raises.
    """
    suffix, files = format_of(target, OUTPUTS), _files(source)
    filesystem, folder = fsspec.core.url_to_fs(target)
    if filesystem.exists(folder) and not overwrite:
        raise FileExistsError(f"{target} is there already. Give --overwrite to replace it, or another name.")
    check_sources(Path(folder), local_paths(files) if isinstance(filesystem, LocalFileSystem) else map(Path, files))
    # All files of a target need the same columns, which only all records tell; reading is fast beside annotating.
    contents = examine(files, column, prefix, target)
    schema = None if contents.schema is None else schema_with_columns(contents.schema, prefix)
    typed = suffix == format_of(files[0], FORMATS) == ".parquet"
    parts = _Tables(column, prefix, schema) if typed else _Lines(column, prefix, schema)
    unfinished = f"{folder}.unfinished"
    locking = locked(Path(folder)) if isinstance(filesystem, LocalFileSystem) else nullcontext()
    with locking, _cluster(address, {"CPU": workers[0] * cpus, "GPU": workers[0] * gpus}):
        _remove(filesystem, unfinished)
        filesystem.makedirs(unfinished)
        written = _run(
            ray.data.from_items([source])
            .map_batches(
                _read,
                fn_kwargs={"parts": parts, "files": files, "size": BATCHES_AT_A_TIME * batch_size},
                batch_format="pyarrow",
                num_cpus=_BESIDE_THE_WORKERS,
            )
            .map(
                _Worker,
                fn_constructor_args=(load, cpus, parts, {"batch_size": batch_size, **settings}),
                # One part in work and one that waits: more would wait for a slow worker while another has none.
                compute=ActorPoolStrategy(min_size=workers[0], max_size=workers[1], max_tasks_in_flight_per_actor=2),
                num_cpus=cpus,
                num_gpus=gpus,
            )
            .map_batches(
                _write,
                fn_kwargs={"parts": parts, "folder": filesystem.unstrip_protocol(unfinished), "suffix": suffix},
                batch_size=_PARTS_A_FILE,
                batch_format="pyarrow",
                num_cpus=_BESIDE_THE_WORKERS,
            )
        )
        _move(filesystem, unfinished, folder, list(written))
    return Annotated(sum(written.values()), 0, contents.without_text)


def _files(source: str) -> list[str]:
    """The files of a source, as any node may open them."""
    suffix = format_of(source, FORMATS)
    filesystem, path = fsspec.core.url_to_fs(source)
    if filesystem.isfile(path):
        found = [path]
    else:
        found = sorted(filesystem.glob(f"{path}/*{suffix}" if filesystem.isdir(path) else path))
    if not found:
        raise FileNotFoundError(f"There is no {source}, or no file in it that ends with {suffix}.")
    return [filesystem.unstrip_protocol(file) for file in found]


def _move(filesystem: fsspec.AbstractFileSystem, unfinished: str, folder: str, files: Sequence[str]) -> None:
    """Puts a finished folder in place of what is there, at once where the file system can."""
    if isinstance(filesystem, LocalFileSystem):
        filesystem.touch(f"{unfinished}/_SUCCESS")
        move_into_place(Path(unfinished), Path(folder))
        return
    _remove(filesystem, folder)
    for file in files:
        filesystem.mv(f"{unfinished}/{file}", f"{folder}/{file}")
    _remove(filesystem, unfinished)
    filesystem.touch(f"{folder}/_SUCCESS")


def _remove(filesystem: fsspec.AbstractFileSystem, folder: str) -> None:
    filesystem.invalidate_cache()  # of listings, in which files of other processes are missing
    if filesystem.exists(folder):
        filesystem.rm(folder, recursive=True)


@contextmanager
def _cluster(address: str | None, needed: dict[str, float]) -> Iterator[None]:
    """Ray, quiet about itself: what runs in this process already, else the cluster of the address or one of this machine."""
    running = ray.is_initialized()
    if not running:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        here = {} if address else {"include_dashboard": False}
        ray.init(address or "local", logging_level=python_logging.ERROR, **here)
    log = python_logging.getLogger("ray.data")
    level = log.level
    log.setLevel(python_logging.CRITICAL)
    try:
        there = ray.cluster_resources()
        short = [f"{n:g} {name}s, but there are {there.get(name, 0):g}" for name, n in needed.items() if n > there.get(name, 0)]
        if short and address is None:  # a cluster may grow
            raise InputError(f"The workers need {'; '.join(short)}. Give fewer workers, or fewer for each.")
        with DataContext.current(_context()):
            yield
    finally:
        log.setLevel(level)
        if not running:
            ray.shutdown()


def _context() -> DataContext:
    context = DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.target_max_block_size = 1  # byte: every part is a block of its own, which any worker may take
    context.raise_original_map_exception = True
    context.enable_progress_bars = False
    return context


def _run(pipeline: Dataset) -> dict[str, int]:
    """The files that are written, and how many records each has."""
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
    """Carries an error to the one who called; Ray adds advice of its own to what it carries."""

    def __init__(self, error: Exception, *_advice: str) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def _errors_carried() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _WorkerError(error) from error


class _Lines:
    """Parts of a source as lines of JSON.

    Args:
        column: As for :func:`annotate`.
        prefix: As for :func:`annotate`.
        schema: The columns that are written, when it is parquet.
    """

    def __init__(self, column: str | None, prefix: str, schema: pa.Schema | None) -> None:
        self.column = column
        self.prefix = prefix
        self.schema = schema

    def read(self, files: Sequence[str], size: int) -> Iterator[bytes]:
        """The records of files, at most ``size`` in a part."""
        records = chain.from_iterable(read_records(file, self.column) for file in files)
        while part := b"".join(json_line(record, {}) for record in islice(records, size)):
            yield part

    def annotated(self, part: bytes, annotate: Callable[[list[Record]], list[Row]]) -> tuple[bytes, int]:
        """A part with what is added to it, and how many records it has."""
        written = [line.decode() for line in part.split(b"\n")[:-1]]
        rows = [parse_row(line, "a record") for line in written]
        records = [Record(row, text_of(row, self.column, "a record"), line) for row, line in zip(rows, written, strict=True)]
        added = annotate(records)
        return b"".join(json_line(*pair, self.prefix) for pair in zip(records, added, strict=True)), len(records)

    def write(self, parts: Iterable[bytes], stream: BinaryIO) -> None:
        """Writes parts to a file."""
        if self.schema is None:
            stream.writelines(parts)
            return
        rows = ([parse_row(line.decode(), "a record") for line in part.split(b"\n")[:-1]] for part in parts)
        write_parquet((pa.Table.from_pylist(part, schema=self.schema) for part in rows), stream, self.schema)


class _Tables(_Lines):
    """Parts of a source as tables, in the format of Arrow: parquet keeps all its types."""

    def read(self, files: Sequence[str], size: int) -> Iterator[bytes]:
        """As of lines."""
        for table in chain.from_iterable(read_tables(file, size) for file in files):
            yield _packed(table)

    def annotated(self, part: bytes, annotate: Callable[[list[Record]], list[Row]]) -> tuple[bytes, int]:
        """As of lines."""
        table = pa.ipc.open_stream(part).read_all()
        rows = table.select([name for name in text_columns(self.column) if name in table.column_names]).to_pylist()
        added = annotate([Record(row, text_of(row, self.column, "a record")) for row in rows])
        return _packed(with_columns(table, added, self.prefix)), len(table)

    def write(self, parts: Iterable[bytes], stream: BinaryIO) -> None:
        """As of lines."""
        write_parquet((pa.ipc.open_stream(part).read_all() for part in parts), stream, self.schema)


def _packed(table: pa.Table) -> bytes:
    stream = BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def _read(_: pa.Table, parts: _Lines, files: Sequence[str], size: int) -> Iterator[pa.Table]:
    with _errors_carried():
        for number, part in enumerate(parts.read(files, size)):
            yield pa.table({"number": [number], "data": [part], "records": [0]})


class _Worker:
    """An actor: holds a model, and annotates part after part.

    Args:
        load: Makes the model.
        cpus: Cores that the model has.
        parts: What parts are.
        settings: For the model.
    """

    def __init__(self, load: Callable[[], Annotates], cpus: int, parts: _Lines, settings: dict[str, Any]) -> None:
        self.load = load
        self.cpus = cpus
        self.parts = parts
        self.settings = settings

    @cached_property
    def model(self) -> Annotates:
        """Loaded for the first part: an error of ``__init__`` would be told by Ray, in a hundred lines."""
        torch.set_num_threads(self.cpus)
        return self.load()

    def __call__(self, part: Row) -> Row:
        """The part, annotated."""
        with _errors_carried():
            data, records = self.parts.annotated(part["data"], lambda texts: annotated(self.model, texts, **self.settings))
            return {**part, "data": data, "records": records}


def _write(table: pa.Table, parts: _Lines, folder: str, suffix: str) -> pa.Table:
    file = f"part-{table['number'][0].as_py():06}{suffix}"  # of its first part: unique, and in order
    with _errors_carried(), fsspec.open(f"{folder}/{file}", "wb") as stream:
        parts.write((part.as_py() for part in table["data"]), stream)
    return pa.table({"file": [file], "records": [sum(table["records"].to_pylist())]})
