"""Ending what another thread waits for: how a cancelled task of an event loop takes its jobs along."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """Nobody waits for it any more."""


class Stop:
    """Tells one thread, from any other, to end what it is at. It stays told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wished = False
        self._ends: list[Callable[[], None]] = []

    def wish(self) -> None:
        """End it now; returns at once."""
        with self._lock:
            self._wished, ends = True, list(self._ends)
        for end in ends:
            end()

    def heed(self) -> None:
        """Raises Stopped once that is wished."""
        if self._wished:
            raise Stopped

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """While inside, `end` is how to end it; called at once where that is wished already."""
        with self._lock:
            self._ends.append(end)
            wished = self._wished
        if wished:
            end()
        try:
            yield
        finally:
            with self._lock:
                self._ends.remove(end)


async def in_thread(function: Callable[[Stop], T], threads: Executor | None = None) -> T:
    """What a blocking function gives, in a thread (of the event loop's own if None); cancelling this stops it too."""
    stop = Stop()
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, function, stop)
    except asyncio.CancelledError:
        stop.wish()
        raise
