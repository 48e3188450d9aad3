"""What the machine can do, measured in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from policy.products import Joined, planned


def product_rate(device: str = "cpu", dtype: torch.dtype = torch.float32, size: int = 1024) -> float:
    """Floating-point operations a second of a product of square matrices, the best of some.

    On a CPU by the faster one of the libraries in torch: BLAS, and oneDNN with the second matrix packed for it.
    """
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    found = [_best(lambda: torch.mm(left, right), device)]
    if (plan := planned([right])).pack:
        joined = Joined([_linear(right)])
        joined.bind(plan)
        found.append(_best(lambda: joined(left), device))
    return 2 * size**3 / min(found)


def blas_rate(size: int = 1024) -> float:
    """The same of `torch.mm` alone, in float32 on a CPU."""
    left, right = torch.randn(2, size, size)
    return 2 * size**3 / _best(lambda: torch.mm(left, right), "cpu")


def _linear(weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = weight
    return layer


def copy_rate(device: str = "cpu", megabytes: int = 256) -> float:
    """Bytes a second that are read and written by a copy within memory, the best of some."""
    source = torch.ones(megabytes << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / _best(lambda: target.copy_(source), device)


def _best(work: Callable[[], object], device: str, times: int = 9) -> float:
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - started)
    return min(found)
