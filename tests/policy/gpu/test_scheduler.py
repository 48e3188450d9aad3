"""The scheduler of a GPU, on a CPU: tokens are drawn once in a step, and nothing is read from the logits otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from policy.base import Sampling
from policy.budget import Budget
from policy.gpu.drawing import DeviceDrawing
from policy.gpu.scheduler import DeviceScheduler
from policy.transformer import Transformer
from tests.policy.test_fused import state_of


class Counting(DeviceDrawing):
    """Counts what would be waits for a GPU."""

    draws = 0

    def draw(self, slots: NDArray[np.intp], logprobs: torch.Tensor) -> NDArray[np.int64]:
        self.draws += 1
        return super().draw(slots, logprobs)


class Watched(DeviceScheduler):
    """Notes how often each step drew."""

    draws = Counting

    def step(self) -> None:
        assert isinstance(self.drawing, Counting)
        before = self.drawing.draws
        super().step()
        self.each = [*getattr(self, "each", []), self.drawing.draws - before]


@pytest.mark.parametrize("sampling", list(Sampling))
@pytest.mark.parametrize("slots", [3, 40])
async def test_a_step_draws_once(sampling: Sampling, slots: int, tiny_folder: Callable[..., Path]) -> None:
    """Few slots, that many wait for, and more than are needed; the thoughts are the same as ever."""
    states = [state_of("12+1=2", f"{a}+{b}") for a in "12ab" for b in "12ab"]
    texts = []
    for watched in (False, True):
        policy = Transformer(str(tiny_folder()), threads=1, max_thought_tokens=12, max_batch=slots)
        if watched:
            policy.decoder.scheduler = Watched(
                policy.decoder.scheduler.trunk, policy._codec, max_thought_tokens=12, cache_bytes=1 << 28,
                temperature=1.0,
            )  # fmt: skip
        found = await asyncio.gather(*(
            policy.propose(s, 2, sampling=sampling, seed=7, meter=Budget(seconds=60).start()) for s in states
        ))
        texts.append([[thought.text for thought in thoughts] for thoughts in found])
        if watched:
            each = policy.decoder.scheduler.each  # type: ignore[attr-defined]
            assert max(each) == 1 and sum(each) > 10
        policy.close()
    assert texts[0] == texts[1]
