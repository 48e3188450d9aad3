"""Drawing where the logits are: of hundreds of megabytes of log-probabilities, kilobytes come to the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policy.drawing import Drawing, Mode
from policy.gpu import sampling as device_sampling
from policy.gpu.transfers import Fetch, send


class DeviceDrawing(Drawing):
    """Drawing whose tokens are drawn on the device of the log-probabilities.

    What the host knows of the rows goes there in one copy, and what was drawn comes back together: the tokens, and of
    walks the few log-probabilities that siblings are made of. Fetching those when they are wanted would be a wait for
    each new walk; along with the tokens they are some 300 bytes a row.
    """

    on_host = False

    def draw(self, slots: NDArray[np.intp], logprobs: Tensor) -> NDArray[np.int64]:
        """See Drawing.draw. The one wait for the device in a step."""
        mode = self.mode[slots]
        groups = [np.flatnonzero(mode == kind) for kind in np.unique(mode)]
        picked = [self._pick(Mode(mode[of[0]]), slots[of], _rows(logprobs, of)) for of in groups]
        ends = () if self._newline is None else (logprobs[:, self._newline],)
        fetched = Fetch(*ends, *(tensor for tensors in picked for tensor in tensors))()
        if ends:
            self._close(slots, fetched.pop(0))
        tokens = np.empty(len(slots), dtype=np.int64)
        for of, tensors in zip(groups, picked, strict=True):
            mine, fetched = fetched[: len(tensors)], fetched[len(tensors) :]
            tokens[of] = mine[0]
            if mode[of[0]] == Mode.WALK:
                self._walked(slots[of], *mine[1:4], *mine[4:])
            else:
                self._gain(slots[of], mine[1])
        self._tokens[slots, self.count[slots]] = tokens
        self.count[slots] += 1
        return tokens

    def _pick(self, mode: Mode, slots: NDArray[np.intp], logprobs: Tensor) -> tuple[Tensor, ...]:
        """Queue the drawing of a token for each slot: tokens and what they gain, [n] each, then what a walk leaves."""
        if mode == Mode.GREEDY:
            tokens = logprobs.argmax(1)
        else:
            floats: NDArray[Any] = np.stack([self._total[slots], self._perturbed[slots]])
            known = [self._key[slots].view(np.int64), self.count[slots], *floats.view(np.int64)]
            keys, positions, total, perturbed = send(np.stack(known), logprobs.device)
            if mode == Mode.WALK:
                step = device_sampling.walk(logprobs, total.view(torch.float64), perturbed.view(torch.float64), keys)
                return tuple(tensor for tensor in step if tensor is not None)
            tokens = device_sampling.pick_independent(logprobs, keys, positions, self.temperature)
        return tokens, logprobs.gather(1, tokens[:, None])[:, 0].double()


def _rows(logprobs: Tensor, of: NDArray[np.intp]) -> Tensor:
    return logprobs if len(of) == len(logprobs) else logprobs[send(of, logprobs.device)]
