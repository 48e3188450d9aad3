"""Memory that is no longer used goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress


def give_back() -> None:
    """Have glibc return what was freed; elsewhere nothing is done.

    Batches of ever new shapes, and the programs that oneDNN compiles for them, leave the heap in small pieces.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another libc
            ctypes.CDLL("libc.so.6").malloc_trim(0)
