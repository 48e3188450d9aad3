"""One base with several experts: an adapter for each domain, chosen by the problem's domain."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from policy.base import Policy, Sampling, Thought
from policy.budget import Meter
from verifiers.base import State


class Experts:
    """A policy that leaves each problem to the expert of its domain.

    Args:
        default: for the domains without an expert.
        experts: by the names that problems carry.
    """

    def __init__(self, default: Policy, experts: Mapping[str, Policy]) -> None:
        self._default, self._experts = default, dict(experts)
        everybody = [default, *self._experts.values()]
        told = [default.version, *(f"{name}={self._experts[name].version}" for name in sorted(self._experts))]
        self.version = hashlib.blake2b("\x1f".join(told).encode(), digest_size=6).hexdigest()
        self.max_thought_tokens = max(policy.max_thought_tokens for policy in everybody)
        self.temperature: float = getattr(default, "temperature", 1.0)

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        """See Policy.propose."""
        policy = self._experts.get(state.problem.domain, self._default)
        return await policy.propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)

    def close(self) -> None:
        """End what the policies keep running."""
        for policy in (self._default, *self._experts.values()):
            if hasattr(policy, "close"):
                policy.close()
