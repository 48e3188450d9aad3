"""The sandbox of this process: started when first needed, shared by all that run programs."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Sequence

from verifiers.sandbox import Sandbox, SandboxRefused

_sandboxes: dict[tuple[int, tuple[str, ...]], Sandbox | SandboxRefused] = {}
_lock = threading.Lock()


def shared_sandbox(allow_degraded: Sequence[str] = ()) -> Sandbox:
    """This process's sandbox; a forked child gets its own. Raises SandboxRefused, every time if once.

    Args:
        allow_degraded: mechanisms that may be missing; each choice has a sandbox of its own.
    """
    key = os.getpid(), tuple(allow_degraded)
    with _lock:
        if key not in _sandboxes:
            try:
                _sandboxes[key] = Sandbox(allow_degraded=allow_degraded)
            except SandboxRefused as error:
                _sandboxes[key] = error
        found = _sandboxes[key]
    if isinstance(found, SandboxRefused):
        raise found
    return found


@atexit.register
def close_sandboxes() -> None:
    """End the sandboxes of this process; the next program starts one anew."""
    with _lock:
        for (owner, _), found in _sandboxes.items():
            if isinstance(found, Sandbox) and owner == os.getpid():
                found.close()
        _sandboxes.clear()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_after_fork)
