"""Processes the texts of many clients together: requests that arrive while the model is busy form the next batch.

    requests of clients            queue                         one thread
    1 text  ----+
    5 texts ----+---->  [1, 5, 2]  ---- at most max_batch_texts ---->  model.extract  ---->  results of each request
    2 texts ----+

>>> batcher = RequestBatcher(model)
>>> async with batcher:
...     results = await batcher.extract(["Angela Merkel besuchte Nairobi."], Request())
>>> results[0].language
'de'
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from ..model.errors import RetrieveAllError, ServerError
from ..model.hub_files import HubUnreachableError
from ..model.modeling_retrieveall import RetrieveAllModel
from ..model.outputs import Extraction
from ..model.request import Request
from .server_limits import ServerLimits


class QueueFullError(RetrieveAllError, BlockingIOError):
    """Too many texts are waiting."""


class _AbandonedError(Exception):
    """Nobody waits for the results of a batch any more."""


@dataclass(frozen=True)
class _Waiting:
    """A request in the queue."""

    texts: Sequence[str]
    languages: Sequence[str] | None
    consistent_labels: bool
    results: asyncio.Future[list[Extraction]]

    @property
    def kind(self) -> tuple[bool, bool]:
        """Requests are processed together if this is equal."""
        return self.languages is None, self.consistent_labels


class RequestBatcher:
    """Extracts entities for many coroutines with one model. It is used in an ``async with`` block.

    Args:
        model: The model.
        max_batch_texts: Maximum number of texts in a batch. A request with more texts is a batch of its own.
        max_queued_texts: Maximum number of texts that wait. A request that finds an empty queue is always accepted.
    """

    def __init__(
        self, model: RetrieveAllModel, max_batch_texts: int = 256, max_queued_texts: int = ServerLimits.queued_texts
    ) -> None:
        self._model = model
        self._max_batch_texts = max_batch_texts
        self._max_queued_texts = max_queued_texts
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._process())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._thread.shutdown()

    @property
    def queued_texts(self) -> int:
        """Number of texts that wait."""
        return sum(len(waiting.texts) for waiting in self._queue)

    async def extract(self, texts: Sequence[str], request: Request) -> list[Extraction]:
        """Extracts the entities of texts. If the caller is cancelled while they wait, they are not processed.

        Args:
            texts: Texts of any length.
            request: The language, the entity types, the thresholds and ``consistent_labels``; other options are not supported.

        Raises:
            InputError: The model does not have a language or an entity type.
            QueueFullError: Too many texts are waiting.
            RetrieveAllError: The model raised an error for these texts.
        """
        request = self._model.extractor.checked(request)  # before other requests can be affected
        languages = request.languages(len(texts))
        if self._queue and self.queued_texts + len(texts) > self._max_queued_texts:
            raise QueueFullError(f"{self.queued_texts:,} texts are waiting; at most {self._max_queued_texts:,} may wait.")
        waiting = _Waiting(texts, languages, request.consistent_labels, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived.set()
        results = await waiting.results
        return [
            replace(each, entities=[entity for entity in each.entities if request.keeps(entity.label, entity.score)])
            for each in results
        ]

    async def _process(self) -> None:
        """Processes batches until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            batch = self._next_batch()
            for waiting, results in zip(batch, await loop.run_in_executor(self._thread, self._results, batch), strict=True):
                if waiting.results.done():  # the client has gone, or has waited too long
                    continue
                if isinstance(results, BaseException):
                    waiting.results.set_exception(results)
                else:
                    waiting.results.set_result(results)

    def _next_batch(self) -> list[_Waiting]:
        """Takes requests of one kind from the queue."""
        batch: list[_Waiting] = []
        count = 0
        while self._queue:
            first = self._queue[0]
            if first.results.done():
                self._queue.popleft()
                continue
            if batch and (first.kind != batch[0].kind or count + len(first.texts) > self._max_batch_texts):
                break
            batch.append(self._queue.popleft())
            count += len(first.texts)
        if not self._queue:
            self._arrived.clear()
        return batch

    def _results(self, batch: Sequence[_Waiting]) -> list[list[Extraction] | Exception]:
        """The results of each request of a batch, or its error."""
        try:
            return [*self._extract(batch)]
        except (ServerError, HubUnreachableError, _AbandonedError) as error:  # no request is at fault
            return [error] * len(batch)
        except Exception as error:
            if len(batch) < 2:
                return [error] * len(batch)
        # One request is at fault. The others must not suffer from it.
        return [result for waiting in batch for result in self._results([waiting])]

    def _extract(self, batch: Sequence[_Waiting]) -> list[list[Extraction]]:
        def check_wanted() -> None:
            if all(waiting.results.done() for waiting in batch):
                raise _AbandonedError("All clients have gone, or have waited too long.")

        check_wanted()
        texts = [text for waiting in batch for text in waiting.texts]
        languages = [language for waiting in batch for language in waiting.languages or ()]
        request = Request(language=languages or None, consistent_labels=batch[0].consistent_labels)
        results = iter(self._model.extractor.extract(texts, request, check_wanted))
        return [[next(results) for _ in waiting.texts] for waiting in batch]
