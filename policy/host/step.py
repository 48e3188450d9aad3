"""A step of few tokens a row on a CPU: matrix products by torch, and all that lies between them compiled.

See docs/adr/0032-compiled-steps.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policy.fused import Fused
from policy.host import kernels
from policy.kv import SlotCache, Stem
from policy.lora import Worn
from policy.products import lined_up, padded

Floats = NDArray[np.float32]


class HostStep:
    """Steps of few tokens a row.

    Args:
        fused: the layers, whose norms are read now: another one is made when they have changed.
        kv: keys and values of the rows, of float32.

    Attributes:
        widest: most tokens a row; attention of longer pieces is faster as products.
        shape: key-value heads, queries that share each, and numbers of a head, D.
    """

    widest = 8

    def __init__(self, fused: Fused, kv: SlotCache) -> None:
        self.fused, self.kv = fused, kv
        _, _, _, kv_heads, _, dim = kv.buffer.shape
        self.shape = kv_heads, fused.layers[0].heads // kv_heads, dim
        before, middle = ([_numbers(norm.weight) for norm in norms]
                          for norms in zip(*(layer.norms for layer in fused.layers), strict=True))
        self._first = before[0]
        self._after = list(zip(middle, [*before[1:], _numbers(fused.norm.weight)], strict=True))
        self._head_norms = [tuple(_numbers(None if norm is None else norm.weight) for norm in layer.head_norms)
                            for layer in fused.layers]
        each = [[joined.few for joined in (layer.read, layer.write, layer.up, layer.down)] for layer in fused.layers]
        self._few = [tuple((few.weight, few.bias) for few in some if few is not None) for some in each if all(some)]
        embeddings = fused.embed.weight.detach()
        self._embeddings = embeddings.numpy() if embeddings.dtype == torch.float32 else None
        self._eps = np.float32(fused.norm.variance_epsilon)
        self._scale = np.float32(1 / math.sqrt(dim))
        self._turns = np.zeros((2, 0, dim // 2), dtype=np.float32)

    def forward(
        self, tokens: NDArray[np.int64], starts: NDArray[np.int64], own: NDArray[np.int64],
        stems: Sequence[tuple[Stem, Tensor | None]] = (), slots: NDArray[np.int64] | None = None,
        worn: Worn | None = None,
    ) -> Tensor:  # fmt: skip
        """Feed rows, see Trunk.forward: [R, T] tokens -> hidden states after the final norm, [R, T, H].

        Args:
            own: [R], how many tokens each row holds in its slot.
        """
        rows, width = tokens.shape
        slots = np.arange(rows) if slots is None else slots
        if width > 1:
            steps = np.arange(width)
            starts, own = ((first[:, None] + steps).reshape(-1) for first in (starts, own))
            slots = slots.repeat(width)
            stems = [(stem, None if some is None else (some[:, None] * width + torch.from_numpy(steps)).flatten())
                     for stem, some in stems]
            worn = None if worn is None else worn.by_token(width)
        return self._run(tokens.reshape(-1), starts, own, slots, stems, worn).view(rows, width, -1)

    def _run(
        self, tokens: NDArray[np.int64], at: NDArray[np.int64], own: NDArray[np.int64], slots: NDArray[np.int64],
        stems: Sequence[tuple[Stem, Tensor | None]], worn: Worn | None,
    ) -> Tensor:  # fmt: skip
        """N tokens, of which those of one row come one after the other -> hidden states, [N, H].

        Args:
            tokens: [N].
            at, own, slots: [N], their positions in their lines, in their slots, and which these are.
            stems: and which of the N have them, [n]; None for all.
            worn: which of the N wear which adapters.
        """
        count = len(tokens)
        if not 0 <= own.min() <= own.max() < self.kv.buffer.shape[4]:  # the kernels write where they are told
            raise IndexError(f"positions {own.min()} to {own.max()} of slots that hold {self.kv.buffer.shape[4]}")
        x = torch.from_numpy(self._embeddings[tokens]) if self._embeddings is not None else self.fused.embed(
            torch.from_numpy(tokens)).float()
        x = padded(x, lined_up(count, self.fused.plan.least)) if self.fused.lines_up else x
        whole, turns = x.numpy(), self._turned(int(at.max()) + 1)
        normed, held = torch.empty_like(x), self.kv.buffer.numpy()
        there, eps = normed.numpy(), self._eps
        kernels.normed(whole, self._first, eps, there)
        if self._few and count < self.fused.plan.least and worn is None and not stems:
            for number, (products, norms) in enumerate(zip(self._few, self._after, strict=True)):
                kernels.layer(whole, there, products, norms, self._head_norms[number], turns, at, own, slots, eps,
                              self._scale, held[number])
            return normed
        attention = _Attention(self, count, len(x), own, slots, stems)

        def through(joined: Any, entering: Tensor, number: int, name: str) -> Tensor:
            found: Tensor = joined(entering)
            if worn is not None:
                worn.add(found[:count], entering[:count], number, name)
            return found

        for number, (layer, after) in enumerate(zip(self.fused.layers, self._after, strict=True)):
            drawn = through(layer.read, normed, number, "read")
            kernels.turned(drawn.numpy(), turns, at, own, slots, self._head_norms[number], eps, self._scale,
                           attention.queries.numpy(), held[number])
            found = through(layer.write, attention(number, held[number]), number, "write")
            kernels.added(whole, found.numpy(), after[0], eps, there)
            raised = through(layer.up, normed, number, "up")
            gated = raised.new_empty(len(x), raised.shape[1] // 2)
            kernels.gated(raised.numpy(), gated.numpy())
            kernels.added(whole, through(layer.down, gated, number, "down").numpy(), after[1], eps, there)
        return normed[:count]

    def _turned(self, length: int) -> Floats:
        """Cosines and sines of at least so many positions, [2, P, D / 2]."""
        if self._turns.shape[1] < length:
            rope = self.fused.rope
            angles = torch.arange(1 << (length - 1).bit_length())[:, None].float() * rope.inv_freq
            self._turns = torch.stack([torch.cos(angles), torch.sin(angles)]).mul_(rope.attention_scaling).numpy()
        return self._turns


class _Attention:
    """Of one step's tokens, layer by layer."""

    def __init__(
        self, step: HostStep, count: int, rows: int, own: NDArray[np.int64], slots: NDArray[np.int64],
        stems: Sequence[tuple[Stem, Tensor | None]],
    ) -> None:  # fmt: skip
        heads, group, dim = step.shape
        self._own, self._slots, self._stems = own, slots, stems
        self.queries = torch.empty(heads, count, group, dim)
        self._weights: Floats = np.empty((heads, count, group, int(own.max()) + 1), dtype=np.float32)
        self._found = torch.zeros(rows, heads * group * dim)
        longest = max((len(stem.tokens) for stem, _ in stems), default=0)
        self._scores = torch.zeros(heads, count, group, longest)
        self._lengths = np.zeros(count, dtype=np.int64)
        self._shared = torch.zeros(heads, count if stems else 0, group, dim)
        for stem, some in stems:
            self._lengths[slice(None) if some is None else some.numpy()] = len(stem.tokens)

    def __call__(self, number: int, held: Floats) -> Tensor:
        """Of `queries`, in the layer of a number -> [rows, heads D]."""
        for stem, some in self._stems:
            keys = stem.kv[number, 0].transpose(1, 2)  # [heads, D, P]
            if some is None:
                torch.bmm(self.queries.flatten(1, 2), keys, out=self._scores.flatten(1, 2))
                continue
            scores = torch.bmm(self.queries[:, some].flatten(1, 2), keys)
            self._scores[:, some, :, : keys.shape[2]] = scores.view(scores.shape[0], len(some), -1, keys.shape[2])
        kernels.weighed(self.queries.numpy(), held, self._own, self._slots, self._scores.numpy(), self._lengths,
                        self._weights)
        for stem, some in self._stems:
            values = stem.kv[number, 1]  # [heads, P, D]
            if some is None:
                torch.bmm(self._scores.flatten(1, 2), values, out=self._shared.flatten(1, 2))
                continue
            found = torch.bmm(self._scores[:, some, :, : values.shape[1]].flatten(1, 2), values)
            self._shared[:, some] = found.view(found.shape[0], len(some), -1, found.shape[2])
        kernels.gathered(self._weights, held, self._own, self._slots, self._shared.numpy(), self._found.numpy())
        return self._found


def _numbers(weight: Tensor | None) -> Floats:
    """As the kernels read them; nothing for None."""
    if weight is None:
        return np.zeros(0, dtype=np.float32)
    return weight.detach().float().contiguous().numpy()
