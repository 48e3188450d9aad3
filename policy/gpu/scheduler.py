"""The scheduler of a GPU, which is to wait for it once in a step, and to leave it idle for as short as can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from policy.drawing import Mode
from policy.gpu.drawing import DeviceDrawing
from policy.gpu.transfers import send
from policy.reading import Reading
from policy.rows import Request, Row
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

    def _remember(self, rows: Sequence[Row], hidden: Tensor) -> Callable[[], None]:
        """The last token of a state was fed in each of these rows, [R, H]: they leave, and requests that waited start.

        Returns: hands out the thoughts that have ended; to be called when the values have come with something else.
        """
        lines = [self._line(row) for row in rows]
        values = self.trunk.values(hidden, lines, [row.lora for row in rows])
        primed: list[Request] = []
        for row, state, line in zip(rows, hidden, lines, strict=True):
            reading = Reading(state.clone(), line)
            self.batch.remember(row, reading)
            self.batch.leave(row)
            if not row.ended:
                self._priming.pop((row.lora, row.state))
                for request in row.waiting:
                    request.priming, request.reading = None, reading
                primed += row.waiting
        self._start(primed)

        def finish() -> None:
            for row, value in zip(rows, values(), strict=True):
                if row.ended:
                    self._finish(row, complete=True, value=value)

        return finish
