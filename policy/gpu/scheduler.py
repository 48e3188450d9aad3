"""The scheduler of a GPU, which is to wait for it once in a step, and to leave it idle for as short as can be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from policy.drawing import Mode
from policy.gpu.drawing import DeviceDrawing
from policy.gpu.transfers import send
from policy.rows import Row
from policy.scheduler import Scheduler


class DeviceScheduler(Scheduler):
    """Does what does not depend on the tokens of a step while the GPU is still at it.

    Which rows arrive is known when they are fed. Those that have been read are remembered and leave at once, others
    take their slots, and a token is drawn for these and all that go on together: the one wait of the step. New requests
    are seated a step later than they could be, which costs the batch nothing while it is full. Nothing is guessed
    ahead, for each guess is another wait. Rows with an adapter are computed by the eager layers.
    """

    draws = DeviceDrawing

    def step(self) -> None:
        """Decode one token of every row."""
        going: list[Row] = []
        hidden: list[Tensor] = []
        finish: Callable[[], None] | None = None
        for arrived, states in self.batch.feed():  # once: nothing is guessed
            over = self.drawing.mode[arrived] == Mode.FEED
            rows = [self.batch.rows[slot] for slot in arrived]
            going = [row for row, is_over in zip(rows, over, strict=True) if not is_over]
            hidden = [states if not over.any() else states[send(np.flatnonzero(~over), states.device)]]
            if over.any():
                ended = [row for row, is_over in zip(rows, over, strict=True) if is_over]
                finish = self._remember(ended, states[send(np.flatnonzero(over), states.device)])
        if fresh := self.batch.seat():
            hidden.append(torch.stack([row.reading.hidden for row in fresh if row.reading is not None]))
        if going or fresh:
            self._draw(np.array([row.slot for row in (*going, *fresh)]), torch.cat(hidden))  # seating may move rows
        if finish is not None:
            finish()
        self._serve_frontiers()
