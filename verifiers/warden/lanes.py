"""Lanes for jobs: short ones never wait behind long ones, and a crowd does not keep a newcomer waiting.

A job starts in the fast lane. One that turns out to run long moves to the slow lane if that has room; else it is
ended and later started anew there, which changes nothing, for a job has no effects. So a thousand hanging programs
cost the fast lane a moment each.
"""

from __future__ import annotations

import threading
from collections import deque

from verifiers.warden.stop import Stop, Stopped

NEWEST, OLDEST = 0, 1
_SHARES = (7, 1)  # of the time, by end


class _Waiter:
    def __init__(self) -> None:
        self.called = threading.Event()
        self.end = NEWEST
        self.gone = False


class Lane:
    """At most `capacity` jobs at once. Of a full lane's time the newest waiters get seven eighths, the oldest one.

    In plain order of arrival a newcomer would wait for the whole crowd; newest first alone could starve the oldest.
    """

    def __init__(self, capacity: int) -> None:
        self._lock = threading.Lock()
        self._free = capacity
        self._waiting: deque[_Waiter] = deque()
        self._spent = [0.0, 0.0]  # seconds that jobs taken from either end have held a place, while others waited

    def enter(self, stop: Stop) -> int:
        """Wait for a place; the end of the queue it was taken from, for leave(). Raises Stopped, without a place."""
        waiter = _Waiter()
        with self._lock:
            if self._free:
                self._free -= 1
                return NEWEST
            self._waiting.append(waiter)
        with stop.ending(lambda: self._give_up(waiter)):
            waiter.called.wait()
        if waiter.gone:
            raise Stopped
        return waiter.end

    def _give_up(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter in self._waiting:  # else it has its place already, and will leave it
                self._waiting.remove(waiter)
                waiter.gone = True
                waiter.called.set()

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
            newest, oldest = (spent / share for spent, share in zip(self._spent, _SHARES, strict=True))
            end = NEWEST if newest <= oldest else OLDEST
            waiter = self._waiting.pop() if end == NEWEST else self._waiting.popleft()
        waiter.end = end
        waiter.called.set()
