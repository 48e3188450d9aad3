"""The process that math workers are forked from: sympy imported once, one thread, no torch, an empty environment.

Started by `verifiers.math.workers` as a script: `python -s -P zygote.py FD PARENT LIMITS`. Over the socket FD it
gets one message a worker, with the worker's own channel; it forks, and reaps what has ended. It ends with its parent,
and the workers end with it. A worker answers JSON lines: a request is a comparison, an answer its outcome.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_WARM = (
    (r"\frac{1}{\sqrt2}", r"\frac{\sqrt2}{2}"), ("(x+1)^2", "x^2+2x+1"), ("2x+y=3", "4x+2y=6"),
    ("x<2", r"(-\infty,2)"), (r"\sin^2 x+\cos^2 x", "1"), (r"\ln 8", r"3\ln 2"), (r"\frac{\pi}{3}", r"\frac{\pi}{4}"),
    (r"\sin 2x", r"2\sin x\cos x"), (r"\sqrt{x^2+2x+1}", "|x+1|"), (r"\frac{1}{1+\frac1x}", r"\frac{x}{x+1}"),
    (r"\arctan 1+\arctan 2", r"\pi-\arctan 3"), (r"e^{i\pi}+x", "x-1"), (r"1+\sqrt{3+2\sqrt2}", r"2+\sqrt2"),
)


def outcome(request: dict[str, Any]) -> dict[str, Any]:
    """Compare, and say what came of it: truth (true, false or null), reason and detail."""
    from fractions import Fraction

    from verifiers.math.parser import read
    from verifiers.math.symbolic import SymbolicComparer, seed_of
    from verifiers.math.tolerance import Tolerance
    from verifiers.math.tree import TooLarge, Undefined, Unparsable

    prediction, gold = request["prediction"], request["gold"]
    policy = Tolerance(Fraction(request["relative"]), request["digits"], request["bare_numbers"],
                       None if request["counted"] is None else frozenset(request["counted"]))
    try:
        truth = SymbolicComparer(policy, seed_of(prediction, gold)).equal(read(prediction), read(gold))
    except Unparsable as error:
        return {"truth": None, "reason": "unparsable", "detail": str(error)}
    except Undefined as error:
        return {"truth": None, "reason": "undefined", "detail": str(error)}
    except (TooLarge, MemoryError, RecursionError) as error:
        return {"truth": None, "reason": "too_large", "detail": str(error) or type(error).__name__}
    except (ArithmeticError, NotImplementedError, TypeError, ValueError) as error:  # sympy's ways of giving up
        return {"truth": None, "reason": "undecided", "detail": f"{type(error).__name__}: {str(error)[:200]}"}
    except Exception as error:  # a fault of the checker, told as such
        return {"truth": None, "reason": "error", "detail": f"{type(error).__name__}: {str(error)[:200]}"}
    return {"truth": truth, "reason": "" if truth is not None else "undecided", "detail": ""}


def die_with_parent(parent: int) -> None:
    """SIGKILL for this process once the thread that started it has ended. Ends at once if it has already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def work(channel: socket.socket, zygote: int, limits: dict[str, Any]) -> None:
    """Answer requests until the channel closes. The kernel ends a request that lasts too long, with the worker."""
    die_with_parent(zygote)
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory"], limits["memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    reader = channel.makefile("rb")
    channel.sendall(json.dumps({"pid": os.getpid()}).encode() + b"\n")
    for line in reader:
        signal.setitimer(signal.ITIMER_PROF, limits["cpu_seconds"])
        signal.setitimer(signal.ITIMER_REAL, limits["seconds"])
        answer = outcome(json.loads(line))
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        answer["peak_kb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        channel.sendall(json.dumps(answer).encode() + b"\n")


def serve(control: socket.socket, parent: int, limits: dict[str, Any]) -> None:
    """Fork a worker for every channel that arrives."""
    control.send(b"ready")
    while os.getppid() == parent:
        ready, _, _ = select.select([control], [], [], 1.0)
        reap()
        if not ready:
            continue
        message, handles, _, _ = socket.recv_fds(control, 16, 1)
        if not message:
            return
        zygote = os.getpid()
        if os.fork() == 0:
            control.close()
            try:
                work(socket.socket(fileno=handles[0]), zygote, limits)
            finally:
                os._exit(0)
        os.close(handles[0])


def reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def main() -> None:
    handle, parent, limits = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    die_with_parent(parent)
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    for prediction, gold in _WARM:
        outcome({"prediction": prediction, "gold": gold, "relative": "0", "digits": None, "bare_numbers": False,
                 "counted": None})
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=handle), parent, limits)


if __name__ == "__main__":
    main()
