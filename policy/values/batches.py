"""Work that is done in a thread of its own, together with whatever else waits for it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from policy.base import PolicyStopped

T = TypeVar("T")
R = TypeVar("R")


class Batches(Generic[T, R]):
    """Items that come while a batch is worked on make up the next one. May be asked from several event loops.

    Args:
        work: from a batch of items to a result for each; called in the thread.
        most: items in a batch at most.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]], most: int) -> None:
        self._work, self._most = work, most
        self._waiting: queue.SimpleQueue[tuple[T, Future[R]] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    async def ask(self, item: T) -> R:
        """The item's result; cancelled while it waits, it is never worked on. Raises what `work` raises."""
        if self._closed:
            raise PolicyStopped("this policy was closed")
        future: Future[R] = Future()
        self._waiting.put((item, future))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """End the thread after the batch it is at; whatever waits is cancelled."""
        self._closed = True
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while not self._closed and (first := self._waiting.get()) is not None:
            batch = [first]
            while len(batch) < self._most and not self._waiting.empty():
                if (another := self._waiting.get()) is not None:
                    batch.append(another)
            self._do([(item, future) for item, future in batch if future.set_running_or_notify_cancel()])
        while not self._waiting.empty():
            if (left := self._waiting.get()) is not None:
                left[1].cancel()

    def _do(self, batch: Sequence[tuple[T, Future[R]]]) -> None:
        if not batch:
            return
        try:
            results = self._work([item for item, _ in batch])
        except Exception as error:
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)
