"""One worker process seen from its parent, and the limits it lives under."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
_NICE = 5  # of a worker in the back, while there are few: a quarter of a processor that somebody else wants too
_STORM = 15  # where there are many: together they shall not take what those in front need
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Limits:
    """What a comparison and the pool may use.

    Attributes:
        cpu_seconds: processor time of one comparison.
        seconds: wall-clock time of one comparison; more, for a busy machine is no fault of an answer.
        memory: bytes of address space of one worker.
        front: workers that run at ordinary priority.
        patience: CPU seconds after which a comparison is demoted.
        dear: the static cost from which a comparison starts demoted.
        back: demoted workers beyond which no dear comparison is started.
        demoted: demoted workers beyond which a comparison that has used its patience keeps its place in front, and
            one that must make room for a cheaper one does so at the cost of the oldest demoted.
        comparisons: of one worker before a fresh one takes over.
    """

    cpu_seconds: float = 2.0
    seconds: float = 4.5
    memory: int = 1 << 30
    front: int = 2
    patience: float = 0.1
    dear: int = 60
    back: int = 4
    demoted: int = 12
    comparisons: int = 500


@dataclass(order=True)
class Job:
    cost: int
    number: int
    request: dict[str, Any] = field(compare=False)
    future: Future[Answer] = field(compare=False)


class Worker:
    """One worker process, known by its end of the channel."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.buffer = b""
        self.pid = self.handle = -1
        self.job: Job | None = None
        self.demoted = False  # no longer, or never, in front
        self.stepped_back = False  # had to leave the front, and its priority with it
        self.served = 0
        self.started = self.cpu = 0.0
        self.look_at = float("inf")

    def hello(self, pid: int) -> None:
        """The process has told its id, while it lives."""
        try:
            self.pid, self.handle = pid, os.pidfd_open(pid)
        except ProcessLookupError:
            return  # it has ended since; its channel will say so
        self.cpu = self.cpu_seconds()
        if self.demoted:
            with contextlib.suppress(ProcessLookupError):
                _lower(pid, _NICE)

    def cpu_seconds(self) -> float:
        """CPU time of the process so far; the wall clock where it cannot be read."""
        try:
            numbers = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return time.monotonic()
        return (int(numbers[11]) + int(numbers[12])) / _TICKS

    def step_back(self, storm: bool) -> None:
        """Go on with low priority, and with a very low one in a storm. It is never idle time alone that is left: on a
        busy machine there is none."""
        self.demoted = self.stepped_back = True
        if self.pid > 0:
            with contextlib.suppress(ProcessLookupError):
                _lower(self.pid, _STORM if storm else _NICE)

    def end(self) -> None:
        self.channel.close()
        if self.handle >= 0:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                signal.pidfd_send_signal(self.handle, signal.SIGKILL)
            os.close(self.handle)
            self.handle = -1


def _lower(pid: int, nice: int) -> None:
    """Never up, which takes privileges."""
    os.setpriority(os.PRIO_PROCESS, pid, max(nice, os.getpriority(os.PRIO_PROCESS, pid)))


def settle(job: Job, reason: str, detail: str) -> None:
    if job.future.done() or (not job.future.running() and not job.future.set_running_or_notify_cancel()):
        return
    job.future.set_result({"truth": None, "reason": reason, "detail": detail})
