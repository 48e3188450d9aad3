"""No values at all: the control of every other value."""

from __future__ import annotations

from policy.base import Policy
from policy.budget import Meter
from policy.values.valued import Valued
from verifiers.base import State


class Hidden(Valued):
    """A policy whose value head is not listened to, as if it had none.

    Args:
        policy: proposes the thoughts.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy, "hidden", 0, chains=False)

    async def value(self, state: State, seed: int, meter: Meter) -> tuple[float | None, int]:
        """Nothing, for nothing."""
        return None, 0
