"""A policy around another one: what all of them do alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from policy.base import Adaptable, BadPolicy, Policy


class Wrapped:
    """Named after the policy inside and itself; adapters and the end are the policy's.

    Args:
        policy: the one inside.
        name: joins its version.
    """

    def __init__(self, policy: Policy, name: str) -> None:
        self.version = f"{policy.version}+{name}"
        self.max_thought_tokens = policy.max_thought_tokens
        self.temperature: float = getattr(policy, "temperature", 1.0)
        self._policy = policy
        self._name = name

    @property
    def usages(self) -> tuple[Any, ...]:
        """Those of the policy (policy/served/policy.py)."""
        return tuple(getattr(self._policy, "usages", ()))

    @property
    def upstreams(self) -> frozenset[Any]:
        """Those of the policy (policy/served/policy.py)."""
        return frozenset(getattr(self._policy, "upstreams", ()))

    def load_adapter(self, folder: str | Path | None) -> None:
        """See Adaptable."""
        if not isinstance(self._policy, Adaptable):
            raise BadPolicy(f"the policy {self._policy.version} takes no adapter")
        self._policy.load_adapter(folder)
        self.version = f"{self._policy.version}+{self._name}"

    @property
    def decoders(self) -> frozenset[Any]:
        """Those of the policy."""
        return frozenset(getattr(self._policy, "decoders", ()))

    def close(self) -> None:
        """End what the policy keeps running, if anything."""
        if hasattr(self._policy, "close"):
            self._policy.close()
