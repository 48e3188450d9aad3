"""Small arrays to the model's device and back, so that the host waits for a GPU only where it must.

A copy from memory that the system may move is waited for, and so is everything queued before it; a copy between pinned
memory and the device is queued like a kernel. On a CPU nothing is copied.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def send(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array on the device, without a wait."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Fetch:
    """Tensors on their way to the host.

    Args:
        tensors: any; what later work writes into them does not count.
    """

    def __init__(self, *tensors: Tensor) -> None:
        self._arrived: torch.cuda.Event | None = None
        self._tensors = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
        if any(tensor.is_cuda for tensor in tensors):
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def __call__(self) -> list[NDArray[Any]]:
        """Wait for them; no longer than until what was queued before them is done."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return [tensor.numpy() for tensor in self._tensors]
