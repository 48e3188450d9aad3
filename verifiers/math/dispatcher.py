"""The thread that talks to the math workers: a queue of cheap and one of dear comparisons, demotion, deadlines."""

from __future__ import annotations

import heapq
import json
import os
import select
import selectors
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path

from verifiers.math.process import Answer, Job, Limits, Worker, settle

_MOMENT = 0.01  # seconds that a job may keep its place in front when a cheaper one waits
_SUSPICION = 5.0  # seconds for which what looks like a job that was demoted starts demoted
_GRACE = 1.0  # seconds after a worker's alarm must have ended it


class Inbox:
    """What other threads hand to the dispatcher: jobs, and the wish to close."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.jobs: list[Job] = []
        self.given_up: list[Future[Answer]] = []
        self.closing = False
        self.peak_kb = 0
        self.bell, self._wake = socket.socketpair()
        self.bell.setblocking(False)
        self._wake.setblocking(False)

    def put(self, job: Job | None) -> None:
        """Hand over a job; None closes. Raises RuntimeError for a job once closed."""
        with self.lock:
            if job is None:
                self.closing = True
            elif self.closing:
                raise RuntimeError("the math workers are closed")
            else:
                self.jobs.append(job)
        self.ring()

    def give_up(self, future: Future[Answer]) -> None:
        """Nobody waits for it any more."""
        with self.lock:
            self.given_up.append(future)
        self.ring()

    def ring(self) -> None:
        try:
            self._wake.send(b"!")
        except OSError:
            return  # the bell rings already, or nobody is there to hear it

    def take(self) -> tuple[list[Job], list[Future[Answer]]]:
        """The jobs that have arrived, and what nobody waits for any more."""
        with self.lock:
            jobs, given_up, self.jobs, self.given_up = self.jobs, self.given_up, [], []
        return jobs, given_up

    def shut(self) -> list[Job]:
        """Close for good; what was left."""
        with self.lock:
            self.closing = True
        self.bell.close()
        self._wake.close()
        return self.take()[0]


class Dispatcher:
    """The thread that owns the zygote and its workers."""

    def __init__(self, inbox: Inbox, limits: Limits) -> None:
        self.inbox, self.limits = inbox, limits
        self.selector = selectors.DefaultSelector()
        self.selector.register(inbox.bell, selectors.EVENT_READ)
        self.cheap: list[Job] = []
        self.dear: list[Job] = []
        self.workers: set[Worker] = set()
        self.zygote: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.ready = False
        self.suspect, self.suspect_until = limits.dear, 0.0

    def run(self) -> None:
        try:
            while not self.inbox.closing:
                self.take_arrived()
                self.start_jobs()
                for key, _ in self.selector.select(self.pause()):
                    self.handle(key)
                self.look_after()
        finally:
            self.end()

    def take_arrived(self) -> None:
        jobs, given_up = self.inbox.take()
        for job in jobs:
            heapq.heappush(self.dear if job.cost >= self.limits.dear else self.cheap, job)
        for worker in [worker for worker in self.workers if worker.job is not None and worker.job.future in given_up]:
            self.drop(worker, "error", "given up")

    def handle(self, key: selectors.SelectorKey) -> None:
        if key.fileobj is self.inbox.bell:
            self.inbox.bell.recv(4096)
        elif key.fileobj is self.control:
            assert self.control is not None
            try:
                self.ready = self.control.recv(16) == b"ready"
            except OSError:
                self.ready = False
            if not self.ready:
                self.lose_zygote()
        elif key.data in self.workers:
            self.hear(key.data)

    def start_jobs(self) -> None:
        if not (self.cheap or self.dear):
            return
        if self.zygote is None:
            self.start_zygote()
        if not self.ready:
            return
        while self.ready and self.cheap and self.cheap[0].cost < self.dear_now() and (
                self.busy(demoted=False) < self.limits.front or self.preempt()):
            self.start(heapq.heappop(self.cheap), demoted=False)
        while self.ready and self.busy(demoted=True) < self.limits.back:
            if self.cheap and self.cheap[0].cost >= self.dear_now():
                self.start(heapq.heappop(self.cheap), demoted=True)
            elif self.dear:
                self.start(heapq.heappop(self.dear), demoted=True)
            else:
                break

    @property
    def out_of_time(self) -> str:
        return f"no outcome within {self.limits.cpu_seconds:g} s of work or {self.limits.seconds:g} s"

    def dear_now(self) -> int:
        """The cost from which a job starts demoted: lower for a while after one that looked cheaper was not."""
        return self.suspect if time.monotonic() < self.suspect_until else self.limits.dear

    def busy(self, demoted: bool) -> int:
        return sum(worker.job is not None and worker.demoted == demoted for worker in self.workers)

    def preempt(self) -> bool:
        """Make room in front for the cheapest job that waits, if one that looks far dearer runs there."""
        now = time.monotonic()
        for worker in self.workers:
            if worker.job is not None and not worker.demoted and worker.job.cost >= 2 * self.cheap[0].cost and (
                    now - worker.started >= _MOMENT):
                if self.busy(demoted=True) >= self.limits.demoted:
                    oldest = min((other for other in self.workers if other.demoted and other.job is not None),
                                 key=lambda other: other.started)
                    self.drop(oldest, "timeout", "ended early: too many slow comparisons at once")
                self.demote(worker)
                return True
        return False

    def demote(self, worker: Worker) -> None:
        """Let a worker go on at low priority, and what looks like its job start so for a while."""
        if worker.job is not None and not worker.demoted:
            self.suspect, self.suspect_until = min(self.dear_now(), worker.job.cost), time.monotonic() + _SUSPICION
        worker.step_back(storm=self.busy(demoted=True) > self.limits.front)
        worker.look_at = worker.started + self.limits.seconds + _GRACE

    def start_zygote(self) -> None:
        """From this thread, with which it ends (PR_SET_PDEATHSIG looks at the thread, not at the process)."""
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        script = Path(__file__).with_name("zygote.py")
        command = [sys.executable, "-s", "-P", str(script), str(theirs.fileno()), str(os.getpid()),
                   json.dumps(asdict(self.limits))]
        environment = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        self.zygote = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, start_new_session=True)
        theirs.close()
        self.selector.register(self.control, selectors.EVENT_READ)

    def lose_zygote(self) -> None:
        """The zygote has ended by itself: what waits is told, the next comparison starts another."""
        assert self.zygote is not None and self.control is not None
        self.selector.unregister(self.control)
        self.control.close()
        self.zygote.kill()
        self.zygote.wait()
        self.zygote, self.control, self.ready = None, None, False
        for worker in list(self.workers):
            self.drop(worker, "error", "the worker processes ended")
        for job in (*self.cheap, *self.dear):
            settle(job, "error", "the worker processes ended")
        self.cheap, self.dear = [], []

    def start(self, job: Job, demoted: bool) -> None:
        """Hand a job to a worker, unless nobody waits for it any more."""
        if not job.future.set_running_or_notify_cancel():
            return
        idle = [worker for worker in self.workers if worker.job is None and worker.demoted == demoted]
        try:
            worker = idle[0] if idle else self.fork(demoted)
        except OSError:
            settle(job, "error", "the worker processes ended")
            self.lose_zygote()
            return
        worker.job, worker.started = job, time.monotonic()
        worker.look_at = worker.started + self.limits.patience
        worker.cpu = worker.cpu_seconds() if worker.pid > 0 else 0.0
        try:
            worker.channel.sendall(json.dumps(job.request).encode() + b"\n")
        except OSError:
            self.drop(worker, "error", "the worker process ended")

    def fork(self, demoted: bool) -> Worker:
        assert self.control is not None
        ours, theirs = socket.socketpair()
        socket.send_fds(self.control, [b"fork"], [theirs.fileno()])
        theirs.close()
        worker = Worker(ours)
        worker.demoted = demoted
        self.workers.add(worker)
        self.selector.register(ours, selectors.EVENT_READ, worker)
        return worker

    def hear(self, worker: Worker) -> None:
        try:
            data = worker.channel.recv(65536)
        except OSError:
            data = b""
        if not data:
            late = time.monotonic() - worker.started >= 0.9 * min(self.limits.cpu_seconds, self.limits.seconds)
            self.drop(worker, *(("timeout", self.out_of_time) if late else
                                ("error", "the worker process ended")))
            return
        worker.buffer += data
        *lines, worker.buffer = worker.buffer.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "pid" in message:
                worker.hello(message["pid"])
                continue
            self.inbox.peak_kb = max(self.inbox.peak_kb, message["peak_kb"])
            job, worker.job, worker.look_at = worker.job, None, float("inf")
            worker.served += 1
            self.retire(worker)
            if job is not None:
                job.future.set_result(message)

    def retire(self, worker: Worker) -> None:
        """A worker without a job goes if it is old, has stepped back, or is one demoted too many."""
        spare = sum(other.demoted and other.job is None for other in self.workers)
        too_many = worker.demoted and spare > self.limits.front
        if worker.served >= self.limits.comparisons or worker.stepped_back or too_many:
            self.drop(worker, "", "")

    def drop(self, worker: Worker, reason: str, detail: str) -> None:
        self.selector.unregister(worker.channel)
        self.workers.discard(worker)
        worker.end()
        if worker.job is not None:
            settle(worker.job, reason, detail)

    def pause(self) -> float | None:
        """Seconds until a worker has to be looked after."""
        due = min((worker.look_at for worker in self.workers), default=float("inf"))
        if self.ready and self.cheap and self.cheap[0].cost < self.dear_now():
            due = min(due, time.monotonic() + _MOMENT)
        return None if due == float("inf") else max(0.0, due - time.monotonic())

    def look_after(self) -> None:
        """Demote who has used its patience, end who has outlived its alarm."""
        now = time.monotonic()
        for worker in [worker for worker in self.workers if worker.look_at <= now]:
            if now - worker.started >= self.limits.seconds + _GRACE:
                self.drop(worker, "timeout", self.out_of_time)
                continue
            left = self.limits.patience - (worker.cpu_seconds() - worker.cpu) if worker.pid > 0 else _MOMENT
            room = worker.demoted or self.busy(demoted=True) < self.limits.demoted
            if worker.stepped_back or (left < _MOMENT and room):
                self.demote(worker)
            else:
                worker.look_at = now + max(left, _MOMENT)

    def end(self) -> None:
        ending = [os.dup(worker.handle) for worker in self.workers if worker.handle >= 0]
        for worker in list(self.workers):
            self.drop(worker, "error", "the math workers were closed")
        self.selector.close()
        for job in (*self.cheap, *self.dear, *self.inbox.shut()):
            settle(job, "error", "the math workers were closed")
        if self.zygote is not None and self.control is not None:
            self.control.close()
            self.zygote.kill()
            self.zygote.wait()
        for handle in ending:  # a killed process takes a moment: nothing shall be left after closing
            select.select([handle], [], [], _GRACE)
            os.close(handle)
