"""Thoughts that end the text: what is read after them is a newline, and their values cost no second reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from policy.base import Sampling
from policy.budget import Budget
from policy.lora import Lora
from policy.reading import Likelihood
from policy.transformer import Transformer
from policy.trunk import Trunk
from tests.policy.test_decoder import Reference, state, text_of


class Counted:
    """Readings from the beginning of a state."""

    def __init__(self, trunk: Trunk) -> None:
        self.count = 0
        self._of = trunk.likelihood
        trunk.likelihood = self  # type: ignore[method-assign]

    def __call__(self, tokens: Sequence[int], start: int, lora: Lora | None = None) -> Likelihood:
        self.count += start < len(tokens)
        return self._of(tokens, start, lora)


@pytest.mark.parametrize("sampling", [Sampling.INDEPENDENT, Sampling.DISTINCT])
async def test_values_after_the_end_of_the_text(sampling: Sampling, tiny_folder: Callable[..., Path]) -> None:
    folder = tiny_folder("llama")
    policy, reference = Transformer(str(folder), threads=1, max_thought_tokens=6), Reference(folder)
    try:
        counted = Counted(policy.decoder.scheduler.trunk)
        begun = state("12+a")
        found = await policy.propose(begun, 60, sampling=sampling, seed=0, meter=Budget(seconds=60).start())
        last = {thought.text: thought for thought in found if thought.last}
        assert len(last) >= 5 and any(text for text in last)
        for thought in last.values():
            value = reference.value(text_of(begun) + thought.text + "\n")
            assert thought.value == pytest.approx(value, abs=1e-4)
        # An end that no walk has drawn, but is a sibling, has to be read by itself.
        assert counted.count == 0 if sampling is Sampling.INDEPENDENT else counted.count < len(last)
    finally:
        policy.close()
