"""Several processes, a GPU each, that train one policy together: each works on a part of every batch.

Losses are sums, so all there is to share is the sum of the gradients, which for an adapter is small. Started by
`accelerate launch`, or by anything that sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import nn


class Processes:
    """This process among those that train together; alone unless the environment says otherwise.

    Attributes:
        rank: of this process, from 0.
        count: of processes.
        device: this one's.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank, self.count, self.device = 0, int(os.environ.get("WORLD_SIZE", "1")), device
        if self.count > 1:
            from accelerate import PartialState  # type: ignore[import-untyped]  # slow to import, and alone it is of no use

            state = PartialState(cpu=device.type == "cpu")
            self.rank, self.count, self.device = state.process_index, state.num_processes, state.device

    @property
    def first(self) -> bool:
        """The process that writes."""
        return self.rank == 0

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes."""
        if self.count > 1:
            from accelerate.utils import reduce  # type: ignore[import-untyped]

            for parameter in parameters:
                mine = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = reduce(mine, "sum")

    def add(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.count > 1:
            from accelerate.utils import reduce

            summed: torch.Tensor = reduce(values.to(self.device), "sum")
            return summed.to(values.device)
        return values

    def wait(self) -> None:
        """Until all have come this far."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()
