"""A corpus annotated by many workers: a pipeline of Ray Data, on one machine or on a cluster.

>>> load = functools.partial(RetrieveAllModel.from_pretrained, "shipped")
>>> annotate_on_ray(load, "s3://bucket/texts.parquet", "s3://bucket/entities.parquet", workers=(2, 8))
20000

One task reads the source, part by part; actors that hold a model annotate the parts; tasks write them, in order. Ray starts an
actor again that has died, and hands its part out again. Between tasks a part is what a journal would have of it: lines of JSON.
"""

import json
import logging as python_logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain, islice
from typing import Any

import fsspec
import pyarrow as pa
import ray
import torch
from fsspec.implementations.local import LocalFileSystem
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.exceptions import RayTaskError
from transformers.utils import logging

from ..errors import InputError
from .annotation import BATCHES_AT_A_TIME, Annotates, Row, annotated, json_line, schema_of, write_parquet
from .records import FORMATS, Record, format_of, read_records, text_of

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
    batch_size: int = 16,
    overwrite: bool = False,
    **settings: Any,
) -> int:
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
        batch_size: Sentences decoded together.
        overwrite: Replace a target that is there.
        **settings: ``languages``, ``prior``, ``threshold`` of :meth:`RetrieveAllModel.explain`.

    Returns:
        How many records there are.

    Raises:
        RecordError: The source cannot be read.
        FileNotFoundError: There is no source.
        FileExistsError: The target is there.
        InputError: This machine has too few cores or GPUs; or what the model raises.
    """
    suffix, files = format_of(target, OUTPUTS), _files(source)
    filesystem, folder = fsspec.core.url_to_fs(target)
    if filesystem.exists(folder) and not overwrite:
        raise FileExistsError(f"{target} is there already. Give --overwrite to replace it, or another name.")
    parts: dict[str, Any] = {"files": files, "column": column, "size": BATCHES_AT_A_TIME * batch_size}
    next(read_records(files[0], column), None)
    # All files of a target need the same columns, which only all records tell; reading is fast beside annotating.
    schema = schema_of(row for part in _parts(**parts) for row in _rows(part)) if suffix == ".parquet" else None
    unfinished = f"{folder}.unfinished"
    with _cluster(address, {"CPU": workers[0] * cpus, "GPU": workers[0] * gpus}):
        _remove(filesystem, unfinished)
        filesystem.makedirs(unfinished)
        written = _run(
            ray.data.from_items([source])
            .map_batches(_read, fn_kwargs=parts, batch_format="pyarrow", num_cpus=_BESIDE_THE_WORKERS)
            .map(
                _Worker,
                fn_constructor_args=(load, cpus, column, {"batch_size": batch_size, **settings}),
                # One part in work and one that waits: more would wait for a slow worker while another has none.
                compute=ActorPoolStrategy(min_size=workers[0], max_size=workers[1], max_tasks_in_flight_per_actor=2),
                num_cpus=cpus,
                num_gpus=gpus,
            )
            .map_batches(
                _write,
                fn_kwargs={"folder": filesystem.unstrip_protocol(unfinished), "suffix": suffix, "schema": schema},
                batch_size=_PARTS_A_FILE,
                batch_format="pyarrow",
                num_cpus=_BESIDE_THE_WORKERS,
            )
        )
    _move(filesystem, unfinished, folder, list(written))
    return sum(written.values())


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
    _remove(filesystem, folder)
    if isinstance(filesystem, LocalFileSystem):
        filesystem.touch(f"{unfinished}/_SUCCESS")
        os.replace(unfinished, folder)
        return
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


def _parts(files: Sequence[str], column: str | None, size: int) -> Iterator[bytes]:
    """The records of files, so many at a time, as lines of JSON."""
    records = chain.from_iterable(read_records(file, column) for file in files)
    while part := b"".join(json_line(record.row) for record in islice(records, size)):
        yield part


def _rows(part: bytes) -> list[Row]:
    return [json.loads(line) for line in part.splitlines()]


def _read(_: pa.Table, **parts: Any) -> Iterator[pa.Table]:
    with _errors_carried():
        for number, part in enumerate(_parts(**parts)):
            yield pa.table({"number": [number], "lines": [part]})


class _Worker:
    """An actor: holds a model, and annotates part after part.

    Args:
        load: Makes the model.
        cpus: Cores that the model has.
        column: Where the text stands.
        settings: For the model.
    """

    def __init__(self, load: Callable[[], Annotates], cpus: int, column: str | None, settings: dict[str, Any]) -> None:
        self.load = load
        self.cpus = cpus
        self.column = column
        self.settings = settings

    @cached_property
    def model(self) -> Annotates:
        """Loaded for the first part: an error of ``__init__`` would be told by Ray, in a hundred lines."""
        torch.set_num_threads(self.cpus)
        return self.load()

    def __call__(self, part: Row) -> Row:
        """The part, annotated."""
        with _errors_carried():
            records = [Record(row, text_of(row, self.column, "a record")) for row in _rows(part["lines"])]
            return {**part, "lines": b"".join(json_line(row) for row in annotated(self.model, records, **self.settings))}


def _write(parts: pa.Table, folder: str, suffix: str, schema: pa.Schema | None) -> pa.Table:
    lines = b"".join(parts["lines"].to_pylist())
    file = f"part-{parts['number'][0].as_py():06}{suffix}"  # of its first part: unique, and in order
    with _errors_carried(), fsspec.open(f"{folder}/{file}", "wb") as stream:
        if schema is None:
            stream.write(lines)
        else:
            write_parquet(_rows(lines), stream, schema)
    return pa.table({"file": [file], "records": [lines.count(b"\n")]})
