"""Attention of one new token of each row to its slot and its stem, in kernels whose shapes do not depend on lengths.

Slot and stem are attended to apart, and put together by the log-sum-exp of their scores (as in Hydragen, Juravsky et
al. 2024). How much of each a row sees is in tensors on the device.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from policy.gpu.stems import StemTable
from policy.kv import SlotCache

Varlen = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, int, int, float], tuple[Tensor, Tensor]]


class SlotAttention(ABC):
    """The part that both kinds have in common; called for each layer, like fused.Attention.

    Args:
        kv: rows 0 .. R - 1 are read and written.
        heads: of the queries.
        own: [R], positions of the new tokens in their slots.
        length: no row sees more of its slot than that.
        stems: None where no row has one.
        which: [R], the stem of each row, -1 for none.
    """

    def __init__(
        self, kv: SlotCache, heads: int, own: Tensor, length: int, stems: StemTable | None, which: Tensor
    ) -> None:
        _, _, slots, self.kv_heads, self.room, self.dim = kv.buffer.shape
        self.kv, self.stems, self.length = kv, stems, length
        self.rows, self.group = len(own), heads // self.kv_heads
        self.scale = 1 / math.sqrt(self.dim)
        rows, planes, each = (torch.arange(n, device=own.device) for n in (self.rows, 2, self.kv_heads))
        vectors = ((planes[:, None] * slots + rows[:, None, None]) * self.kv_heads + each) * self.room
        self._places = (vectors + own[:, None, None]).flatten()  # of each row's, plane's and head's new vector
        self.prepare(own, which)

    def __call__(self, queries: Tensor, new: Tensor, layer: int) -> Tensor:
        """Queries [R, heads * dim], new keys and values [R, 2 * kv heads * dim] -> [R, heads * dim]."""
        held = self.kv.buffer[layer]
        held.view(-1, self.dim).index_copy_(0, self._places, new.reshape(-1, self.dim))
        queries = queries.reshape(self.rows, -1, self.dim)
        found, weight = self.slot(queries, held)
        if self.stems is not None:
            other, theirs = self.stem(queries, self.stems.kv[layer])
            found = torch.lerp(found, other, torch.sigmoid(theirs - weight)[..., None].to(found.dtype))
        return found.view(self.rows, -1)

    @abstractmethod
    def prepare(self, own: Tensor, which: Tensor) -> None:
        """Make what all layers use."""

    @abstractmethod
    def slot(self, queries: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
        """Queries [R, heads, dim], a layer's slots [2, slots, kv heads, room, dim] -> what is found, [R, heads, dim],
        and the log-sum-exp of the scores, [R, heads]."""

    @abstractmethod
    def stem(self, queries: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
        """The same of a layer's stems, [2, stems, room, kv heads, dim]."""


