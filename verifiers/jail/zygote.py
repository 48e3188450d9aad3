"""The zygote: a small process, started as `python -I -S zygote.py CONFIG`, that forks a fresh process for every job.

It never sees a program, an input or an answer: those travel on a channel of the job's own, whose one end it hands to
the job and forgets. It knows the jobs' process ids, kills what is out of time, and reports how each one ended.

CONFIG is JSON: control (descriptor of a SOCK_SEQPACKET socket), parent (descriptor of the parent's pidfd), skip
(mechanisms to leave out) and filter (seccomp instructions, in hex). Packets are JSON both ways:

    in:  {"op": "spawn", "id", "mechanisms", "limits", "slow"} with descriptors: channel[, standard output]
         {"op": "kill", "id"}
    out: {"op": "ready", "missing": {mechanism: reason}}
         {"op": "slow", "id"}             it has become a long runner, and runs with low priority from now on
         {"op": "ended", "id", "how": "exited|signaled|timeout|killed", "code", "cpu", "wall" [s], "peak" [KiB]}
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

_REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, _REPOSITORY)
from verifiers.jail import isolation, kernel, rooms, runner  # noqa: E402
from verifiers.jail.pressure import Pressure  # noqa: E402

sys.path.remove(_REPOSITORY)

SLOW_CPU, SLOW_WALL = 0.01, 0.1  # a test takes two milliseconds; beyond these it is a long runner [s]
NICE = 10  # of long runners: a tenth of the weight of the others, so that nothing starves and nothing is held up
TICK = 0.005
PREPARED = 16  # rooms
# What programs often import, read once before any fork; what is large or seldom needed would make all forks slower.
PRELOADED = ("collections", "copy", "dataclasses", "functools", "heapq", "itertools", "math", "operator", "re",
             "typing")
# What canaries import besides. Without a root of its own a job may be unable to reach the library, being nobody.
OUT_OF_REACH = ("ctypes", "errno", "mmap", "socket", "threading")


@dataclass
class Job:
    """A running job."""

    id: int
    pid: int
    pidfd: int
    room: rooms.Room
    limits: isolation.Limits
    slow: bool
    stalled: float  # of the machine, when it started
    started: float = field(default_factory=time.monotonic)
    killed: str = ""  # why, if the zygote did it

    def cpu(self) -> float:
        """Seconds of processor time so far, of all threads (clock_getcpuclockid(3))."""
        return time.clock_gettime(~self.pid << 3 | 2)

    def kill(self, why: str) -> None:
        if not self.killed:
            self.killed = why
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)


class Zygote:
    """The event loop."""

    def __init__(
        self, control: socket.socket, parent: int, walls: isolation.Walls, places: rooms.Rooms, program: bytes,
        pressure: Pressure,
    ) -> None:
        self.control, self.walls, self.places, self.program = control, walls, places, program
        self.jobs: dict[int, Job] = {}
        self.pressure = pressure
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ, self.receive)
        self.selector.register(parent, selectors.EVENT_READ, lambda: os._exit(0))

    def run(self) -> None:
        while True:
            timeout = None if not self.jobs else TICK
            for key, _ in self.selector.select(timeout):
                key.data()
            self.watch()

    def send(self, **packet: object) -> None:
        self.control.send(json.dumps(packet).encode())

    def receive(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self.control, 65536, 2)
        if not data:
            os._exit(0)  # the parent is gone; as the first process of its namespace this one takes all jobs along
        packet = json.loads(data)
        if packet["op"] == "spawn":
            self.spawn(packet, descriptors)
        elif packet["id"] in self.jobs:
            self.jobs[packet["id"]].kill("killed")

    def spawn(self, packet: dict[str, Any], descriptors: list[int]) -> None:
        limits, own_pids = isolation.Limits(**packet["limits"]), self.walls.own_pids
        room = self.places.take(limits.scratch_bytes)
        apart = own_pids >= 0 and "pid" in packet["mechanisms"]
        if apart:
            kernel.unshare(kernel.NEWPID)
        pid = os.fork()
        if pid == 0:
            self.become(packet["mechanisms"], limits, room, descriptors)
        if apart:
            kernel.set_namespace(own_pids, kernel.NEWPID)
        for descriptor in descriptors:
            os.close(descriptor)
        job = Job(packet["id"], pid, os.pidfd_open(pid), room, limits, packet["slow"], self.pressure.stalled())
        if job.slow:
            self.lower(os.PRIO_PROCESS, job)
        self.jobs[job.id] = job
        self.selector.register(job.pidfd, selectors.EVENT_READ, lambda: self.reap(job))

    def become(self, mechanisms: list[str], limits: isolation.Limits, room: rooms.Room, descriptors: list[int]) -> None:
        """In the child: the job. Never returns, whatever happens."""
        try:
            # Copies above all that is open, then down to where a job expects them: 0 to 2 and the channel at 3.
            null = os.open(os.devnull, os.O_RDWR)  # a fresh one: flags on a shared one would last from job to job
            high = [os.dup2(descriptor, 500 + i) for i, descriptor in enumerate([*descriptors[1:], null, null][:2])]
            channel = os.dup2(descriptors[0], 502)
            os.dup2(null, 0)
            os.dup2(high[0], 1)
            os.dup2(high[1], 2)
            os.dup2(channel, 3)
            signal.set_wakeup_fd(-1)
            try:
                isolation.enter(self.walls, mechanisms, limits, room, self.program)
            except isolation.Missing as missing:
                runner.report_missing(3, missing.mechanism, missing.reason)
                os._exit(1)
            os.closerange(4, 4096)
            runner.serve(3)
        finally:
            os._exit(70)

    def watch(self) -> None:
        """Kill what is out of time, and lower the priority of what takes long."""
        now = time.monotonic()
        for job in self.jobs.values():
            wall = now - job.started
            if wall < TICK or job.killed:
                continue
            cpu = job.cpu()
            if cpu >= job.limits.cpu_seconds or (
                    wall >= job.limits.wall_seconds and job.limits.over(wall, self.pressure.stalled() - job.stalled)):
                job.kill("timeout")
            elif not job.slow and (cpu >= SLOW_CPU or wall >= SLOW_WALL):
                job.slow = True
                self.lower(os.PRIO_PGRP, job)  # its group is all its threads
                self.send(op="slow", id=job.id)

    @staticmethod
    def lower(which: int, job: Job) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.setpriority(which, job.pid, max(NICE, os.nice(0)))  # never up, which takes privileges

    def reap(self, job: Job) -> None:
        _, status, usage = os.wait4(job.pid, 0)
        self.selector.unregister(job.pidfd)
        os.close(job.pidfd)
        del self.jobs[job.id]
        self.places.give_back(job.room)
        code = os.waitstatus_to_exitcode(status)
        how = job.killed if job.killed and code == -signal.SIGKILL else "exited" if code >= 0 else "signaled"
        self.send(op="ended", id=job.id, how=how, code=code, cpu=usage.ru_utime + usage.ru_stime,
                  wall=time.monotonic() - job.started, peak=usage.ru_maxrss)


def main() -> None:
    config = json.loads(sys.argv[1])
    control = socket.socket(fileno=config["control"])
    with open("/proc/self/oom_score_adj", "w") as badness:
        badness.write("500")  # when memory runs out, jobs and not what asked for them
    nested, missing = isolation.enter_namespaces(config["skip"])
    child = os.fork() if "pid" not in missing else 0
    if child:  # outside, the guardian: with it the zygote ends, and with the zygote every job
        control.close()
        os.waitpid(child, 0)
        os._exit(0)
    pressure = Pressure()
    own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY) if "pid" not in missing else -1
    readable = isolation.readable_paths()
    scratch = isolation.scratch_path(readable)
    namespaces = os.open("/proc/self/ns", os.O_RDONLY | os.O_DIRECTORY)
    if "mount" not in missing:
        try:
            isolation.build_root(readable, scratch)
        except OSError as error:
            missing["mount"] = str(error)
    if "pid" not in missing:
        kernel.die_with_parent(signal.SIGKILL)
    os.environ.clear()  # of what the loader was told
    for name in (*PRELOADED, *(OUT_OF_REACH if "mount" in missing else ())):
        importlib.import_module(name)
    runner.warm_up()
    gc.collect()
    gc.freeze()
    kernel.bound_capabilities()
    walls = isolation.Walls(nested, isolation.first_uid(), isolation.opened(readable), scratch, own_pids)
    places = rooms.Rooms(isolation.SLOTS, "" if "mount" in missing else scratch,
                         None if nested else walls.first_uid, namespaces)
    places.prepare(PREPARED, isolation.Limits().scratch_bytes)
    zygote = Zygote(control, config["parent"], walls, places, bytes.fromhex(config["filter"]), pressure)
    zygote.send(op="ready", missing=missing)
    zygote.run()


if __name__ == "__main__":
    main()
