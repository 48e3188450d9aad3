"""Looking at a search while it runs, without slowing it down by more than a few percent."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

from commands.errors import BadInput, shorten
from commands.manifest import write_atomically
from commands.task import Task
from commands.viewer.document import page
from commands.viewer.snapshot import Snapshot
from search.thinking import Thinking

PAUSE = 0.1
"""Seconds between two looks, at least."""
SHARE = 0.02
"""The share of the time that looking may take: after a look that took long the pause is longer."""


def page_path(value: Any) -> Path:
    """The file that an option names. Raises BadInput for what can be no file, before anything is done for it."""
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"tree={shorten(str(value))} cannot be; allowed: a file's name, such as tree.html")
    path = Path(value)
    if path.is_dir() or value.endswith("/"):
        raise BadInput(f"tree={shorten(value)} is a folder; allowed: a file's name, such as tree.html")
    place = next(each for each in path.absolute().parents if each.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise BadInput(f"tree={shorten(value)} cannot be written in {shorten(str(place))}; allowed: another place")
    return path


class Watcher:
    """Looks at the search of a task from when it begins; `on_thinking` is for Engine.run and Task.run.

    Attributes:
        snapshot: None until the search has begun.
    """

    def __init__(self, task: Task) -> None:
        self.snapshot: Snapshot | None = None
        self._task = task

    def on_thinking(self, thinking: Thinking) -> None:
        self.snapshot = Snapshot(thinking, self._task.record.answers)

    async def deltas(self, thinking: asyncio.Future[Any]) -> AsyncIterator[dict[str, Any]]:
        """What is new, again and again, until the thinking is over; then all that is left, if it had begun.

        The thinking goes on when nobody asks for the next one any more; whoever started it ends it.
        """
        pause = PAUSE
        while not thinking.done():
            await asyncio.wait({thinking}, timeout=pause)
            if self.snapshot is not None and not thinking.done():
                started = time.perf_counter()
                delta = self.snapshot.delta()
                yield delta
                pause = max(PAUSE, (time.perf_counter() - started) / SHARE)
        if self.snapshot is not None:
            yield self.snapshot.last()


class Film(Watcher):
    """One search for one page, written when it is over, or cut off.

    Args:
        about: what the page says of it beside problem and domain: search, budget, seed.
    """

    def __init__(self, path: Path, task: Task, about: dict[str, Any]) -> None:
        super().__init__(task)
        self._path, self._about = path, about

    async def run(self, thinking: Coroutine[Any, Any, None]) -> None:
        """Think, and watch meanwhile, so that each node has the time at which it was there."""
        task = asyncio.create_task(thinking)
        try:
            async for _ in self.deltas(task):
                pass
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def write(self, result: dict[str, Any]) -> None:
        """The page, whole or not at all. Raises BadInput if the disk refuses."""
        nothing: dict[str, Any] = {"nodes": [], "changes": [], "answers": [], "full": False, "spent": {}}
        tree = nothing if self.snapshot is None else self.snapshot.everything()
        text = page({"about": {**self._about, "result": result}, "tree": tree})
        write_atomically(self._path, lambda file: file.write(text.encode()))
