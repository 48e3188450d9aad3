"""Products with the matrices of linear layers, at the rate that a CPU can reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

FEW = 4  # rows; MKL multiplies fewer faster
PACKED = 1 << 30  # bytes of weights of which there may be a second copy
_mkldnn: Any = torch.backends.mkldnn
BFLOAT16: bool = _mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


class Joined:
    """Linear layers of one input as one product, whose weights they keep views of."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        self.parts = parts
        self.weight = torch.empty(0)
        self.bias: Tensor | None = None
        self._packed = self.weight
        self._join()

    def _join(self) -> None:
        self.weight = torch.cat([part.weight.data for part in self.parts])
        biases = [part.bias for part in self.parts]
        self.bias = None if any(bias is None for bias in biases) else torch.cat([bias.data for bias in biases])
        at = 0
        for part in self.parts:
            mine = slice(at, at + part.out_features)
            part.weight.data = self.weight[mine]
            if self.bias is not None:
                part.bias.data = self.bias[mine]
            at = mine.stop

    def bind(self, pack: bool) -> None:
        """Join anew where a part was given other tensors; `pack` a copy in the order in which a CPU reads weights."""
        mine = {tensor.untyped_storage().data_ptr() for tensor in (self.weight, self.bias) if tensor is not None}
        theirs = {p.untyped_storage().data_ptr() for part in self.parts for p in (part.weight, part.bias)
                  if p is not None}
        if theirs != mine:
            self._join()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight) if pack else self.weight

    def __call__(self, x: Tensor) -> Tensor:
        """[N, in] -> [N, out]; in the precision of the weights, as numbers like x. See `lined_up` for N."""
        if x.shape[0] < FEW or not knows(self.weight):
            return linear(x.to(self.weight.dtype), self.weight, self.bias).to(x.dtype)
        found = torch.ops.mkldnn._linear_pointwise(
            x.to(self.weight.dtype), self._packed, self.bias, "none", [], "")
        return cast(Tensor, found).to(x.dtype)


def knows(weight: Tensor) -> bool:
    """Is oneDNN here, and fast with such numbers?

    It multiplies float32 at twice the rate of MKL, which torch takes, on processors that are not Intel's.
    """
    if weight.device.type != "cpu" or not _mkldnn.is_available():
        return False
    return weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and BFLOAT16)


def packs(weights: Sequence[Tensor]) -> bool:
    """Is there to be a packed copy of these?"""
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    return size <= PACKED and all(knows(weight) for weight in weights)


def lined_up(rows: int) -> int:
    """So many rows are multiplied in place of these. oneDNN compiles a program for each number of rows of each matrix,
    which takes it 0.4 ms and half a megabyte: there should not be hundreds."""
    if rows < FEW:
        return rows
    step = 8 if rows <= 64 else 32 if rows <= 512 else 128
    return -(-rows // step) * step
