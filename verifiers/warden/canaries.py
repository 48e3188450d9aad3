"""Canaries: one attack for each mechanism of the sandbox, run at its start, so that a wall is proved and not believed.

Walls stand behind walls: an attack on one of them runs with those lifted that would stop it anyway. What does not
withstand its attack, or cannot be set up, is missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from verifiers.jail.isolation import MECHANISMS
from verifiers.warden.jobs import Call, Kind, Outcome

Try = Callable[[Call, Sequence[str]], Outcome]


@dataclass(frozen=True)
class Canary:
    """An attack: `attack(bait)` returns True if it was repelled, or else says what it achieved.

    Attributes:
        mechanism: the wall it runs against.
        lifted: the walls that would stop it too.
        program: the attack.
    """

    mechanism: str
    lifted: tuple[str, ...]
    program: str


_HELPERS = """
import ctypes, errno, mmap, os, socket, threading
libc = ctypes.CDLL(None, use_errno=True)
def refused(number, action, *args):
    try: action(*args)
    except OSError as error: return error.errno == number
    return False
"""

CANARIES = (
    Canary("mount", ("rlimits", "landlock", "seccomp"), """
def attack(bait):
    if os.path.exists(bait["file"]) or os.path.exists("/proc/self") or os.path.exists("/etc/passwd"):
        return "files of the machine can be seen"
    if not refused(errno.EROFS, os.mkdir, os.path.dirname(os.__file__) + "/canary"): return "the library can be written"
    try:
        for i in range(99):
            with open(str(i), "wb") as file: file.write(bytes(1 << 20))
    except OSError as error: return error.errno == errno.ENOSPC or str(error)
    return "the scratch directory has no end"
"""),
    Canary("pid", ("uid", "capabilities", "landlock", "seccomp"), """
def attack(bait):
    if os.getpid() != 1 or os.getppid() != 0: return "it is in a namespace of others"
    return all(refused(errno.ESRCH, os.kill, pid, 0) for pid in [*range(2, 400), *bait["pids"]]) or "others can be seen"
"""),
    Canary("net", ("uid", "capabilities", "landlock", "seccomp"), """
def attack(bait):
    if not refused(errno.ENETUNREACH, socket.socket().connect, ("127.0.0.1", bait["port"])): return "TCP gets out"
    reached = refused(errno.ECONNREFUSED, socket.socket(socket.AF_UNIX).connect, bait["abstract"])
    return reached or "abstract sockets can be reached"
"""),
    Canary("ipc", ("uid", "capabilities", "landlock", "seccomp"), """
def attack(bait):
    libc.shmat.restype = ctypes.c_long
    return libc.shmat(bait["shm"], None, 0) == -1 or "shared memory of the machine can be attached"
"""),
    Canary("rlimits", ("seccomp",), """
def attack(bait):
    try: return mmap.mmap(-1, 1 << 34).size() < 0 or "memory has no end"
    except OSError: pass
    files = []
    try:
        while len(files) < 512: files.append(os.dup(1))
        return "files have no end"
    except OSError: pass
    for file in files: os.close(file)
    end = threading.Event()
    threads = [threading.Thread(target=end.wait) for _ in range(128)]
    try:
        for thread in threads: thread.start()
        return "threads have no end"
    except RuntimeError: return True
    finally: end.set()
"""),
    Canary("uid", ("seccomp",), """
def attack(bait):
    for uid in (0, bait["uid"]):
        try:
            os.setuid(uid)
            return "it can become who started it"
        except OSError: pass
    return True
"""),
    Canary("capabilities", ("uid", "seccomp", "landlock"), """
def attack(bait):
    if libc.mount(b"tmpfs", os.getcwd().encode(), b"tmpfs", 0, None) == 0: return "it can mount"
    return libc.sethostname(b"canary", 6) == -1 or "it can name the machine"
"""),
    Canary("no_new_privs", ("seccomp",), """
def attack(bait): return libc.prctl(39, 0, 0, 0, 0) == 1 or "programs could give privileges"
"""),
    Canary("landlock", ("seccomp",), """
def attack(bait):
    try: os.mkfifo("fifo")
    except OSError: return refused(errno.EACCES, os.listdir, "/") or "directories that no rule names can be read"
    return "special files can be made"
"""),
    Canary("seccomp", (), """
def attack(bait):
    if not refused(errno.EPERM, os.fork): return "it can fork"
    if not refused(errno.EPERM, socket.socket): return "it can make sockets"
    if not refused(errno.EPERM, os.memfd_create, "canary"): return "it can make memory files"
    return libc.ptrace(0, 0, 0, 0) == -1 and ctypes.get_errno() == errno.EPERM or "it can be traced"
"""),
)


def prove(attempt: Try, missing: Mapping[str, str]) -> dict[str, str]:
    """Run every canary: mechanism -> why it is missing. `missing` is known beforehand, and is left out."""
    found = dict(missing)
    with _baits() as bait:
        # What a first, harmless job cannot set up is missing too, and must be left out for the others to run at all.
        while reason := _unready(attempt, [name for name in MECHANISMS if name not in found]):
            name, _, why = reason.partition(": ")
            if name not in MECHANISMS or name in found:
                raise RuntimeError(f"the sandbox cannot start a job: {reason}")
            found[name] = why
        for canary in CANARIES:
            if canary.mechanism not in found:
                kept = [name for name in MECHANISMS if name not in found and name not in canary.lifted]
                outcome = attempt(Call.of(_HELPERS + canary.program, "attack", bait), kept)
                if outcome.kind is not Kind.VALUE or outcome.value is not True:
                    told = outcome.value if isinstance(outcome.value, str) else f"{outcome.kind.value} {outcome.detail}"
                    found[canary.mechanism] = told
    return found


def _unready(attempt: Try, mechanisms: Sequence[str]) -> str:
    outcome = attempt(Call("def attack(): return True", "attack"), mechanisms)
    return "" if outcome.value is True else outcome.detail.removeprefix("a job did not get ready: ")


@contextlib.contextmanager
def _baits() -> Iterator[dict[str, object]]:
    """What the attacks go for: a readable file, a listening port and an abstract socket, shared memory."""
    libc = ctypes.CDLL(None)
    name = b"\0canary-%d" % os.getpid() + os.urandom(8).hex().encode()
    with (
        tempfile.NamedTemporaryFile() as file,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        os.chmod(file.name, 0o644)
        abstract.bind(name)
        abstract.listen()
        shared = libc.shmget(0, 4096, 0o1666)  # IPC_PRIVATE; IPC_CREAT and readable by all
        try:
            yield {"file": file.name, "port": server.getsockname()[1], "abstract": name, "shm": shared,
                   # Number 1 is the job itself in its own namespace, and a service's or a container's parent outside.
                   "pids": [pid for pid in (os.getpid(), os.getppid()) if pid > 1], "uid": os.getuid()}
        finally:
            libc.shmctl(shared, 0, None)  # IPC_RMID
