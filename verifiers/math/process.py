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
_NICE = 10  # of a worker that starts demoted, until it has used its patience
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Limits:
    """What a comparison and the pool may use.

    Attributes:
        seconds: wall-clock time of one comparison.
        memory: bytes of address space of one worker.
        front: workers that run at ordinary priority.
        patience: CPU seconds after which a comparison is demoted.
        dear: the static cost from which a comparison starts demoted.
        back: demoted workers beyond which no dear comparison is started.
        demoted: demoted workers beyond which a comparison that has used its patience keeps its place in front, and
            one that must make room for a cheaper one does so at the cost of the oldest demoted.
        comparisons: of one worker before a fresh one takes over.
    """

    seconds: float = 2.0
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
        self.idle = False  # gets only the time that nobody else wants
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
                os.setpriority(os.PRIO_PROCESS, pid, max(_NICE, os.nice(0)))  # never up, which takes privileges

    def cpu_seconds(self) -> float:
        """CPU time of the process so far; the wall clock where it cannot be read."""
        try:
            numbers = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return time.monotonic()
        return (int(numbers[11]) + int(numbers[12])) / _TICKS

    def step_back(self) -> None:
        """Run from now on only when nobody else wants the processor."""
        self.demoted = self.idle = True
        if self.pid > 0:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(self.pid, os.SCHED_IDLE, os.sched_param(0))

    def end(self) -> None:
        self.channel.close()
        if self.handle >= 0:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                signal.pidfd_send_signal(self.handle, signal.SIGKILL)
            os.close(self.handle)
            self.handle = -1


def settle(job: Job, reason: str, detail: str) -> None:
    if job.future.done() or (not job.future.running() and not job.future.set_running_or_notify_cancel()):
        return
    job.future.set_result({"truth": None, "reason": reason, "detail": detail})
