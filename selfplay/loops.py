"""An event loop from code that is not asynchronous, in a notebook too, where one is running already."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Loop:
    """One event loop for many calls: in this thread, or in one of its own if a loop is running in this one."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._thread = ThreadPoolExecutor(1, "loop") if _running() else None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What it returns, or raises."""
        if self._thread is None:
            return self._runner.run(coroutine)
        return self._thread.submit(self._runner.run, coroutine).result()

    def close(self) -> None:
        if self._thread is None:
            self._runner.close()
        else:
            self._thread.submit(self._runner.close).result()
            self._thread.shutdown()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run."""
    loop = Loop()
    try:
        return loop.run(coroutine)
    finally:
        loop.close()


def _running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
