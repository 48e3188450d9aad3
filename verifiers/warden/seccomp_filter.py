"""The system calls that a job may make, as a seccomp program: what is not named here is refused with EPERM.

An allowlist, for a denylist is as old as the kernel it was written for. libseccomp knows the numbers of the calls on
each architecture and compiles; this process only reads the result and hands it to the zygote as bytes.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Iterator

_PLAIN = """
read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek sendfile copy_file_range
open openat creat close close_range dup dup2 dup3 pipe pipe2 fsync fdatasync ftruncate truncate fallocate fadvise64
stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getdents getdents64
getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 symlink symlinkat umask
chmod fchmod fchmodat utimensat utimes utime
poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2
mmap munmap mremap mprotect madvise brk msync
futex set_robust_list get_robust_list rseq sched_yield sched_getaffinity getcpu exit exit_group set_tid_address
nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times getrusage getrlimit setrlimit sysinfo uname
getpid getppid gettid getuid geteuid getgid getegid getgroups getresuid getresgid getpgrp getpgid getsid
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack tgkill
restart_syscall alarm setitimer getitimer pause wait4 waitid getrandom recvfrom shutdown
"""
_FCNTL = (0, 1, 2, 3, 4, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC: no locks, no owners
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
_THREAD = 0x00010000  # CLONE_THREAD: without it a clone is a process
_NEW_NAMESPACES = 0x7E020080


_ALLOW, _ERRNO, _EQUAL, _MASKED_EQUAL = 0x7FFF0000, 0x00050000, 4, 7  # SCMP_ACT_*, SCMP_CMP_*
_OPTIMIZE = 8  # SCMP_FLTATR_CTL_OPTIMIZE; 2 is a binary tree instead of a chain

Condition = tuple[int, int, int, int]  # argument, comparison, number or mask, number under the mask


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint), ("operation", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64),
    )


@functools.cache
def seccomp_program() -> bytes:
    """The program as BPF instructions of eight bytes; empty where libseccomp is not installed."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return b""
    library.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(library.seccomp_init(_ERRNO | errno.EPERM))
    _checked(library.seccomp_attr_set(rules, _OPTIMIZE, 2))
    for name, action, conditions in _rules():
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # negative: not a call of this architecture
            comparisons = (_Comparison * len(conditions))(*(_Comparison(*condition) for condition in conditions))
            _checked(library.seccomp_rule_add_array(rules, action, number, len(conditions), comparisons))
    with open(os.memfd_create("seccomp"), "w+b") as file:
        _checked(library.seccomp_export_bpf(rules, file.fileno()))
        library.seccomp_release(rules)
        file.seek(0)
        return file.read()


def _rules() -> Iterator[tuple[str, int, list[Condition]]]:
    for name in _PLAIN.split():
        yield name, _ALLOW, []
    for command in _FCNTL:
        yield "fcntl", _ALLOW, [(1, _EQUAL, command, 0)]
    for command in _IOCTL:
        yield "ioctl", _ALLOW, [(1, _EQUAL, command, 0)]
    # Threads, no processes. clone3 keeps its flags in memory, where no filter can look: glibc then falls back to clone.
    yield "clone", _ALLOW, [(0, _MASKED_EQUAL, _THREAD | _NEW_NAMESPACES, _THREAD)]
    yield "clone3", _ERRNO | errno.ENOSYS, []
    yield "prlimit64", _ALLOW, [(0, _EQUAL, 0, 0)]
    # A pair of connected stream sockets, which event loops wake themselves with; no address can be reached with it.
    yield "socketpair", _ALLOW, [(0, _EQUAL, 1, 0), (1, _MASKED_EQUAL, 15, 1)]
    yield "sendto", _ALLOW, [(4, _EQUAL, 0, 0)]


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(-result, f"libseccomp: {os.strerror(-result)}")
