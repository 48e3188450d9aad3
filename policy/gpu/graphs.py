"""Functions of static buffers, captured as CUDA graphs: hundreds of kernels for the price of one launch."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor


class Graphs:
    """Runs a function for a key: on a GPU it is captured the first time, and replayed from then on.

    A function always reads and writes the same tensors for a key. What it returns is overwritten by the next call.

    Args:
        device: on another one than a GPU, functions just run.

    Attributes:
        keys: that have been asked for; on a GPU, of all that was captured.
    """

    def __init__(self, device: torch.device) -> None:
        self.keys: set[Hashable] = set()
        self._device = device
        self._captured: dict[Hashable, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._pool: Any = None  # graphs run one after the other, and share memory

    def __call__(self, key: Hashable, function: Callable[[], Tensor]) -> Tensor:
        self.keys.add(key)
        if self._device.type != "cuda":
            return function()
        if key not in self._captured:
            self._captured[key] = self._capture(function)
        graph, found = self._captured[key]
        graph.replay()
        return found

    def _capture(self, function: Callable[[], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        here = torch.cuda.current_stream(self._device)
        aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):  # libraries make their workspaces the first time, which cannot be captured
            function()
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            found = function()
        self._pool = graph.pool()
        return graph, found
