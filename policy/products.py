"""Products with the matrices of linear layers, at the rate that a CPU can reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

FEW = 4  # rows; MKL multiplies fewer faster
PACKED = 1 << 30  # bytes of weights of which there may be a second copy
_mkldnn: Any = torch.backends.mkldnn


class Joined:
    """Linear layers of one input as one product, whose weights they keep views of."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        self.parts = parts
        self.weight = torch.empty(0)
        self.bias: Tensor | None = None
        self._packed: Tensor | None = None
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
        self._packed = _reordered(self.weight) if pack else None

    def __call__(self, x: Tensor) -> Tensor:
        if self._packed is None or x.shape[0] < FEW:
            return product(x, self.weight, self.bias)
        return _one_dnn(x.to(self.weight.dtype), self._packed, self.bias).to(x.dtype)


def packs(*weights: Tensor) -> bool:
    """Is there to be a packed copy of these?"""
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    return size <= PACKED and all(_one_dnn_knows(weight.device, weight.dtype) for weight in weights)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[N, in] times the transpose of [out, in]; in the precision of the weights, as numbers like x.

    oneDNN multiplies float32 at twice the rate of MKL on processors that are not Intel's.
    """
    if x.dtype == weight.dtype == torch.float32 and x.shape[0] >= 2 * FEW and _one_dnn_knows(x.device, x.dtype):
        return _one_dnn(x, weight, bias)
    return linear(x.to(weight.dtype), weight, bias).to(x.dtype)


def _one_dnn_knows(device: torch.device, dtype: torch.dtype) -> bool:
    if device.type != "cpu" or not _mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def _reordered(weight: Tensor) -> Tensor:
    """A copy of [out, in] for `_one_dnn`."""
    copy: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
    return copy


def _one_dnn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found
