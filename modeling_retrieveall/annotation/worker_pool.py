"""A model in several processes of one machine, each with one thread.

A forward pass over a few sentences consists of products that are too small for several cores. They are faster if each core
computes sentences of its own.

>>> load = functools.partial(RetrieveAllModel.from_pretrained, "shipped", device="cpu")
>>> with WorkerPool(load, workers=2) as pool:
...     annotate(pool, "texts.jsonl", "entities.jsonl")
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Self

import torch
from transformers.utils import logging

from ..model.errors import RetrieveAllError
from ..model.outputs import Extraction
from .added_columns import AnnotationModel
from .model_fingerprint import model_fingerprint

_MEMORY_PER_WORKER = 2 << 30
_RECORDS_PER_WORKER = 1000


class WorkerError(RetrieveAllError, ChildProcessError):
    """A worker ended unexpectedly."""


class WorkerPool:
    """Extracts entities in several processes. It is used like a model for annotation.

    Args:
        load: Loads the model on the CPU. It is called in each worker.
        workers: Number of workers.

    Attributes:
        languages: Language code to the source of its adapter.
        fingerprint: The fingerprint of the model (:func:`model_fingerprint`).

    Raises:
        WorkerError: A worker ended while it was loading the model. Errors of ``load`` are raised as well.
    """

    def __init__(self, load: Callable[[], AnnotationModel], workers: int) -> None:
        self._workers = workers
        self._other_processes = set(multiprocessing.active_children())
        # Not forked, because a process that has threads, such as those of PyTorch, must not be forked.
        self._pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (load,))
        try:
            self.languages, self.fingerprint = self._result(self._pool.submit(_describe))
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def extract(self, texts: Sequence[Any], **options: Any) -> list[Extraction]:
        """Extracts the entities of a list of texts; see :meth:`RetrieveAllModel.extract`.

        Raises:
            WorkerError: A worker ended unexpectedly.
        """
        by_length = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        parts = [by_length[worker :: self._workers] for worker in range(self._workers)]
        tasks = [self._pool.submit(_extract, [texts[i] for i in part], options) for part in parts]
        results: dict[int, Extraction] = {}
        for part, task in zip(parts, tasks, strict=True):
            results.update(zip(part, self._result(task), strict=True))
        return [results[i] for i in range(len(texts))]

    def _result(self, task: Any) -> Any:
        try:
            return task.result()
        except BrokenProcessPool as error:
            raise WorkerError("A worker ended unexpectedly, possibly because memory ran out. Give fewer `workers`.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind:  # without this, the workers would first finish their texts
            for process in set(multiprocessing.active_children()) - self._other_processes:
                process.terminate()
        self._pool.shutdown(cancel_futures=True)


def default_workers(records: int) -> int:
    """The number of workers for a number of records on this machine: one per core, if memory suffices and loading pays off.

    Where the system does not report its free memory, it is one.
    """
    reported = "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {})
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if reported else 0
    return max(1, min(os.cpu_count() or 1, memory // _MEMORY_PER_WORKER, records // _RECORDS_PER_WORKER))


_loaded: AnnotationModel | Exception
"""In a worker: its model, or the error of loading it. An error in ``_start`` itself would be logged, and not reach the caller."""


def _start(load: Callable[[], AnnotationModel]) -> None:
    """Prepares a worker."""
    global _loaded
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles it and ends the workers
    torch.set_num_threads(1)
    logging.disable_progress_bar()  # the main process shows the progress of all workers
    try:
        _loaded = load()
    except Exception as error:
        _loaded = error


def _model() -> AnnotationModel:
    """The model of this worker."""
    if isinstance(_loaded, Exception):
        raise _loaded
    return _loaded


def _describe() -> tuple[dict[str, str], dict[str, Any]]:
    """The languages and the fingerprint of the model."""
    return dict(_model().languages), model_fingerprint(_model())


def _extract(texts: list[Any], options: dict[str, Any]) -> list[Extraction]:
    results: list[Extraction] = _model().extract(texts, **options) if texts else []
    return results
