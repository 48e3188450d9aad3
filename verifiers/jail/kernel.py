"""The Linux calls that isolation is made of and that Python has no function for, each one raising OSError.

Sources: the manual pages of the calls of the same names, and the kernel's userspace-api/landlock.rst and
seccomp_filter.rst. Call numbers above 400 are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

NEWNS, NEWUTS, NEWIPC = 0x00020000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_READ_ONLY, _NO_SUID, _NO_DEVICES = 0x1, 0x2, 0x4  # MOUNT_ATTR_*
_PRIVATE = 1 << 18  # MS_PRIVATE
_SCRATCH_FLAGS = 2 | 4 | 8 | 1024  # MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
_LAST_CAPABILITY = 63

# Landlock's rights over files, by bit.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, IOCTL_DEV = 1 << 6, 1 << 9, 1 << 10, 1 << 11, 1 << 15
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many rights a version of Landlock knows; 16 from the fifth on

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Enter new namespaces; of NEWPID, with the next child."""
    _checked(_libc.unshare(flags), "unshare")


def set_namespace(descriptor: int, flag: int) -> None:
    _checked(_libc.setns(descriptor, flag), "setns")


def die_with_parent(signal: int) -> None:
    """Have this process sent a signal when the thread that forked it ends; forgotten when credentials change."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl")


def make_private() -> None:
    """Let no mount made from now on propagate out of this mount namespace."""
    _checked(_libc.mount(b"none", b"/", None, 0x4000 | _PRIVATE, None), "mount")


def mount_tmpfs(path: str, options: str) -> None:
    _checked(_libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", _SCRATCH_FLAGS, options.encode()), "mount")


def clone_tree(path: str, *, devices: bool = False) -> int:
    """A detached, read-only copy of the mounts at a path: a descriptor for attach()."""
    flags = 1 | os.O_CLOEXEC | _AT_RECURSIVE  # OPEN_TREE_CLONE
    tree = _checked(_libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags), "open_tree")
    _set_attributes(tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, _READ_ONLY | _NO_SUID | (0 if devices else _NO_DEVICES))
    return tree


def attach(tree: int, path: str) -> None:
    flags = 0x4  # MOVE_MOUNT_F_EMPTY_PATH
    _checked(_libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(path), flags), "move_mount")


def make_read_only(path: str) -> None:
    _set_attributes(_AT_FDCWD, os.fsencode(path), 0, _READ_ONLY)


def _set_attributes(descriptor: int, path: bytes, flags: int, attributes: int) -> None:
    request = struct.pack("=QQQQ", attributes, 0, 0, 0)
    _checked(_libc.syscall(_MOUNT_SETATTR, descriptor, path, flags, request, len(request)), "mount_setattr")


def change_root(path: str) -> None:
    """Make a mount the root and let go of the old one (pivot_root(2), 'pivot_root(".", ".")')."""
    os.chdir(path)
    _checked(_libc.pivot_root(b".", b"."), "pivot_root")
    _checked(_libc.umount2(b".", 2), "umount2")  # MNT_DETACH
    os.chdir("/")


def bound_capabilities() -> None:
    """Let no executable file give this process or its children any capability that they do not hold."""
    for capability in range(_LAST_CAPABILITY + 1):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # the kernel knows no more of them


def drop_capabilities() -> None:
    header, nothing = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    _checked(_libc.capset(header, nothing), "capset")


def no_new_privileges() -> None:
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def landlock(rules: Sequence[tuple[int, int]]) -> None:
    """Allow only (descriptor, rights) beneath these files, no TCP, and no signals or abstract sockets to others."""
    version = _checked(_libc.syscall(_LANDLOCK_CREATE, None, 0, 1), "landlock_create_ruleset")
    known = (1 << _FILE_RIGHTS.get(version, 16)) - 1
    sizes = {1: 8, 2: 8, 3: 8, 4: 16, 5: 16}
    attributes = struct.pack("=QQQ", known, 3, 3)[: sizes.get(version, 24)]
    ruleset = _checked(_libc.syscall(_LANDLOCK_CREATE, attributes, len(attributes), 0), "landlock_create_ruleset")
    for beneath, rights in rules:
        rule = struct.pack("=Qi", rights & known, beneath)
        _checked(_libc.syscall(_LANDLOCK_ADD, ruleset, 1, rule, 0), "landlock_add_rule")
    _checked(_libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def filter_calls(program: bytes) -> None:
    """Install a seccomp filter given as BPF instructions of eight bytes; empty bytes are no filter."""
    if not program:
        raise OSError(0, "no seccomp program was handed over")
    request = _Program(len(program) // 8, program)
    _checked(_libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(request), 0, 0), "prctl")
