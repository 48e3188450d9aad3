"""Tools inside thoughts: a policy whose thoughts are completed with what a tool says before a searcher sees them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from policy.base import Policy, Sampling, Thought
from policy.budget import Meter
from policy.wrapped import Wrapped
from verifiers.base import Completion, State


@runtime_checkable
class Tool(Protocol):
    """Something a thought may call.

    Attributes:
        version: names it; part of the policy's version.
        max_chars: no more is ever written.
    """

    version: str
    max_chars: int

    async def complete(self, state: State, thought: str) -> Completion | None:
        """Do what the thought asks for; None if it asks for nothing. A call that fails writes a short error text.

        Deterministic but for time that runs out. Never raises for anything in the thought.
        """
        ...


class Tooled(Wrapped):
    """A policy with a tool. What the tool writes is charged a token a character: it has no tokenizer to ask.

    A thought's log-probability, value and ids are the policy's own, of the thought before it was completed. Thoughts
    that a tool makes equal stay as they are: a searcher keeps the first. A thought whose call does not end before the
    deadline counts as cut off.

    Args:
        policy: proposes the thoughts.
        tool: completes them.
    """

    def __init__(self, policy: Policy, tool: Tool) -> None:
        super().__init__(policy, tool.version)
        self.max_thought_tokens += tool.max_chars
        self._tool = tool

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        """See Policy.propose."""
        thoughts: Sequence[Thought] = await self._policy.propose(
            state, k, sampling=sampling, seed=seed, meter=meter, first=first
        )
        return await asyncio.gather(*(self._completed(state, thought, meter) for thought in thoughts))

    async def _completed(self, state: State, thought: Thought, meter: Meter) -> Thought:
        if not thought.complete:
            return thought
        left = meter.seconds_left
        try:
            async with asyncio.timeout(None if math.isinf(left) else max(left, 0.0)):
                completion = await self._tool.complete(state, thought.text)
        except TimeoutError:
            return replace(thought, complete=False)
        if completion is None:
            return thought
        text = thought.text[: completion.kept] + completion.written
        return replace(thought, text=text, tokens=thought.tokens + len(completion.written), last=False)
