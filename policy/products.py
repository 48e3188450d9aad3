"""Products with the matrices of linear layers, at the rate that a CPU can reach."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import linear, pad

FEW, FEW_BFLOAT16 = 13, 4  # rows; fewer are faster without oneDNN, if the weights are in the processor's cache
CACHED = 16 << 20  # bytes of weights that may be
LARGE = 1 << 22  # elements of a matrix that is worth rows of zeros, be there as few as may be
PACKED = 1 << 30  # bytes of weights of which there may be a second copy
# oneDNN keeps a program for each shape it has ever multiplied, and torch what it takes to find it: 1,024 of each, up to
# a megabyte, and in training in bfloat16 nearly every batch has another shape. They read these at their first product.
for _name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_name, "256")
Floats = NDArray[np.float32]
_mkldnn: Any = torch.backends.mkldnn
BFLOAT16: bool = _mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


class Joined:
    """Linear layers of one input as one product, whose weights they keep views of.

    Attributes:
        few: the product with few rows, where that is another; since the last `bind`.
    """

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        self.parts = parts
        self.weight = torch.empty(0)
        self.bias: Tensor | None = None
        self._packed = self.weight
        self._least = 1
        self.few: Few | None = None
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

    def bind(self, plan: Plan) -> None:
        """Join anew where a part was given other tensors."""
        mine = {tensor.untyped_storage().data_ptr() for tensor in (self.weight, self.bias) if tensor is not None}
        theirs = {p.untyped_storage().data_ptr() for part in self.parts for p in (part.weight, part.bias)
                  if p is not None}
        if theirs != mine:
            self._join()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight) if plan.pack else self.weight
        self._least = plan.least
        self.few = Few(self.weight, self.bias) if plan.least > 1 and Few.fits(self.weight) else None

    def __call__(self, x: Tensor) -> Tensor:
        """[N, in] -> [N, out]; in the precision of the weights, as numbers like x. See `lined_up` for N."""
        if x.shape[0] < self._least and self.few is not None:
            return self.few(x)
        if x.shape[0] < self._least or not knows(self.weight):
            return linear(x.to(self.weight.dtype), self.weight, self.bias).to(x.dtype)
        return _one(x.to(self.weight.dtype), self._packed, self.bias).to(x.dtype)


class Few:
    """The product with a matrix of float32 on a CPU, for few rows: faster than a library's.

    Attributes:
        weight: [out, in]; bias: [out], or [0] for none.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        from policy.host.kernels import product  # slow to import

        self.weight: Floats = weight.numpy()
        self.bias: Floats = np.zeros(0, dtype=np.float32) if bias is None else bias.numpy()
        self._product = product

    @staticmethod
    def fits(weight: Tensor) -> bool:
        """Is it one of these?"""
        return weight.dtype == torch.float32 and weight.device.type == "cpu"

    def __call__(self, x: Tensor) -> Tensor:
        """[N, in] -> [N, out]."""
        out = x.new_empty(x.shape[0], self.weight.shape[0])
        self._product(x.numpy(), self.weight, self.bias, out.numpy())
        return out


class Alone:
    """The product of a layer that is not joined to others and not packed: the vocabulary's."""

    def __init__(self, layer: nn.Linear) -> None:
        self._layer, self._large = layer, False
        self._few: Few | None = None
        if type(layer) is not nn.Linear:
            return
        weight = layer.weight.data
        if weight.numel() >= LARGE:
            self._large = knows(weight)
        elif Few.fits(weight):
            self._few = Few(weight, None if layer.bias is None else layer.bias.data)

    def __call__(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        rows = x.reshape(-1, x.shape[-1])
        if self._few is not None and len(rows) < FEW:
            found = self._few(rows)
        elif self._large:
            weight = self._layer.weight
            found = _one(padded(rows.to(weight.dtype), lined_up(len(rows))), weight, self._layer.bias)[: len(rows)]
        else:
            found = self._layer(rows.to(self._layer.weight.dtype))
        return found.view(*x.shape[:-1], -1)


def _one(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], ""))


@dataclass(frozen=True)
class Plan:
    """How the products of a model are done.

    Attributes:
        pack: is there a second copy of its weights, in the order in which a CPU reads them?
        least: rows that oneDNN multiplies; fewer are multiplied by a kernel of our own, of bfloat16 by MKL.
    """

    pack: bool
    least: int


def knows(weight: Tensor) -> bool:
    """Is oneDNN here, and fast with such numbers?

    It multiplies float32 at twice the rate of MKL, which torch takes, on processors that are not Intel's.
    """
    if weight.device.type != "cpu" or not _mkldnn.is_available():
        return False
    return weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and BFLOAT16)


def planned(weights: Sequence[Tensor]) -> Plan:
    """For a model of these weights."""
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    few = FEW if all(weight.dtype == torch.float32 for weight in weights) else FEW_BFLOAT16
    return Plan(size <= PACKED and all(knows(weight) for weight in weights), few if size <= CACHED else 1)


def lined_up(rows: int, least: int = FEW_BFLOAT16) -> int:
    """So many rows are multiplied in place of these. oneDNN compiles a program for each number of rows of each matrix,
    which takes it 0.4 ms and half a megabyte: there should not be hundreds."""
    if rows < least:
        return rows
    step = 8 if rows <= 64 else 32 if rows <= 512 else 128
    return -(-rows // step) * step


def padded(x: Tensor, rows: int) -> Tensor:
    """With rows of zeros at the end."""
    return x if x.shape[0] == rows else pad(x, (0, 0, 0, rows - x.shape[0]))
