"""What all policies have in common whose thoughts are valued by something else than a value head."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from policy.base import BadPolicy, Policy, Sampling, Thought
from policy.budget import Meter
from policy.wrapped import Wrapped
from verifiers.base import State


def count(least: int = 1, **options: int) -> None:
    """Raises BadPolicy for an option that is no whole number of at least `least`."""
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise BadPolicy(f"values.{name} must be a whole number of at least {least}, not {value!r}")


class Valued(Wrapped, ABC):
    """A policy whose thoughts come with the values that `value` finds; a value head's are dropped.

    What a value costs is charged with its thought, and `max_thought_tokens` has room for it. So that no token is
    wasted on what is not asked for, the thoughts of chains stay without values unless told otherwise.

    Args:
        policy: proposes the thoughts.
        name: joins its version.
        cost: tokens that the value of one thought takes at most.
        chains: value GREEDY and INDEPENDENT thoughts, too, and not only those drawn for trees.
    """

    def __init__(self, policy: Policy, name: str, cost: int, chains: bool) -> None:
        super().__init__(policy, name)
        self.max_thought_tokens += cost
        self._chains = chains

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        """See Policy.propose. A value that is not found before the deadline is None."""
        thoughts: Sequence[Thought] = await self._policy.propose(
            state, k, sampling=sampling, seed=seed, meter=meter, first=first
        )
        if sampling is not Sampling.DISTINCT and not self._chains:
            return [replace(thought, value=None) for thought in thoughts]
        return list(await asyncio.gather(*(self._valued(state, thought, seed, meter) for thought in thoughts)))

    @abstractmethod
    async def value(self, state: State, seed: int, meter: Meter) -> tuple[float | None, int]:
        """P(a line that goes on from here ends correct), in [0, 1], or None; and the tokens that it took."""

    async def _valued(self, state: State, thought: Thought, seed: int, meter: Meter) -> Thought:
        if thought.dead:
            return replace(thought, value=None)
        value, tokens = await self.value(state.then(thought.text, thought.last), seed, meter)
        return replace(thought, value=value, tokens=thought.tokens + tokens)
