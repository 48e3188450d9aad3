"""Keys and values of the rows that are being decoded, in slots that rows join and leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache

START = 128  # positions a slot holds at first


@dataclass(frozen=True, eq=False)
class Stem:
    """The beginning that many rows have in common.

    Attributes:
        tokens: P of them.
        kv: their keys and values, [layers, 2, heads, P, dim].
    """

    tokens: tuple[int, ...]
    kv: Tensor


class SlotCache(Cache):
    """A transformers cache over one buffer [layers, 2, slots, kv heads, length, head dim].

    Row r of a decoding batch is slot r, so that attention reads views and nothing is gathered; every row has a length
    of its own, which only the mask and the positions know. The length doubles when a row needs it; on a CPU, slots
    and positions that were never used take no memory.

    Args:
        layers, heads, head_dim: shape of the model's keys (and of its values).
        slots: number of rows it can hold.
    """

    def __init__(
        self, layers: int, heads: int, head_dim: int, slots: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__(layers=[])
        self.buffer = _zeros((layers, 2, slots, heads, START, head_dim), dtype, device)
        self._slots: Tensor | None = None
        self._rows = torch.zeros(0, dtype=torch.long)
        self._positions = torch.zeros(0, 0, dtype=torch.long)
        self._length = 0

    def reserve(self, length: int, used: int) -> None:
        """Make room for that many positions, keeping what the first `used` slots hold."""
        old = self.buffer
        if length <= old.shape[4]:
            return
        doubled = max(length, 2 * old.shape[4])
        self.buffer = _zeros((*old.shape[:4], doubled, old.shape[5]), old.dtype, old.device)
        self.buffer[:, :, :used, :, : old.shape[4]] = old[:, :, :used]

    def aim(self, positions: Tensor, length: int, slots: Tensor | None = None) -> None:
        """Say where the next forward pass writes and what it reads.

        Args:
            positions: [R, T], where in their rows the new tokens go.
            length: positions [0, length) are read.
            slots: [R]; None for the slots 0 to R - 1 (no copy).
        """
        self._slots, self._positions, self._length = slots, positions, length
        self._rows = torch.arange(len(positions), device=positions.device) if slots is None else slots

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Called by each attention layer: keys and values [R, heads, T, dim] in, all of the rows' out."""
        found = []
        for buffer, new in zip(self.buffer[layer_idx], (key_states, value_states), strict=True):
            if new.shape[2] == 1:
                buffer[self._rows, :, self._positions[:, 0]] = new[:, :, 0]
            else:
                buffer[self._rows[:, None], :, self._positions] = new.transpose(1, 2)
            rows = buffer[: len(new)] if self._slots is None else buffer[self._slots]
            found.append(rows[:, :, : self._length])
        return found[0], found[1]

    def read(self, slot: int, start: int, end: int) -> Tensor:
        """A copy of one row's [start, end): [layers, 2, heads, end - start, dim]."""
        return self.buffer[:, :, slot, :, start:end].clone()

    def write(self, slot: int, start: int, segment: Tensor) -> None:
        self.buffer[:, :, slot, :, start : start + segment.shape[3]] = segment

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first positions of one row to another."""
        self.buffer[:, :, target, :, :length] = self.buffer[:, :, source, :, :length]


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, since a masked position weighs 0 and 0 times a stray NaN would still be NaN; on a CPU from calloc."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    raw = np.zeros(int(np.prod(shape)) * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(raw).view(dtype).view(shape)
