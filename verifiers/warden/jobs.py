"""Jobs for the sandbox and what comes of them, and the dialogue with a running job."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from verifiers.jail import values
from verifiers.jail.values import Tree
from verifiers.warden.zygote_process import Ending

MAX_OUTPUT = 1_000_000  # bytes of standard output


class Kind(str, Enum):
    """What came of a job. From RAISED on the program is at fault, except for ERROR, which is ours."""

    VALUE = "value"
    DONE = "done"
    PASSED = "passed"
    FAILED = "failed"
    RAISED = "raised"
    DIED = "died"
    TOO_LARGE = "too large"
    UNPARSABLE = "unparsable"
    TIMEOUT = "timeout"
    ERROR = "error"


@dataclass(frozen=True)
class Call:
    """Run a program, then call one function of it, with trees for arguments: VALUE."""

    program: str
    entry_point: str
    args: tuple[Tree, ...] = ()
    kwargs: tuple[tuple[str, Tree], ...] = ()

    @classmethod
    def of(cls, program: str, entry_point: str, *args: Any, **kwargs: Any) -> Call:
        """A call with plain values. Raises values.TooLarge."""
        named = tuple((name, values.encode(value)) for name, value in kwargs.items())
        return cls(program, entry_point, tuple(map(values.encode, args)), named)


@dataclass(frozen=True)
class Script:
    """Run a program as __main__ with this standard input: DONE, with what it printed."""

    program: str
    stdin: str = ""


@dataclass(frozen=True)
class Check:
    """Run trusted code that calls `entry_point` (also named `candidate`) and asserts: PASSED or FAILED.

    Attributes:
        prelude: trusted code that it may use, such as the prompt of a HumanEval problem.
        code: the assertions, or the definition of a function that makes them.
        entry_point: the name under which it calls the program.
        call: the function to call with the candidate; empty if the code asserts by itself.
        answer: called for every call, with trees; returns the frame to answer with, or None to give up.
    """

    prelude: str
    code: str
    entry_point: str
    call: str
    answer: Callable[[list[Tree], dict[str, Tree]], dict[str, Any] | None]


Job = Call | Script | Check


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        kind: see Kind.
        detail: one line for people, which may quote the program.
        value: of a VALUE.
        raised: of a RAISED, the builtin exception that it was, or was derived from; '' for none.
        stdout: what a script printed, whatever came of it.
        cpu_seconds, wall_seconds, peak_mb: used.
    """

    kind: Kind
    detail: str = ""
    value: Tree = None
    raised: str = ""
    stdout: str = ""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_mb: float = 0.0


@dataclass
class Answer:
    """What a job said: whether its walls stood, its last frame, and what it printed.

    `broken` says what is wrong with it where it is no answer; the job must then be killed.
    """

    ready: bool = False
    frame: dict[str, Any] | None = None
    stdout: str = ""
    broken: Outcome | None = None


def converse(job: Job, channel: socket.socket, printed: int) -> Answer:
    """Tell a job what to do, answer what it asks, hear what came of it; returns when it has answered or ended."""
    answer, frames = Answer(), _Frames(channel, patient=isinstance(job, Call))
    try:
        _send(channel, _request(job))
        first = frames.next()
        answer.ready, answer.frame = first == {"ready": True}, first
        if printed >= 0:
            answer.stdout = _all_printed(printed)
        while answer.ready:
            answer.frame = frames.next()
            if not (isinstance(job, Check) and answer.frame and "call" in answer.frame):
                return answer
            reply = _asked(job, answer.frame["call"])
            if reply is None:
                answer.broken = Outcome(Kind.FAILED, "given up")
                return answer
            _send(channel, reply)
    except _Excess as excess:
        answer.broken = Outcome(Kind.TOO_LARGE, str(excess))
    except values.Malformed as error:
        answer.broken = Outcome(Kind.DIED, f"an answer that is none: {error}")
    return answer


def judged(job: Job, answer: Answer, ending: Ending) -> Outcome:
    """The outcome, from what a job said and how it ended."""
    return replace(
        _come_of(job, answer, ending), stdout=answer.stdout, cpu_seconds=ending.cpu, wall_seconds=ending.wall,
        peak_mb=ending.peak / 1024,
    )


