"""Makes this process and its children live on a kernel that refuses some system calls."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence

from verifiers.jail import kernel


def refuse(calls: Sequence[str], error: int) -> None:
    """Install a seccomp filter that answers these calls with an error number."""
    library = ctypes.CDLL("libseccomp.so.2")
    program = [(0x20, 0, 0, 0)]  # load the number of the call
    for name in calls:
        number = library.seccomp_syscall_resolve_name(name.encode())
        assert number >= 0, name
        program += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | error)]
    program.append((0x06, 0, 0, 0x7FFF0000))
    kernel.no_new_privileges()
    kernel.filter_calls(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
