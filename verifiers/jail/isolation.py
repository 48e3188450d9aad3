"""The walls: what the zygote puts around itself once, and what every job puts around itself before it runs anything.

The zygote enters namespaces of its own, in a user namespace unless it may do so without, and makes a new root of
read-only mounts: Python's standard library, the shared libraries, /dev/null. A job adds a process namespace, a
size-capped scratch directory that nobody has seen before, limits, a user of its own, Landlock and seccomp.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from verifiers.jail import kernel
from verifiers.jail.rooms import Room

# In the order in which a job applies them. A job can be told to leave some out: canaries prove the others that way.
MECHANISMS = ("mount", "pid", "net", "ipc", "uid", "capabilities", "no_new_privs", "landlock", "rlimits", "seccomp")
_STAGE = "/tmp"  # where the new root is put together; any directory would do
_FIRST_UID = 1 << 30  # far from users: below it lie accounts and the ranges of containers
SLOTS = 256  # jobs at once of one zygote
_NAMESPACES = {"mount": kernel.NEWNS, "pid": kernel.NEWPID, "net": kernel.NEWNET,
               "ipc": kernel.NEWIPC | kernel.NEWUTS}


BUSY = 3.0


@dataclass(frozen=True)
class Limits:
    """What one job may use. What it needs beyond is refused to it, except time: then it is killed.

    Attributes:
        cpu_seconds: processor time of all its threads.
        wall_seconds: time on the clock from its start, not counting (up to BUSY times) that in which the machine was
            short of processors; generous, for a busy machine is no fault of a program.
        memory_bytes: of address space; a fresh job already has about 50 MB.
        scratch_bytes: of all files in its scratch directory, and of any one file.
        threads: at once.
        files: descriptors at once.
    """

    cpu_seconds: float = 2.0
    wall_seconds: float = 10.0
    memory_bytes: int = 512 * 1024 * 1024
    scratch_bytes: int = 16 * 1024 * 1024
    threads: int = 16
    files: int = 64

    @property
    def longest(self) -> float:
        """Seconds on the clock after which it ends, however busy the machine is."""
        return BUSY * self.wall_seconds

    def over(self, wall: float, stalled: float) -> bool:
        """Is the time on the clock over? What waited while the machine was short of processors may have been this very
        job, so that time does not count; up to a limit, so that what only sleeps ends on a busy machine too."""
        return wall >= self.longest or wall - stalled >= self.wall_seconds


class Missing(Exception):
    """A mechanism that could not be put in place: its name and why."""

    def __init__(self, mechanism: str, reason: str) -> None:
        super().__init__(f"{mechanism}: {reason}")
        self.mechanism, self.reason = mechanism, reason


@dataclass(frozen=True)
class Walls:
    """What a zygote has put around itself.

    Attributes:
        nested: it lives in a user namespace, so that a job hides in a further one instead of taking a user id.
        first_uid: of its jobs, else; no other zygote of this machine uses them.
        open: (descriptor, Landlock's rights) of what jobs may read; opened here, for a path may lead through
            directories that are closed to them.
        scratch: the directory that a job may write in, and finds itself in.
        own_pids: a descriptor of its own process namespace; -1 where jobs get none of their own.
    """

    nested: bool
    first_uid: int
    open: tuple[tuple[int, int], ...]
    scratch: str
    own_pids: int


def privileged() -> bool:
    """May this process make namespaces and take any user id? (Root is not enough: containers take both away.)"""
    with open("/proc/self/status") as status:
        held = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff"))
    with open("/proc/self/uid_map") as uids:
        everybody = uids.read().split() == ["0", "0", str(2**32 - 1)]
    # CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN
    return os.geteuid() == 0 and everybody and all(held >> capability & 1 for capability in (6, 7, 21))


def enter_namespaces(skip: Sequence[str]) -> tuple[bool, dict[str, str]]:
    """The zygote's namespaces: (nested in a user namespace?, what is missing and why)."""
    nested, missing = not privileged(), {name: "left out" for name in skip}
    if nested:
        uid, gid = os.geteuid(), os.getegid()
        try:
            kernel.unshare(kernel.NEWUSER)
            for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(text)
        except OSError as error:
            return nested, {**missing, **{name: f"user namespace: {error}" for name in (*_NAMESPACES, "uid")}}
    for name, flag in _NAMESPACES.items():
        if name not in missing:
            try:
                kernel.unshare(flag)
            except OSError as error:
                missing[name] = str(error)
    return nested, missing


def scratch_path(readable: Sequence[str]) -> str:
    """Where programs look for a place to write, unless this Python lives beneath it."""
    return "/scratch" if any(path.startswith("/tmp/") for path in readable) else "/tmp"


def build_root(paths: Sequence[str], scratch: str) -> None:
    """Change to a root that holds only these paths, read-only, and an empty directory. Needs a mount namespace.

    Raises OSError.
    """
    kernel.make_private()
    trees = {path: kernel.clone_tree(path, devices=path == os.devnull) for path in paths}
    links = {path: os.readlink(path) for path in ("/lib", "/lib64") if os.path.islink(path)}
    kernel.mount_tmpfs(_STAGE, "mode=755,size=1m")
    for path, tree in trees.items():
        inside = _STAGE + path
        if path == os.devnull:
            os.makedirs(os.path.dirname(inside))
            os.close(os.open(inside, os.O_CREAT | os.O_WRONLY, 0o644))
        else:
            os.makedirs(inside, exist_ok=True)
        kernel.attach(tree, inside)
        os.close(tree)
    for path, target in links.items():
        os.symlink(target, _STAGE + path)
    os.makedirs(_STAGE + scratch, exist_ok=True)
    kernel.change_root(_STAGE)
    kernel.make_read_only("/")


def readable_paths() -> tuple[str, ...]:
    """The standard library, the directories of the shared libraries in use, and /dev/null; none within another."""
    with open("/proc/self/maps") as maps:
        libraries = {line.split(maxsplit=5)[5].strip() for line in maps if ".so" in line}
    found = {os.path.dirname(os.path.realpath(path)) for path in libraries if path.startswith("/")}
    found |= {os.path.dirname(os.path.realpath(os.__file__)), os.path.dirname(os.__file__)}
    kept = {path for path in found if not any(path != other and path.startswith(f"{other}/") for other in found)}
    return (*sorted(kept), os.devnull)


def enter(walls: Walls, mechanisms: Sequence[str], limits: Limits, room: Room, program: bytes) -> None:
    """A job's own walls, in this process, for good; the zygote has already given it a process namespace.

    Raises Missing for the first mechanism that cannot be put in place.
    """
    os.setsid()  # signals to "its group" must not reach the zygote
    steps: dict[str, Callable[[], None]] = {
        "mount": lambda: _move_in(walls.scratch, room),
        "uid": lambda: kernel.unshare(kernel.NEWUSER) if walls.nested else _become(walls.first_uid + room.number),
        "capabilities": kernel.drop_capabilities,
        "no_new_privs": _settle,
        "landlock": lambda: _landlock(walls, "mount" in mechanisms),
        "rlimits": lambda: _rlimits(limits),
        "seccomp": lambda: kernel.filter_calls(program),
    }
    for name in mechanisms:
        if name in steps:
            try:
                steps[name]()
            except (OSError, ValueError) as error:
                raise Missing(name, str(error)) from error


def _move_in(path: str, room: Room) -> None:
    kernel.set_namespace(room.namespace, kernel.NEWNS)
    os.chdir(path)


def _rlimits(limits: Limits) -> None:
    seconds = int(limits.cpu_seconds) + 2  # the zygote measures more finely; this is for when it cannot
    for kind, limit in (
        (resource.RLIMIT_AS, limits.memory_bytes), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, limits.scratch_bytes), (resource.RLIMIT_NOFILE, limits.files),
        # Only once the user is the job's own: a nested namespace would take it as the limit of all jobs together.
        (resource.RLIMIT_NPROC, limits.threads),
        (resource.RLIMIT_STACK, 8 * 1024 * 1024), (resource.RLIMIT_MEMLOCK, 0), (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _settle() -> None:
    """Once the credentials are what they stay: no more privileges, and an end when the zygote ends."""
    kernel.no_new_privileges()
    kernel.die_with_parent(signal.SIGKILL)


def _landlock(walls: Walls, scratch: bool) -> None:
    rules = list(walls.open)
    if scratch:
        special = (kernel.EXECUTE | kernel.MAKE_CHAR | kernel.MAKE_SOCK | kernel.MAKE_FIFO | kernel.MAKE_BLOCK
                   | kernel.IOCTL_DEV)
        rules.append((os.open(walls.scratch, os.O_PATH), (1 << 16) - 1 & ~special))
    kernel.landlock(rules)


def opened(readable: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Paths as `open` of Walls wants them."""
    rights = {os.devnull: kernel.READ_FILE | kernel.WRITE_FILE}
    return tuple((os.open(path, os.O_PATH), rights.get(path, kernel.READ_FILE | kernel.READ_DIR)) for path in readable)


def first_uid() -> int:
    """The first of the user ids of a zygote's jobs: at random, for a process id says nothing across containers."""
    return _FIRST_UID + int.from_bytes(os.urandom(3), "big") % (1 << 22) * SLOTS
