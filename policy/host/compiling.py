"""Functions compiled for this processor, and what they have in common."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

# Sums in any order, so that they run in vectors; but numbers that are none stay what they are.
_FAST = {"reassoc", "contract", "arcp", "nsz"}
_LOG2E, _LN2_HIGH, _LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
_LEAST = np.float32(-87.0)
_HERE = hashlib.blake2b(Path(__file__).read_bytes()).hexdigest()
_HALF, _ONE = np.float32(0.5), np.float32(1)
_C0, _C1, _C2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_C3, _C4, _C5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled at its first call, for later processes too: kept where NUMBA_CACHE_DIR says, else beside this file, else
    in the user's cache folder. Where nothing can be written, every process compiles for itself, a few seconds."""
    jit: Any = njit
    options: dict[str, Any] = {"fastmath": _FAST, "nogil": True, "error_model": "numpy"}
    try:
        made = jit(cache=True, **options)(function)
    except RuntimeError:
        return jit(**options)(function)  # type: ignore[no-any-return]
    _check(made._cache)
    return made  # type: ignore[no-any-return]


def _check(cache: Any) -> None:
    """What a crash or a full disk has left of the files is thrown away, and compiled anew.

    And what was made of other sources. Numba looks only at the file that a function stands in, and its index, which is
    written first, may name a file of before: now names say what they were made of.
    """
    files = cache._cache_file
    made_of = hashlib.blake2b(repr((files._source_stamp, _HERE)).encode(), digest_size=8).hexdigest()
    files._source_stamp = made_of
    files._data_name_pattern = files._data_name_pattern.replace(".{number", f".{made_of}.{{number")
    load, save = cache.load_overload, cache.save_overload

    def load_overload(*wanted: Any) -> Any:
        try:
            return load(*wanted)
        except Exception:  # of pickle, which raises anything
            with contextlib.suppress(OSError):
                cache.flush()
            return None

    def save_overload(*made: Any) -> None:
        with contextlib.suppress(OSError):
            save(*made)

    cache.load_overload, cache.save_overload = load_overload, save_overload


def _bits(typing: Any, bits: Any) -> Any:
    """The float32 of these bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), generate


_float_of: Any = intrinsic(_bits)


@compiled
def exp(x):
    """exp(x) for x <= 88, to less than 1e-6 of it; a loop of it runs in vectors, as one of libm's does not.

    The polynomial is Cephes' expf (Moshier 1989).
    """
    x = max(x, _LEAST)
    n = np.floor(x * _LOG2E + _HALF)
    x = x - n * _LN2_HIGH - n * _LN2_LOW
    y = ((((_C0 * x + _C1) * x + _C2) * x + _C3) * x + _C4) * x + _C5
    y = y * x * x + x + _ONE
    return y * _float_of((np.int32(n) + np.int32(127)) << np.int32(23))
