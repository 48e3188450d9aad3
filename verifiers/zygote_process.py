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
from dataclasses import asdict, dataclass, field
from pathlib import Path

from verifiers.jail.isolation import Limits
from verifiers.seccomp_filter import seccomp_program

_SCRIPT = Path(__file__).resolve().parent / "jail" / "zygote.py"
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
    """

    def __init__(self, skip: Sequence[str] = ()) -> None:
        self._lock = threading.Lock()
        self._pending: dict[int, Ticket] = {}
        self._next = 0
        self.lost = False
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Ends with this process however that dies, and not, as PR_SET_PDEATHSIG would, with the thread that started it.
        parent = os.pidfd_open(os.getpid())
        config = {"control": theirs.fileno(), "parent": parent, "skip": list(skip), "filter": seccomp_program().hex()}
        with theirs:
            self._process = subprocess.Popen(
                [os.path.realpath(sys.executable), "-I", "-S", "-X", "utf8", str(_SCRIPT), json.dumps(config)],
                env={}, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), parent),
            )
        os.close(parent)
        self._control.settimeout(_START_SECONDS)
        data = self._control.recv(65536)
        if not data:
            self._process.wait()
            raise RuntimeError("the sandbox's zygote ended while starting; what it said stands above")
        self._control.settimeout(None)
        self.missing: dict[str, str] = json.loads(data)["missing"]
        threading.Thread(target=self._listen, name="zygote", daemon=True).start()

    @property
    def pid(self) -> int:
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
        packet = {"op": "spawn", "id": ticket.id, "mechanisms": list(mechanisms), "limits": asdict(limits),
                  "slow": slow}
        self._send(packet, descriptors)
        return ticket

    def _send(self, packet: dict[str, object], descriptors: Sequence[int] = ()) -> None:
        with contextlib.suppress(OSError):  # lost: the listener says so to every ticket
            socket.send_fds(self._control, [json.dumps(packet).encode()], list(descriptors))

    def close(self) -> None:
        """End the zygote and all its jobs, and wait until they are gone."""
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
