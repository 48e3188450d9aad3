"""Lanes for jobs: short ones never wait behind long ones, and a crowd does not keep a newcomer waiting.

A job starts in the fast lane. One that turns out to run long moves to the slow lane if that has room; else it is
ended and later started anew there, which changes nothing, for a job has no effects. So a thousand hanging programs
cost the fast lane a moment each.
"""

from __future__ import annotations

import threading
from collections import deque

NEWEST, OLDEST = 0, 1


class _Waiter:
    def __init__(self) -> None:
        self.called = threading.Event()
        self.end = NEWEST


class Lane:
    """At most `capacity` jobs at once. Of the time of a full lane, the newest waiter gets half and the oldest half.

    In plain order of arrival a newcomer would wait for the whole crowd; newest first alone could starve the oldest.
    """

    def __init__(self, capacity: int) -> None:
        self._lock = threading.Lock()
        self._free = capacity
        self._waiting: deque[_Waiter] = deque()
        self._spent = [0.0, 0.0]  # seconds that jobs taken from either end have held a place, while others waited

    def enter(self) -> int:
        """Wait for a place; the end of the queue it was taken from, for leave()."""
        waiter = _Waiter()
        with self._lock:
            if self._free:
                self._free -= 1
                return NEWEST
            self._waiting.append(waiter)
        waiter.called.wait()
        return waiter.end

    def try_enter(self) -> bool:
        with self._lock:
            if not self._free:
                return False
            self._free -= 1
            return True

    def leave(self, end: int, seconds: float) -> None:
        """Give the place back after so many seconds of holding it."""
        with self._lock:
            if not self._waiting:
                self._free += 1
                self._spent = [0.0, 0.0]
                return
            self._spent[end] += seconds
            end = NEWEST if self._spent[NEWEST] <= self._spent[OLDEST] else OLDEST
            waiter = self._waiting.pop() if end == NEWEST else self._waiting.popleft()
        waiter.end = end
        waiter.called.set()
