"""A sandbox for programs that nobody has read: any thread, many jobs at once, one fresh process for each.

The program and its inputs go in, a value comes out as a tree of exact types (jail/values.py); what was expected never
goes in. How the walls are made is told in docs/adr/0013-sandbox.md.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType

from verifiers.jail.isolation import MECHANISMS, Limits
from verifiers.warden import canaries
from verifiers.warden.jobs import Call, Check, Job, Kind, Outcome, Script, converse, judged
from verifiers.warden.lanes import NEWEST, Lane
from verifiers.warden.stop import Stop, in_thread
from verifiers.warden.zygote_process import Ticket, ZygoteProcess

__all__ = ["Call", "Check", "Job", "Kind", "Limits", "Outcome", "Sandbox", "SandboxRefused", "Script"]

MAX_PROGRAM = 1_000_000  # characters
_CHECKS = 32  # at once; they mostly wait for the calls they make
_CHECK_WALL = 300.0  # of a check, whose calls have their own limits [s]
_GRACE = 30.0  # beyond a job's wall clock, after which the zygote itself must be broken [s]
_ASYNC_THREADS = 2048


class SandboxRefused(RuntimeError):
    """A mechanism is missing that the caller has not agreed to do without."""


class Sandbox:
    """Runs jobs behind walls that it has proved at its start.

    Args:
        limits: of every job that names no others.
        allow_degraded: mechanisms (see MECHANISMS) that may be missing.

    Attributes:
        missing: mechanism -> why it is missing; empty where all of them hold.
        outer: whether bubblewrap stands around all of it.
        peak_mb: the most memory that any job so far has held.
        threads: where event loops may wait for it.

    Raises SandboxRefused, naming what is missing and not allowed to be; ValueError for a name that is no mechanism.
    Threads, event loops and actors may share one; a forked process needs its own.
    """

    def __init__(self, limits: Limits | None = None, allow_degraded: Sequence[str] = ()) -> None:
        if unknown := sorted(set(allow_degraded) - set(MECHANISMS)):
            raise ValueError(f"allow_degraded names {', '.join(unknown)}; there are {', '.join(MECHANISMS)}")
        self.limits, self.peak_mb = limits or Limits(), 0.0
        self._owner, self._lock, self._closed = os.getpid(), threading.Lock(), False
        cores = len(os.sched_getaffinity(0))
        # Together fewer than a zygote has rooms for.
        self._fast, self._slow, self._checks = Lane(min(2 * cores, 64)), Lane(min(2 * cores, 64)), Lane(_CHECKS)
        self.threads = ThreadPoolExecutor(_ASYNC_THREADS, thread_name_prefix="sandbox")
        self._zygote = ZygoteProcess()
        try:
            self.missing = canaries.prove(self._try, self._zygote.missing)
            self.outer = self._zygote.outer
            self._consider(frozenset(allow_degraded))
        except BaseException:
            self.close()
            raise
        self._mechanisms = tuple(name for name in MECHANISMS if name not in self.missing)

    def _consider(self, allowed: frozenset[str]) -> None:
        if not self.missing:
            return
        told = "; ".join(f"{name} ({reason})" for name, reason in self.missing.items())
        if refused := sorted(set(self.missing) - allowed):
            raise SandboxRefused(
                f"the sandbox lacks {told}; to run without, name it: allow_degraded={','.join(refused)}"
            )
        warnings.warn(f"the sandbox runs without {told}", stacklevel=3)

    @property
    def note(self) -> str:
        """What every verdict has to say about the walls: nothing where they are whole."""
        return f" [sandbox without {', '.join(self.missing)}]" if self.missing else ""

    def run(self, job: Job, limits: Limits | None = None, stop: Stop | None = None) -> Outcome:
        """Run one job to its end. Whatever the program does is an Outcome; raises nothing for it, and Stopped only
        where another thread wishes it by `stop`: then the job is killed, or does not begin."""
        if os.getpid() != self._owner:
            raise RuntimeError("this sandbox belongs to the process that made it; make one in this process")
        program = job.code if isinstance(job, Check) else job.program
        if len(program) > MAX_PROGRAM:
            return Outcome(Kind.UNPARSABLE, f"a program of {len(program)} characters; at most {MAX_PROGRAM}")
        limits, stop = limits or self.limits, stop or Stop()
        if isinstance(job, Check):
            limits = replace(limits, wall_seconds=_CHECK_WALL)
            return self._in_lane(self._checks, job, limits, stop)[0]
        outcome, preempted = self._in_lane(self._fast, job, limits, stop)
        return self._in_lane(self._slow, job, limits, stop)[0] if preempted else outcome

    async def arun(self, job: Job, limits: Limits | None = None) -> Outcome:
        """run() for event loops: waits in a thread of the sandbox's own. Cancelling it kills the job."""
        return await in_thread(functools.partial(self.run, job, limits), self.threads)

    def close(self) -> None:
        """End everything. Jobs in flight become ERROR."""
        with self._lock:
            self._closed = True
            self._zygote.close()
        self.threads.shutdown(wait=False)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _alive(self) -> ZygoteProcess:
        with self._lock:
            if self._closed:
                raise RuntimeError("this sandbox is closed")
            if self._zygote.lost:
                self._zygote.close()
                self._zygote = ZygoteProcess()
            return self._zygote

    def _try(self, job: Job, mechanisms: Sequence[str]) -> Outcome:
        """A canary's run, behind some of the walls only."""
        return self._execute(job, Limits(), mechanisms, False, lambda ticket: None, Stop())[0]

    def _in_lane(self, lane: Lane, job: Job, limits: Limits, stop: Stop) -> tuple[Outcome, bool]:
        """What came of a job in a lane, and whether it was ended because it ran long while the slow lane was full."""
        end, since, place = lane.enter(stop), time.monotonic(), [lane]

        def on_slow(ticket: Ticket) -> None:
            if lane is not self._fast:
                return
            if self._slow.try_enter():
                place[0] = self._slow
                lane.leave(end, time.monotonic() - since)
            else:
                ticket.preempted = True
                ticket.kill()

        try:
            outcome, ticket = self._execute(job, limits, self._mechanisms, lane is self._slow, on_slow, stop)
            return outcome, ticket.preempted and ticket.ending.how == "killed"
        finally:
            place[0].leave(end if place[0] is lane else NEWEST, time.monotonic() - since)

    def _execute(
        self, job: Job, limits: Limits, mechanisms: Sequence[str], slow: bool, on_slow: Callable[[Ticket], None],
        stop: Stop,
    ) -> tuple[Outcome, Ticket]:
        stop.heed()
        zygote = self._alive()
        with contextlib.ExitStack() as opened:
            ours, theirs = socket.socketpair()
            opened.enter_context(ours)
            with contextlib.ExitStack() as handed:
                handed.enter_context(theirs)
                descriptors, printed = [theirs.fileno()], -1
                if isinstance(job, Script):
                    printed, stdout = os.pipe()
                    opened.callback(os.close, printed)
                    handed.callback(os.close, stdout)
                    descriptors.append(stdout)
                ticket = zygote.spawn(descriptors, mechanisms, limits, slow=slow, on_slow=on_slow)
            # Not settimeout(), which makes a socket non-blocking: every piece of an answer would wake this thread up.
            patience = struct.pack("ll", int(limits.longest + _GRACE), 0)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
            with stop.ending(ticket.kill), _killing(ticket):
                answer = converse(job, ours, printed)
            if answer.broken:
                ticket.kill()
        if not ticket.ended.wait(limits.longest + _GRACE):
            zygote.close()  # it does not do its work
            ticket.ended.wait()
        stop.heed()
        outcome = judged(job, answer, ticket.ending)
        with self._lock:
            self.peak_mb = max(self.peak_mb, outcome.peak_mb)
        return outcome, ticket


@contextlib.contextmanager
def _killing(ticket: Ticket) -> Iterator[None]:
    """What is raised while a job runs ends it too."""
    try:
        yield
    except BaseException:
        ticket.kill()
        raise
