"""Killable processes for scoring functions that are trusted but may hang, raise, or take all memory.

No sandbox: the code is the user's own, or a package's that was looked at. Each process loads the function once and is
asked again and again; one that does not answer in time is killed with all it started, and a fresh one takes its place.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).resolve().parent / "score_worker.py"
_START_SECONDS = 60.0
_MAX_ANSWER = 64_000_000  # bytes


class Fate(str, Enum):
    """What became of a call."""

    VALUE = "value"
    RAISED = "raised"
    TIMEOUT = "timeout"
    LOST = "lost"  # the process ended under it
    REFUSED = "refused"  # the function cannot be loaded


@dataclass(frozen=True)
class Reply:
    """What a call came to: its value where the fate is VALUE, else one line about what went wrong."""

    fate: Fate
    value: Any = None
    detail: str = ""


class ScoreWorkers:
    """A pool of processes that call one function. Thread-safe; processes start when first needed.

    Args:
        target: `FILE.py:FUNCTION` or `package.module.FUNCTION`.
        seconds: on the clock, for one call that names no other limit.
        memory_mb: of address space, MiB; None: no limit.
        size: processes at most.
        environment: variables to set for them.
    """

    def __init__(
        self, target: str, seconds: float, memory_mb: int | None = None, size: int = 2,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.target, self.seconds, self.memory_mb = target, seconds, memory_mb
        self._environment = dict(environment or {})
        self._size = size
        self._begin()

    def call(self, *arguments: Any, seconds: float | None = None) -> Reply:
        """Call the function with JSON-able arguments; waits for its place, then at most `seconds`. Never raises.

        Args:
            seconds: a limit for this call alone.
        """
        if os.getpid() != self._owner:
            self._leave_to_parent()
        with self._places:
            try:
                process = self._ready()
            except _Refused as refusal:
                return Reply(Fate.REFUSED, detail=str(refusal))
            try:
                reply = process.ask(arguments, self.seconds if seconds is None else seconds)
            except BaseException:  # Ctrl-C: nobody will hear its answer
                process.kill()
                raise
            if reply.fate in (Fate.VALUE, Fate.RAISED):
                self._idle.append(process)
            else:
                process.kill()
            return reply

    def _begin(self) -> None:
        self._places = threading.BoundedSemaphore(self._size)
        self._idle: list[_Process] = []
        self._owner = os.getpid()
        self._finalizer = weakref.finalize(self, _end, self._idle)

    def _leave_to_parent(self) -> None:
        """In a forked process: the processes so far are the parent's, and are not ended here."""
        self._finalizer.detach()
        for process in self._idle:
            process.leave()
        self._begin()

    def _ready(self) -> _Process:
        """An idle process that still lives, or a new one: who died between two calls is no fault of the next."""
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                return process
            process.kill()
        return _Process(self)

    def close(self) -> None:
        """End all idle processes; a later call starts new ones."""
        _end(self._idle)

    def config(self) -> str:
        return json.dumps({"target": self.target, "memory_mb": self.memory_mb, "path": sys.path})

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self._environment}


class _Refused(Exception):
    """The function cannot be loaded."""


class _Process:
    """One process, ready to be asked. Raises _Refused."""

    def __init__(self, pool: ScoreWorkers) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_SCRIPT), str(theirs.fileno()), pool.config()], env=pool.environment(),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._buffer = bytearray()
        try:
            hello = self._line(time.monotonic() + _START_SECONDS)
        except (OSError, ValueError) as error:
            self.kill()
            raise _Refused(f"{pool.target} could not be loaded in {_START_SECONDS:.0f} s: {error}") from error
        if "ready" not in hello:
            self.kill()
            raise _Refused(f"{pool.target} cannot be loaded: {hello.get('refused', 'it says nothing')}")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def leave(self) -> None:
        """Let go of it without ending it."""
        self._channel.close()
        self._process.returncode = 0  # not waited for: it is another process's child

    def ask(self, arguments: tuple[Any, ...], seconds: float) -> Reply:
        deadline = time.monotonic() + seconds
        try:
            self._channel.settimeout(seconds)
            request = secrets.token_hex(8)
            asked = {"id": request, "seconds": seconds, "arguments": arguments}
            self._channel.sendall(json.dumps(asked).encode() + b"\n")
            answer = self._line(deadline)
        except TimeoutError:
            return Reply(Fate.TIMEOUT, detail=f"no score in {seconds:g} s")
        except (OSError, ValueError) as error:
            return Reply(Fate.LOST, detail=str(error))
        if not isinstance(answer, dict) or answer.get("to") != request or self._buffer:
            return Reply(Fate.LOST, detail="the scoring process said what nobody had asked for")
        if "raised" in answer:
            return Reply(Fate.RAISED, detail=str(answer["raised"]))
        return Reply(Fate.VALUE, answer.get("value"))

    def kill(self) -> None:
        """End it and all it started."""
        self._channel.close()
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _line(self, deadline: float) -> dict[str, Any]:
        """The next answer. Raises TimeoutError; OSError or ValueError where there is none."""
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("out of time")
            self._channel.settimeout(left)
            part = self._channel.recv(1 << 16)
            if not part:
                raise ConnectionError("the scoring process ended without an answer")
            self._buffer += part
            if len(self._buffer) > _MAX_ANSWER:
                raise ValueError(f"an answer of more than {_MAX_ANSWER} bytes")
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = rest
        answer: dict[str, Any] = json.loads(line)
        return answer


def _end(processes: list[_Process]) -> None:
    while processes:
        processes.pop().kill()
