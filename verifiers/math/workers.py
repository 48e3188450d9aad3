"""Killable worker processes for comparisons that need algebra; usable from any thread, asyncio and Ray actors at once.

One thread of the calling process talks to all workers. Comparisons that look cheap go first, to a few workers in
front. One that has used its patience (in CPU time) is demoted: its worker goes on at low priority, and a fresh one
takes its place in front. What looks dear starts out of the way, at low priority too. The more there are, the less they
get, so that a storm of hanging answers does not slow the others much. Workers end by the kernel's alarm, by a closed
channel or with their parent, never by request.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
from concurrent.futures import Future
from typing import Any

from verifiers.math.dispatcher import Dispatcher, Inbox
from verifiers.math.process import Answer, Job, Limits


class MathWorkers:
    """A pool of workers behind one zygote. Thread-safe.

    Args:
        limits: see Limits.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._numbers = itertools.count()
        self._inbox = Inbox()
        dispatcher = Dispatcher(self._inbox, self.limits)
        self._thread = threading.Thread(target=dispatcher.run, name="math workers", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        return self._inbox.closing

    @property
    def peak_kb(self) -> int:
        """The largest resident memory that a worker reported, in KiB."""
        return self._inbox.peak_kb

    def submit(self, request: dict[str, Any], cost: int) -> Future[Answer]:
        """Compare; the future gets truth, reason and detail, and never raises but CancelledError.

        Args:
            request: prediction, gold and the policy's fields, JSON-able.
            cost: how dear it looks; the cheaper goes first.

        Raises RuntimeError once closed.
        """
        job = Job(cost, next(self._numbers), request, Future())
        self._inbox.put(job)
        return job.future

    def give_up(self, future: Future[Answer]) -> None:
        """Nobody waits for this comparison any more: it does not begin, or its worker is killed."""
        if not future.cancel():
            self._inbox.give_up(future)

    def close(self) -> None:
        """End all workers; comparisons under way get the reason `error`."""
        self._inbox.put(None)
        self._thread.join()


_pools: dict[int, MathWorkers] = {}
_pools_lock = threading.Lock()


def shared_workers() -> MathWorkers:
    """The pool of this process, started on first use; a forked child gets its own."""
    with _pools_lock:
        pool = _pools.get(os.getpid())
        if pool is None or pool.closed:
            _pools.clear()
            pool = _pools[os.getpid()] = MathWorkers()
        return pool


@atexit.register
def close_workers() -> None:
    """End the workers of this process; the next comparison starts new ones."""
    with _pools_lock:
        pool = _pools.pop(os.getpid(), None)
    if pool is not None:
        pool.close()


def _after_fork() -> None:
    global _pools_lock
    _pools_lock = threading.Lock()  # another thread of the parent may have held it
    _pools.clear()


os.register_at_fork(after_in_child=_after_fork)
