"""Stems of a static step: a table that captured kernels read, whatever prompts come and go."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
import torch

from policy.gpu.transfers import send
from policy.kv import SlotCache, Stem


class StemTable:
    """Places for stems.

    Args:
        kv: whose shape, type and device the stems have.
        count: of places.
        room: most tokens of a stem.

    Attributes:
        kv: [layers, 2, count, room, kv heads, dim]; lies where it lies for good.
        lengths: [count], how many tokens each stem has; 0 for none.
    """

    def __init__(self, kv: SlotCache, count: int, room: int) -> None:
        layers, _, _, heads, _, dim = kv.buffer.shape
        device = kv.buffer.device
        self.kv = torch.zeros(layers, 2, count, room, heads, dim, dtype=kv.buffer.dtype, device=device)
        self.lengths = torch.zeros(count, dtype=torch.long, device=device)
        # Stems are remembered, not kept: they go when their rows go.
        self._held: list[weakref.ref[Stem] | None] = [None] * count

    def hold(self, stems: Sequence[Stem]) -> list[int]:
        """The places of these stems, no more than there are; others may have to make room for them."""
        held = [None if known is None else known() for known in self._held]
        free = [place for place, stem in enumerate(held) if stem is None or stem not in stems]
        for stem in stems:
            if stem not in held:
                place = free.pop()
                held[place], self._held[place] = stem, weakref.ref(stem)
                self.kv[:, :, place, : stem.kv.shape[3]] = stem.kv.transpose(2, 3)
                lengths = [0 if one is None else one.kv.shape[3] for one in held]
                self.lengths.copy_(send(np.array(lengths), self.lengths.device))
        return [held.index(stem) for stem in stems]
