"""How long the machine has been short of processors, as the kernel counts it (Linux's pressure stall information)."""

from __future__ import annotations

import contextlib
import os


class Pressure:
    """Where the kernel does not count, no time is short."""

    def __init__(self) -> None:
        self._file = -1
        with contextlib.suppress(OSError):
            self._file = os.open("/proc/pressure/cpu", os.O_RDONLY | os.O_CLOEXEC)

    def stalled(self) -> float:
        """Seconds since the machine started in which something was ready to run and had to wait."""
        if self._file < 0:
            return 0.0
        with contextlib.suppress(OSError, ValueError):  # counting may be switched off
            return int(os.pread(self._file, 256, 0).partition(b"total=")[2].split()[0]) / 1e6
        return 0.0
