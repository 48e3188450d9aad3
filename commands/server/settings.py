"""What a server grants: budgets, places, and how long it waits for whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TypeVar

from policy.budget import BadBudget, Budget

Limit = TypeVar("Limit", int, float)
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True)
class Settings:
    """See conf/serve.yaml. Raises ValueError or BadBudget for what cannot be.

    Attributes:
        model: the name under which the policy is served.
        budget: of a request that names none; see Budget.parse.
        max_budget: no request gets more; must name seconds.
        efforts: a budget for each name in EFFORTS that requests may give as their effort.
        at_once: requests that think at the same time; the others wait their turn (see Admission).
        queue: requests of one key that may wait.
        max_wait: seconds after which a waiting request is refused.
        max_problem: characters of a problem.
        max_body: bytes of a request's body.
        connections: open at a time.
        header_timeout, body_timeout: seconds a client may take to send them.
        send_timeout: seconds a client may leave unread what it is sent, before it is cut off.
        stop_within: seconds from the signal to the end of the process, at most; at least 6, of which closing
            connections and unloading the libraries get 5.
    """

    model: str = "system-2"
    budget: str = "10s"
    max_budget: str = "60s"
    efforts: Mapping[str, str] = field(default_factory=lambda: {"low": "2s", "medium": "10s", "high": "30s"})
    at_once: int = 8
    queue: int = 128
    max_wait: float = 120.0
    max_problem: int = 2000
    max_body: int = 1 << 20
    connections: int = 1000
    header_timeout: float = 10.0
    body_timeout: float = 20.0
    send_timeout: float = 30.0
    stop_within: float = 10.0

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if isinstance(value, int | float) and not 0 < value < float("inf"):
                raise ValueError(f"{option.name} must be positive and finite, not {value!r}")
        if not self.model.strip() or not self.model.isprintable():
            raise ValueError("model must be a printable name")
        if self.stop_within < 6:
            raise ValueError("stop_within must be at least 6 seconds")
        if not isinstance(self.efforts, Mapping):
            raise ValueError("efforts must name a budget for each effort, such as {low: 2s}")
        if unknown := sorted({str(effort) for effort in self.efforts} - set(EFFORTS)):
            raise ValueError(f"efforts has {', '.join(unknown)}; allowed: {', '.join(EFFORTS)}")
        if Budget.parse(self.max_budget).seconds is None:
            raise BadBudget(f"max_budget={self.max_budget} names no seconds, and no request may think forever")
        for text in (self.budget, *self.efforts.values()):
            self.granted(text)

    @property
    def longest(self) -> float:
        """Seconds that any request may think."""
        seconds = Budget.parse(self.max_budget).seconds
        assert seconds is not None
        return seconds

    def granted(self, text: str | None = None, effort: str | None = None, tokens: int | None = None) -> Budget:
        """The budget of a request: the one it names, else that of its effort, else the usual one; always within bounds.

        Args:
            tokens: a cap, which `max_budget` may lower.

        Raises BadBudget for an effort that is not offered, and for a budget beyond the bounds.
        """
        if text is None and effort is not None:
            if effort not in self.efforts:
                raise BadBudget(f"there is no effort {effort!r}; allowed: {', '.join(self.efforts)}")
            text = self.efforts[effort]
        asked, most = Budget.parse(self.budget if text is None else text), Budget.parse(self.max_budget)
        for own, limit in ((asked.seconds, most.seconds), (asked.tokens, most.tokens),
                           (asked.simulations, most.simulations)):
            if own is not None and limit is not None and own > limit:
                raise BadBudget(f"the budget {asked} is beyond what a request may have; allowed: up to {most}")
        return Budget(_least(asked.seconds, most.seconds), _least(asked.tokens, most.tokens, tokens),
                      _least(asked.simulations, most.simulations))


def _least(*limits: Limit | None) -> Limit | None:
    return min((limit for limit in limits if limit is not None), default=None)
