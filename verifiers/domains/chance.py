"""Cheap random draws: rng.random() costs a tenth of rng.integers(), which matters where demonstrations are made."""

from __future__ import annotations

import numpy as np


def draw(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number in low..high, both included, for spans far below 2**53."""
    return low + int(rng.random() * (high - low + 1))


def chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)
