"""What a sandbox could leave behind: processes, descriptors, mounts, files, shared memory."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PLACES = ("/dev/shm", ".")  # /tmp is everybody's: there, what jobs own
RUNNERS = ("pytest", "hypothesis")  # what they keep in the working directory is no job's
JOBS_UID = 1 << 30


def children(pid: int) -> list[int]:
    """Living descendants, the process itself left out."""
    found = []
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        for task in tasks:
            for word in (task / "children").read_text().split():
                found += [int(word), *children(int(word))]
    except (FileNotFoundError, ProcessLookupError):
        pass  # ended meanwhile
    return found


def gone(pids: Iterable[int], seconds: float = 10.0) -> bool:
    """Have all of these ended within some time? One that only waits for its parent to take note has."""
    deadline, left = time.monotonic() + seconds, set(pids)
    while left := {pid for pid in left if (read(f"/proc/{pid}/stat") or ") Z").rpartition(")")[2].split()[0] != "Z"}:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def zygote_of(outermost: int) -> int:
    """The zygote among the processes that a sandbox consists of: within bubblewrap's, if any, and its guardian."""
    family = [outermost, *children(outermost)]
    return [pid for pid in family if Path(f"/proc/{pid}/comm").read_text().strip() != "bwrap"][1]


def read(path: str) -> Any:
    try:
        return Path(path).read_text()
    except OSError:
        return None


def listed(path: str) -> set[str]:
    try:
        return {name for name in os.listdir(path) if not any(runner in name for runner in RUNNERS)}
    except OSError:
        return set()


def descriptors(pid: int) -> set[str]:
    """What a process holds open, number and object of each: one opened since is new, whatever else was closed."""
    held = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # listdir's own, or closed by another thread
            held.add(f"{number} {os.readlink(f'/proc/{pid}/fd/{number}')}")
    return held


def owner(path: str) -> int:
    try:
        return os.lstat(path).st_uid
    except OSError:
        return -1  # somebody else has just removed it


def numbers(path: str, column: int, titles: int = 0) -> set[str]:
    """Who is in a table of the kernel's."""
    return {line.split()[column] for line in (read(path) or "").splitlines()[titles:]}


def snapshot(*pids: int) -> dict[str, Any]:
    """Everything there is now: of this process, and of these others.

    What others may be making and removing at the same time is a set: other tests, and what earlier ones left to end.
    """
    own = os.getpid()
    seen: dict[str, Any] = {f"descriptors of {own}": descriptors(own)}
    seen |= {f"descriptors of {pid}": len(descriptors(pid)) for pid in pids}  # a zygote exchanges some for others
    seen |= {f"mounts of {pid}": read(f"/proc/{pid}/mountinfo") for pid in (own, *pids)}
    seen |= {f"files in {place}": listed(place) for place in PLACES}
    seen["files of jobs"] = {name for name in os.listdir("/tmp") if owner(f"/tmp/{name}") >= JOBS_UID}
    seen |= {f"shared {kind}": numbers(f"/proc/sysvipc/{kind}", column=1, titles=1) for kind in ("shm", "msg", "sem")}
    return seen | {"processes": set(children(own)), "keys": numbers("/proc/keys", column=0)}


def difference(before: dict[str, Any], *pids: int, seconds: float = 5.0) -> dict[str, Any]:
    """What is otherwise than before, once things have had a moment to settle: {what: (before, after)}.

    Of sets, what is new; what was there before and is gone was not ours.
    """
    deadline = time.monotonic() + seconds
    while True:
        after = snapshot(*pids)
        changed = {what: (old, after[what]) for what, old in before.items()
                   if (after[what] - old if isinstance(old, set) else after[what] != old)}
        if not changed or time.monotonic() > deadline:
            return changed
        time.sleep(0.005)