class Products(SlotAttention):
    """Batched matrix products and masks. Runs anywhere; reads `length` positions of every slot, and all stems."""

    @staticmethod
    def fits(kv: SlotCache) -> bool:
        """Always."""
        return True

    @staticmethod
    def bucket(length: int, room: int) -> int:
        """Positions to read where rows see up to `length`: a power of two, so that there are few."""
        return min(room, max(16, 1 << (length - 1).bit_length()))

    def prepare(self, own: Tensor, which: Tensor) -> None:
        seen = torch.arange(self.length, device=own.device) <= own[:, None]
        self._slot_mask = self._mask(seen).repeat_interleave(self.kv_heads, 0)[:, None]
        if self.stems is not None:
            count, room = self.stems.kv.shape[2:4]
            stem, place = (torch.arange(n, device=own.device) for n in (count, room))
            seen = (which[:, None, None] == stem[:, None]) & (place < self.stems.lengths[:, None])
            self._stem_mask = self._mask(seen.flatten(1)).repeat_interleave(self.group, 0)[None]

    def _mask(self, seen: Tensor) -> Tensor:
        # Finite: a row that sees no key of a stem yields numbers, which then weigh nothing.
        dtype = self.kv.buffer.dtype
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min / 2)

    def slot(self, queries: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = (plane[: self.rows, :, : self.length].flatten(0, 1) for plane in held)
        queries = queries.reshape(-1, self.group, self.dim)
        found, weight = self._attend(queries, keys, values, self._slot_mask)
        return found.view(self.rows, -1, self.dim), weight.view(self.rows, -1)

    def stem(self, queries: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = (plane.flatten(0, 1).transpose(0, 1) for plane in held)
        shape = self.rows, self.kv_heads, self.group, self.dim
        queries = queries.view(shape).transpose(0, 1).reshape(self.kv_heads, -1, self.dim)
        found, weight = self._attend(queries, keys, values, self._stem_mask)
        found = found.view(self.kv_heads, self.rows, self.group, self.dim).transpose(0, 1)
        weight = weight.view(self.kv_heads, self.rows, self.group).transpose(0, 1)
        return found.flatten(1, 2), weight.flatten(1)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, Q, dim], twice [B, K, dim], [B or 1, Q or 1, K] -> [B, Q, dim] and [B, Q]."""
        scores = torch.baddbmm(mask, queries, keys.transpose(1, 2), alpha=self.scale).float()
        weight = scores.logsumexp(-1)
        return torch.bmm((scores - weight[..., None]).exp_().to(values.dtype), values), weight


def flash(
    queries: Tensor, keys: Tensor, values: Tensor, starts: Tensor, places: Tensor, used: Tensor, most: int,
    longest: int, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The FlashAttention that torch ships, for lines of different lengths. It is what `torch.nn.attention.varlen` calls
    where that exists, which knows the lengths of keys in newer versions only.

    Args:
        queries: [N, heads, dim], those of all lines, one line after the other.
        keys, values: [K, kv heads, dim].
        starts: [L + 1], where in the queries each line begins, int32.
        places: [L + 1], where in the keys, int32.
        used: [L], how many keys from there it sees, int32.
        most, longest: queries and keys of a line at most.

    Returns: [N, heads, dim]; and log-sum-exps [heads, N], which are infinite for lines that see nothing.
    """
    operator = torch.ops.aten._flash_attention_forward
    found, weight, *_ = operator(queries, keys, values, starts, places, most, longest, 0.0, False, False, scale=scale,
                                 seqused_k=used)
    return found, weight


class Flash(SlotAttention):
    """FlashAttention, which reads of every slot what its row sees. A slot is a line for each of its kv heads, whose
    queries are the heads that share it; a stem is a line with the queries of all rows that have it."""

    varlen: Varlen = staticmethod(flash)

    @staticmethod
    def fits(kv: SlotCache) -> bool:
        """Is it what the kernel is made for?"""
        half = kv.buffer.dtype in (torch.bfloat16, torch.float16)
        dim, device = kv.buffer.shape[5], kv.buffer.device
        return half and dim % 8 == 0 and dim <= 256 and torch.cuda.get_device_capability(device) >= (8, 0)

    @staticmethod
    def bucket(length: int, room: int) -> int:
        """One for all: the lengths are data."""
        return room

    def prepare(self, own: Tensor, which: Tensor) -> None:
        lines = torch.arange(self.rows * self.kv_heads + 1, dtype=torch.int32, device=own.device)
        self._starts, self._places_of_slots = lines * self.group, lines * self.room
        self._used = (own + 1).int().repeat_interleave(self.kv_heads)
        if self.stems is not None:
            self._has = (which >= 0)[:, None]
            self._prepare_stems(which, self.stems)

    def _prepare_stems(self, which: Tensor, stems: StemTable) -> None:
        count, room = stems.kv.shape[2:4]
        numbers = torch.arange(-1, count + 1, device=which.device)
        self._order = None
        if count == 1:  # rows without it compute along, and then it weighs nothing
            self._stem_starts = (numbers[1:] * self.rows).int()
            self._stem_places, self._stem_used = (numbers[1:] * room).int(), stems.lengths.int()
            return
        self._order = which.argsort(stable=True)
        self._back = self._order.argsort()
        # One line more, for rows without a stem: what no line computes is not even a number.
        self._stem_starts = torch.searchsorted(which[self._order], numbers).int()
        self._stem_places = (numbers.clamp(min=0) * room).int()
        self._stem_used = torch.nn.functional.pad(stems.lengths, (1, 0)).int()

    def slot(self, queries: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = (plane.view(-1, 1, self.dim) for plane in held)
        queries = queries.reshape(-1, 1, self.dim)
        found, weight = self.varlen(queries, keys, values, self._starts, self._places_of_slots, self._used, self.group,
                                    self.room, self.scale)
        return found.view(self.rows, -1, self.dim), weight.view(self.rows, -1)

    def stem(self, queries: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = (plane.flatten(0, 1) for plane in held)
        if self._order is not None:
            queries = queries[self._order]
        # With one query a line at most, the kernel would lay out the log-sum-exps otherwise.
        found, weight = self.varlen(queries, keys, values, self._stem_starts, self._stem_places, self._stem_used,
                                    max(self.rows, 2), held.shape[2], self.scale)
        weight = weight.t()
        if self._order is not None:
            found, weight = found[self._back], weight[self._back]
        return found, torch.where(self._has, weight, -math.inf)
