"""A process that scores: it loads one function and calls it, for as long as its parent asks.

Started by `verifiers.datasets.score_workers` as a script: `python -P score_worker.py FD CONFIG`. Over the socket FD it
answers JSON lines: a request is {"seconds": ..., "arguments": [...]}, an answer {"value": ...} or {"raised": "..."}.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_GRACE = 2.0  # seconds beyond the limit after which the kernel ends a call whose parent did not


def load(target: str) -> Callable[..., Any]:
    """The function that `FILE.py:NAME` or `package.module.NAME` names."""
    file, _, name = target.rpartition(":")
    if file:
        spec = importlib.util.spec_from_file_location(Path(file).stem, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} is no Python file")
        module = sys.modules[Path(file).stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        package, _, name = target.rpartition(".")
        module = importlib.import_module(package)
    function = getattr(module, name)
    if not callable(function):
        raise TypeError(f"{target} is no function")
    return function  # type: ignore[no-any-return]


def called(function: Callable[..., Any], arguments: list[Any]) -> dict[str, Any]:
    """What came of a call, JSON-able."""
    try:
        value = function(*arguments)
        if not isinstance(value, bool | int | float | str | list | dict | None):
            value = _plain(value)
        return {"value": value}
    except BaseException as error:  # SystemExit too: whatever ends a call is its own failure
        return {"raised": f"{type(error).__name__}: {str(error)[:300]}"}


def _plain(value: Any) -> float:
    """A number of numpy's or the like. What is just above or below 1 must not be rounded to it; bytes are no number."""
    if not hasattr(value, "__float__"):
        raise TypeError(f"{type(value).__name__} is no score")
    if not 0 <= value <= 1:
        raise ValueError(f"{value} is no score in [0, 1]")
    number = float(value)
    return math.nextafter(1.0, 0.0) if number == 1 and value != 1 else number


def main() -> None:
    channel, config = socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2])
    sys.path[:] = config["path"]
    if config["memory_mb"] is not None:
        resource.setrlimit(resource.RLIMIT_AS, (config["memory_mb"] << 20,) * 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle

    def say(answer: dict[str, Any]) -> None:
        channel.sendall(json.dumps(answer).encode() + b"\n")

    try:
        function = load(config["target"])
    except BaseException as error:
        say({"refused": f"{type(error).__name__}: {str(error)[:300]}"})
        return
    say({"ready": True})
    own = os.getpid()
    for line in channel.makefile("rb"):
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, request["seconds"] + _GRACE)
        answer = called(function, request["arguments"])
        if os.getpid() != own:
            os._exit(1)  # forked by the function; the answer is the parent's to give
        signal.setitimer(signal.ITIMER_REAL, 0)
        say({**answer, "to": request["id"]})


if __name__ == "__main__":
    main()
