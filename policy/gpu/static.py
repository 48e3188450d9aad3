"""A step of one token a row in static buffers, of shapes that come from a few buckets: what a CUDA graph can replay.

Rows come in buckets; lengths, stems and who has which are data. However a tree grows, a step is one of a few that were
captured before. A row beyond the last one computes along, in a slot that nobody has.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policy.fused import Fused
from policy.gpu.attention import Flash, Products
from policy.gpu.graphs import Graphs
from policy.gpu.stems import StemTable
from policy.gpu.transfers import send
from policy.kv import START, SlotCache, Stem

if TYPE_CHECKING:
    from policy.trunk import Trunk

ROWS = (8, 32, 64, 128, 256)  # buckets; above them, powers of two
SHORTEST, STEMS, STEM_TOKENS = 64, 16, 8192  # of a stem's bucket; most stems, and tokens of a table of them
SHARE = 0.25  # of the memory that is free at load, for slots that never have to be moved
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""How far hidden states may be from those of the eager layers: the norm of the difference to theirs."""

Attending = type[Flash] | type[Products]


class StaticStep:
    """Steps of one token a row.

    Args:
        fused: the layers.
        kv: keys and values of the rows. If its buffer has to grow, what was captured is of no use any more.
        attending: how rows attend.

    Attributes:
        graphs: what has been captured.
    """

    def __init__(self, fused: Fused, kv: SlotCache, attending: Attending) -> None:
        self.fused, self.kv, self.attending = fused, kv, attending
        self.device, self.slots = kv.buffer.device, kv.buffer.shape[2]
        self.graphs = Graphs(self.device)
        self._buffer = kv.buffer
        self._inputs = torch.zeros(3, self.slots, dtype=torch.long, device=self.device)  # tokens, at, own
        self._which = torch.full((self.slots,), -1, dtype=torch.long, device=self.device)
        self._tables: dict[tuple[int, int], StemTable] = {}

    def __call__(
        self, tokens: NDArray[np.int64], starts: NDArray[np.int64], own: NDArray[np.int64],
        stems: Sequence[tuple[Stem, Tensor | None]],
    ) -> Tensor | None:  # fmt: skip
        """Feed one token to each of the rows 0 .. R - 1; see Trunk.forward.

        Args:
            tokens, starts: [R].
            own: [R], positions in the slots.

        Returns: hidden states, [R, H], until the next call; None, and nothing was done, for stems of no bucket.
        """
        table = self._table([stem for stem, _ in stems])
        if stems and table is None:
            return None
        if self.kv.buffer is not self._buffer:
            self.graphs, self._buffer = Graphs(self.device), self.kv.buffer
        packed = np.zeros((3, self.slots), dtype=np.int64)
        packed[:, : len(tokens)] = tokens, starts, own
        self._inputs.copy_(send(packed, self.device))
        if table is not None:
            self._which.fill_(-1)
            for (_, some), place in zip(stems, table.hold([stem for stem, _ in stems]), strict=True):
                if some is None:
                    self._which.fill_(place)
                else:
                    self._which.index_fill_(0, some, place)
        rows = bucket(len(tokens), self.slots)
        length = self.attending.bucket(int(own.max()) + 1, self.kv.buffer.shape[4])
        key = rows, length, None if table is None else table.kv.shape[2:4]
        return self.graphs(key, lambda: self._run(rows, length, table))[: len(tokens)]

    def _run(self, rows: int, length: int, table: StemTable | None) -> Tensor:
        tokens, at, own = self._inputs[:, :rows]
        attention = self.attending(self.kv, self.fused.layers[0].heads, own, length, table, self._which[:rows])
        return self.fused.run(tokens, at, attention)

    def _table(self, stems: Sequence[Stem]) -> StemTable | None:
        if not stems:
            return None
        count = power(len(stems))
        room = power(max(SHORTEST, *(len(stem.tokens) for stem in stems)))
        if count > STEMS or count * room > STEM_TOKENS:
            return None
        if (count, room) not in self._tables:
            self._tables[count, room] = StemTable(self.kv, count, room)
        return self._tables[count, room]


def power(number: int) -> int:
    """The least power of two that is no less."""
    return 1 << (number - 1).bit_length()


def bucket(rows: int, slots: int) -> int:
    """So many rows are computed for `rows` of them."""
    return min(slots, next((size for size in ROWS if size >= rows), power(rows)))


def checked(trunk: Trunk) -> StaticStep | None:
    """The fastest static step that a GPU can capture and that agrees with the eager layers; None on a CPU.

    Warns of each that does not: decoding goes on with the next, at last with the eager layers.
    """
    if trunk.fused is None or trunk.device.type != "cuda":
        return None
    trunk.kv.reserve(_room(trunk), 0)
    kinds: tuple[Attending, ...] = Flash, Products
    for attending in kinds:
        if not attending.fits(trunk.kv):
            continue
        step = StaticStep(trunk.fused, trunk.kv, attending)
        try:
            error = disagreement(trunk, step)
        except RuntimeError as refused:
            warnings.warn(f"CUDA graphs with {attending.__name__} do not run here: {refused}", stacklevel=2)
            continue
        if error <= TOLERANCE[trunk.kv.buffer.dtype]:
            return step
        warnings.warn(f"CUDA graphs with {attending.__name__} are off by {error:.2g} and are not used", stacklevel=2)
    return None


def _room(trunk: Trunk) -> int:
    """Positions of the slots that fit into a share of the free memory."""
    free, _ = torch.cuda.mem_get_info(trunk.device)
    buffer = trunk.kv.buffer
    affordable = int(SHARE * free) // (buffer.nbytes // buffer.shape[4])
    return max(START, min(trunk.context, power(affordable + 1) // 2))


@torch.inference_mode()
def disagreement(trunk: Trunk, step: StaticStep) -> float:
    """How far a static step's hidden states are from the eager layers', with no stem, with one, and with two.

    Uses the first slots. Returns: the norm of the difference to that of the eager ones, the greatest of the three.
    """
    rng = np.random.default_rng(0)
    rows, fed = min(trunk.slots, 11), trunk.fed
    slots, first = np.arange(rows), np.zeros(1, dtype=np.int64)
    kept, trunk.static = trunk.static, None
    stems = []
    for length in (70, 9):
        prompt = rng.integers(trunk.vocabulary, size=length)
        trunk.kv.reserve(length, 0)
        trunk.forward(prompt[None], first, slots=first)
        stems.append(Stem(tuple(prompt.tolist()), trunk.kv.read(0, 0, length)))
    tokens = rng.integers(trunk.vocabulary, size=(rows, 14))
    own = rng.integers(1, 13, size=rows)
    worst = 0.0
    for count in range(3):
        mine = [slots % (count + 1) == place for place in range(count)]  # and one in so many rows has none
        shared = [(stem, send(np.flatnonzero(has), trunk.device)) for stem, has in zip(stems, mine, strict=False)]
        offsets = np.zeros(rows, dtype=np.int64)
        for stem, has in zip(stems, mine, strict=False):
            offsets[has] = len(stem.tokens)
        trunk.forward(tokens[:, :13], offsets, offsets, shared, slots)
        last = tokens[slots, own]
        eager = trunk.forward(last[:, None], offsets + own, offsets, shared)[:, 0].float()
        static = step(last, offsets + own, own, shared)
        assert static is not None  # they have a bucket
        worst = max(worst, float((static.float() - eager).norm() / eager.norm()))
    trunk.static, trunk.fed = kept, fed
    return worst
