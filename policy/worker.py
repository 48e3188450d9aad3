"""A thread with an event loop of its own: connections belong to one loop, while searches come and go in others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from policy.budget import Meter

T = TypeVar("T")
TICK = 0.01
"""Seconds between two looks at the meters: a deadline is overshot, or a search's end noticed, by no more."""


class Worker:
    """Runs coroutines for other threads until it is closed."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._metered: dict[asyncio.Task[Any], Meter] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Was it not closed yet?"""
        return self._thread.is_alive()

    @property
    def busy(self) -> bool:
        """Is anything metered under way?"""
        return bool(self._metered)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for it, from another thread. Raises what it raises, CancelledError if this is closed meanwhile.

        It is cancelled when nobody waits for it any more: Ctrl-C ends the waiting.
        """
        future = self.begin(coroutine)
        try:
            return future.result()
        finally:
            future.cancel()

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run it without waiting for it, from another thread; closing cancels it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def metered(self, coroutine: Coroutine[Any, Any, T], meter: Meter) -> T | None:
        """Wait for it, from another loop; None if the meter expires first.

        It is cancelled then, and also when whoever waits is.
        """
        if not self.alive:
            coroutine.close()
            raise RuntimeError("the policy is closed")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._watch(coroutine, meter), self._loop))

    async def _watch(self, coroutine: Coroutine[Any, Any, T], meter: Meter) -> T | None:
        task = asyncio.ensure_future(coroutine)
        self._metered[task] = meter
        if self._ticking is None:
            self._ticking = asyncio.ensure_future(self._tick())
        try:
            await asyncio.wait({task})
        finally:
            del self._metered[task]
            task.cancel()
        return None if task.cancelled() else task.result()

    async def _tick(self) -> None:
        while self._metered:
            for task, meter in self._metered.items():
                if meter.expired:
                    task.cancel()
            await asyncio.sleep(TICK)
        self._ticking = None

    def close(self) -> None:
        """Cancel what is under way and end the thread."""
        if not self.alive:
            return
        self.run(self._cancel())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
