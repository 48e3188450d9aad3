"""The parent's end of the zygote: starts it, hands it jobs, and learns how each one ended."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from verifiers.jail.isolation import Limits
from verifiers.warden.outer_wall import outer_wall
from verifiers.warden.seccomp_filter import seccomp_program

_SCRIPT = Path(__file__).resolve().parents[1] / "jail" / "zygote.py"
_START_SECONDS = 30.0


@dataclass(frozen=True)
class Ending:
    """How a job ended.

    Attributes:
        how: exited, signaled, timeout (out of time), killed (on demand), or lost (the zygote is gone).
        code: exit status, or minus the signal.
        cpu, wall: seconds used.
        peak: the most memory resident at once, KiB.
    """

    how: str
    code: int = 0
    cpu: float = 0.0
    wall: float = 0.0
    peak: int = 0


@dataclass
class Ticket:
    """A job in flight; `ending` is there once `ended` is set."""

    id: int
    kill: Callable[[], None]
    on_slow: Callable[[Ticket], None]
    ended: threading.Event = field(default_factory=threading.Event)
    ending: Ending = field(default=Ending("lost"))
    preempted: bool = False


class ZygoteProcess:
    """A running zygote. All methods may be called from any thread.

    Attributes:
        missing: what it could not put around itself, and why.
        outer: whether bubblewrap stands around it.

    Raises RuntimeError if it does not start.
    """

    def __init__(self, skip: Sequence[str] = ()) -> None:
        self._lock = threading.Lock()
        self._pending: dict[int, Ticket] = {}
        self._next = 0
        self.lost = False
        self.missing: dict[str, str] = {}
        self.outer = False
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process: subprocess.Popen[bytes] | None = None
        started = threading.Event()
        threading.Thread(target=self._live, args=(theirs, tuple(skip), started), name="zygote", daemon=True).start()
        started.wait()
        if self.lost or self._process is None:
            raise RuntimeError("the sandbox's zygote did not start; what it said stands above")

    def _live(self, theirs: socket.socket, skip: Sequence[str], started: threading.Event) -> None:
        """A thread's work: start the zygote, and listen to it for as long as it lives."""
        try:
            with theirs:
                self._process = self._started(theirs, skip)
            self._control.settimeout(_START_SECONDS)
            data = self._received()
            self._control.settimeout(None)
            self.missing = json.loads(data)["missing"] if data else {}
            self.lost = not data
        finally:
            started.set()
        self._listen()

    def _started(self, theirs: socket.socket, skip: Sequence[str]) -> subprocess.Popen[bytes]:
        python = os.path.realpath(sys.executable)
        wall = outer_wall(python)
        self.outer = bool(wall)
        # A pidfd of this process ends the zygote however this process dies, and not, as PR_SET_PDEATHSIG would, with
        # the thread that started it.
        parent = os.pidfd_open(os.getpid())
        config = {"control": theirs.fileno(), "parent": parent, "skip": list(skip), "filter": seccomp_program().hex()}
        try:
            return subprocess.Popen(
                [*wall, python, "-I", "-S", "-X", "utf8", str(_SCRIPT), json.dumps(config)],
                env={"LD_BIND_NOW": "1"}, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), parent),
            )
        finally:
            os.close(parent)

    @property
    def pid(self) -> int:
        """Of the outermost of its processes."""
        assert self._process is not None
        return self._process.pid

    def spawn(
        self, descriptors: Sequence[int], mechanisms: Sequence[str], limits: Limits, *, slow: bool,
        on_slow: Callable[[Ticket], None],
    ) -> Ticket:
        """Start a job on a channel [and a standard output]; the caller closes its copies of the descriptors.

        on_slow is called, from another thread, when the job turns out to run long.
        """
        with self._lock:
            self._next += 1
            ticket = Ticket(self._next, functools.partial(self._send, {"op": "kill", "id": self._next}), on_slow)
            if self.lost:
                ticket.ended.set()
                return ticket
            self._pending[ticket.id] = ticket
        packet = {"op": "spawn", "id": ticket.id, "mechanisms": mechanisms, "limits": vars(limits), "slow": slow}
        self._send(packet, descriptors)
        return ticket

    def _send(self, packet: dict[str, object], descriptors: Sequence[int] = ()) -> None:
        with contextlib.suppress(OSError):  # lost: the listener says so to every ticket
            socket.send_fds(self._control, [json.dumps(packet).encode()], list(descriptors))

    def close(self) -> None:
        """End the zygote and all its jobs, and wait until they are gone."""
        assert self._process is not None
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the guardian; the kernel sends the rest after it
            self._process.wait()

    def _listen(self) -> None:
        while data := self._received():
            packet = json.loads(data)
            with self._lock:
                ended = packet["op"] == "ended"
                ticket = self._pending.pop(packet["id"]) if ended else self._pending[packet["id"]]
            if ended:
                ticket.ending = Ending(**{key: packet[key] for key in ("how", "code", "cpu", "wall", "peak")})
                ticket.ended.set()
            else:
                ticket.on_slow(ticket)
        with self._lock:
            self.lost = True
            orphans, self._pending = self._pending, {}
        self._control.close()
        for ticket in orphans.values():
            ticket.ended.set()

    def _received(self) -> bytes:
        try:
            return self._control.recv(65536)
        except OSError:
            return b""
