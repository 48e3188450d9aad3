"""The control of every figure: random legal steps, no model."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from typing import Protocol

import numpy as np

from policy.base import Sampling, Thought
from policy.budget import Meter
from verifiers.base import State, derive_seed

SUPPORT_DRAWS = 48
CACHED_STATES = 8192


class LegalSteps(Protocol):
    """The part of a domain this policy needs."""

    def random_thought(self, state: State, rng: np.random.Generator) -> str | None:
        """One random legal step; None if the state has none."""
        ...


class _Sequence:
    """The distinct thoughts of one state in the order in which random draws first met them."""

    def __init__(self, rules: LegalSteps, state: State, seed: int) -> None:
        self._rules = rules
        self._state = state
        self._rng = np.random.default_rng(seed)
        self._draws = 0
        self._repeats = 0
        self._support = 0
        self.texts: dict[str, None] = {}
        self.stuck = False

    @property
    def known(self) -> bool:
        """Were there enough draws to tell how many steps there are?"""
        return self.stuck or self._draws >= SUPPORT_DRAWS

    @property
    def logprob(self) -> float:
        """Log-probability [nats] of each step, as far as the first draws tell."""
        return -math.log(max(self._support, 1))

    def draw(self) -> None:
        text = self._rules.random_thought(self._state, self._rng)
        if text is None:
            self.stuck = True
            return
        self._repeats = self._repeats + 1 if text in self.texts else 0
        self.texts[text] = None
        self._draws += 1
        if self._draws <= SUPPORT_DRAWS:
            self._support = len(self.texts)

    def exhausted(self, patience: int) -> bool:
        return self.stuck or self._repeats >= patience


class Uniform:
    """Random legal steps of a domain: it knows the rules and nothing else.

    DISTINCT thoughts come in the order in which random draws first meet them, until `patience` draws in a row bring
    nothing new. The log-probability of a thought is that of one among the distinct steps that 48 draws meet: about
    right, and equal for all siblings, so that it prefers none. It has no values.

    Args:
        domain: whose legal steps.
        max_thought_tokens: a longer step is cut off (and so is dead), as a model's would be.
        patience: repeats in a row after which a state's steps count as exhausted.
    """

    version = "uniform"

    def __init__(self, domain: LegalSteps, max_thought_tokens: int = 64, patience: int = 200) -> None:
        if max_thought_tokens < 2 or patience < 1:
            raise ValueError("max_thought_tokens must be at least 2 and patience at least 1")
        self.max_thought_tokens = max_thought_tokens
        self._domain = domain
        self._patience = patience
        self._sequences: OrderedDict[tuple[int, str, tuple[str, ...]], _Sequence] = OrderedDict()

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        """See Policy. GREEDY is the first independent draw: without a model no step is more likely than another."""
        await asyncio.sleep(0)
        if sampling is Sampling.GREEDY:
            sampling, k, first = Sampling.INDEPENDENT, min(k, 1), 0
        sequence = self._sequence(state, seed)
        while not sequence.known:
            if meter.expired:
                return []
            sequence.draw()
            await asyncio.sleep(0)
        thoughts: list[Thought] = []
        for index in range(first, first + k):
            if sampling is Sampling.DISTINCT:
                text = await self._distinct(sequence, index, meter)
            else:
                rng = np.random.default_rng(derive_seed(seed, state.problem.prompt, *state.thoughts, "sample", index))
                text = self._domain.random_thought(state, rng)
            if text is None or meter.expired:
                break
            thoughts.append(self._thought(text, sequence.logprob))
        return thoughts

    async def _distinct(self, sequence: _Sequence, index: int, meter: Meter) -> str | None:
        """The index-th distinct thought; None if the support is exhausted before, or the time is."""
        while len(sequence.texts) <= index:
            if meter.expired or sequence.exhausted(self._patience):
                return None
            sequence.draw()
            await asyncio.sleep(0)
        return list(sequence.texts)[index]

    def _sequence(self, state: State, seed: int) -> _Sequence:
        key = (seed, state.problem.prompt, state.thoughts)
        sequence = self._sequences.pop(key, None)
        if sequence is None:
            start = derive_seed(seed, state.problem.prompt, *state.thoughts, "distinct")
            sequence = _Sequence(self._domain, state, start)
        self._sequences[key] = sequence
        if len(self._sequences) > CACHED_STATES:
            self._sequences.popitem(last=False)
        return sequence

    def _thought(self, text: str, logprob: float) -> Thought:
        fits = len(text) + 1 <= self.max_thought_tokens
        shown = text if fits else text[: self.max_thought_tokens]
        return Thought(shown, logprob, min(len(text) + 1, self.max_thought_tokens), complete=fits)
