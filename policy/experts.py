"""One base with several experts: an adapter for each domain, chosen by the problem's domain."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from policy.base import Policy, Sampling, Thought
from policy.budget import Meter
from verifiers.base import State


class Experts:
    """A policy that leaves each problem to the expert of its domain.

    Args:
        default: for the domains without an expert.
        experts: by the names that problems carry.
        absent: versions of experts that are not loaded, for no problem of their domains will come; the version of all
            is the same whoever is absent.
    """

    def __init__(self, default: Policy, experts: Mapping[str, Policy], absent: Mapping[str, str] | None = None) -> None:
        self._default, self._experts, self._absent = default, dict(experts), dict(absent or {})
        everybody = [default, *self._experts.values()]
        versions = self._absent | {name: expert.version for name, expert in self._experts.items()}
        told = [default.version, *(f"{name}={versions[name]}" for name in sorted(versions))]
        self.version = hashlib.blake2b("\x1f".join(told).encode(), digest_size=6).hexdigest()
        self.max_thought_tokens = max(policy.max_thought_tokens for policy in everybody)
        self.temperature: float = getattr(default, "temperature", 1.0)

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        """See Policy.propose. Raises LookupError for a problem whose expert is absent: no other may stand in for it."""
        if state.problem.domain in self._absent:
            raise LookupError(f"the expert for {state.problem.domain} is not loaded")
        policy = self._experts.get(state.problem.domain, self._default)
        return await policy.propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)

    @property
    def decoders(self) -> frozenset[Any]:
        """Those of all, each once."""
        everybody = (self._default, *self._experts.values())
        return frozenset(decoder for policy in everybody for decoder in getattr(policy, "decoders", ()))

    @property
    def usages(self) -> tuple[Any, ...]:
        """Those of all (policy/served/policy.py)."""
        everybody = (self._default, *self._experts.values())
        return tuple(usage for policy in everybody for usage in getattr(policy, "usages", ()))

    @property
    def upstreams(self) -> frozenset[Any]:
        """Those of all (policy/served/policy.py)."""
        everybody = (self._default, *self._experts.values())
        return frozenset(one for policy in everybody for one in getattr(policy, "upstreams", ()))

    def close(self) -> None:
        """End what the policies keep running."""
        for policy in (self._default, *self._experts.values()):
            if hasattr(policy, "close"):
                policy.close()
