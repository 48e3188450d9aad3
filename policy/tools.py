"""Tools inside thoughts: a policy whose thoughts are completed with what a tool says before a searcher sees them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from policy.base import Adaptable, BadPolicy, Policy, Sampling, Thought
from policy.budget import Meter
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


class Tooled:
    """A policy with a tool. What the tool writes is charged a token a character: it has no tokenizer to ask.

    A thought's log-probability and value are the policy's own, of the thought before it was completed. Thoughts that a
    tool makes equal stay as they are: a searcher keeps the first. A thought whose call does not end before the
    deadline counts as cut off.

    Args:
        policy: proposes the thoughts.
        tool: completes them.
    """

    def __init__(self, policy: Policy, tool: Tool) -> None:
        self.version = f"{policy.version}+{tool.version}"
        self.max_thought_tokens = policy.max_thought_tokens + tool.max_chars
        self.temperature: float = getattr(policy, "temperature", 1.0)
        self._policy = policy
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

    def load_adapter(self, folder: str | Path | None) -> None:
        """See Adaptable."""
        if not isinstance(self._policy, Adaptable):
            raise BadPolicy(f"the policy {self._policy.version} takes no adapter")
        self._policy.load_adapter(folder)
        self.version = f"{self._policy.version}+{self._tool.version}"

    @property
    def decoders(self) -> frozenset[Any]:
        """Those of the policy."""
        return frozenset(getattr(self._policy, "decoders", ()))

    @property
    def usages(self) -> tuple[Any, ...]:
        """Those of the policy (policy/served/policy.py)."""
        return tuple(getattr(self._policy, "usages", ()))

    def close(self) -> None:
        """End what the policy keeps running, if anything."""
        if hasattr(self._policy, "close"):
            self._policy.close()