def _come_of(job: Job, answer: Answer, ending: Ending) -> Outcome:
    if ending.how == "lost":
        return Outcome(Kind.ERROR, "the zygote was lost")
    if not answer.ready:
        frame = answer.frame or {}
        reason = f"{frame['missing']}: {frame['reason']}" if "missing" in frame else f"{ending.how}, {ending.code}"
        return Outcome(Kind.ERROR, f"a job did not get ready: {reason}")
    if ending.how == "timeout":
        return Outcome(Kind.TIMEOUT, f"out of time: {ending.cpu:.2f} s of work in {ending.wall:.2f} s")
    if answer.broken:
        return answer.broken
    if ending.how == "exited" and ending.code == 0:
        if answer.frame is not None:
            return _said(job, answer.frame)
        if isinstance(job, Script):
            return Outcome(Kind.DONE)  # os._exit(0)
    return Outcome(Kind.DIED, f"ended without an answer: {ending.how}, {ending.code}")


def _said(job: Job, frame: dict[str, Any]) -> Outcome:
    match frame:
        case {"value": tree} if isinstance(job, Call):
            try:
                return Outcome(Kind.VALUE, value=values.validated(tree))
            except values.Malformed as error:
                return Outcome(Kind.DIED, f"an answer that is none: {error}")
        case {"done": True} if isinstance(job, Script):
            return Outcome(Kind.DONE)
        case {"passed": True} if isinstance(job, Check):
            return Outcome(Kind.PASSED)
        case {"failed": str(detail)} if isinstance(job, Check):
            return Outcome(Kind.FAILED, detail[:300])
        case {"raised": str(name), "of": str(builtin), "detail": str(detail)}:
            told = f"{name[:100]}: {detail[:300]}" if detail else name[:100]
            return Outcome(Kind.RAISED, told, raised=builtin[:100])
        case {"unparsable": str(reason)}:
            return Outcome(Kind.UNPARSABLE, reason[:300])
        case {"too_large": str(reason)}:
            return Outcome(Kind.TOO_LARGE, reason[:300])
    return Outcome(Kind.DIED, "an answer that is none")


def _request(job: Job) -> dict[str, Any]:
    match job:
        case Call(program, entry_point, args, kwargs):
            return {"kind": "call", "program": program, "entry_point": entry_point,
                    "args": list(args), "kwargs": dict(kwargs)}
        case Script(program, stdin):
            return {"kind": "script", "program": program, "stdin": stdin}
        case Check(prelude, code, entry_point, call, _):
            return {"kind": "check", "prelude": prelude, "code": code, "entry_point": entry_point, "call": call}


def _asked(job: Check, call: object) -> dict[str, Any] | None:
    match call:
        case {"args": list(args), "kwargs": dict(kwargs)}:
            return job.answer(
                [values.validated(tree) for tree in args],
                {name: values.validated(tree) for name, tree in kwargs.items()},
            )
    raise values.Malformed("no call")


class _Excess(Exception):
    """More was said than anyone needs."""


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    data = values.dump(message)
    with contextlib.suppress(OSError):  # it has ended meanwhile, which the next read says
        channel.sendall(struct.pack(">I", len(data)) + data)


class _Frames:
    """Frames as they come in. A patient reader wakes up once, at the end or when its buffer is full."""

    def __init__(self, channel: socket.socket, *, patient: bool) -> None:
        self._channel, self._flags = channel, socket.MSG_WAITALL if patient else 0
        self._data = b""

    def next(self) -> dict[str, Any] | None:
        """The next frame, or None at the end. Raises Malformed, _Excess."""
        if not self._hold(4):
            return None
        (length,) = struct.unpack(">I", self._data[:4])
        if length > values.MAX_FRAME:
            raise _Excess(f"an answer of {length} bytes")
        if not self._hold(4 + length):
            return None
        frame, self._data = self._data[4 : 4 + length], self._data[4 + length :]
        return values.load(frame)

    def _hold(self, count: int) -> bool:
        """Read until there are so many bytes; False if it ends before."""
        parts, held = [self._data], len(self._data)
        while held < count:
            try:
                part = self._channel.recv(1 << 16, self._flags)
            except OSError:
                part = b""
            if not part:
                return False
            parts.append(part)
            held += len(part)
        self._data = b"".join(parts)
        return True


def _all_printed(descriptor: int) -> str:
    data = b""
    while part := os.read(descriptor, 1 << 16):
        data += part
        if len(data) > MAX_OUTPUT:
            raise _Excess(f"more than {MAX_OUTPUT} bytes of output")
    return data.decode("utf-8", "replace")
