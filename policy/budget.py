"""Thinking-time budgets, and the meters that enforce them.

A Budget is what the user grants: seconds, tokens, simulations, or any mix; whichever runs out first ends the
search. A Meter is one running budget. Tokens are reserved before they are decoded and settled afterwards, both in
launch order, so that a search under a token budget never depends on which request happened to finish first.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

Clock = Callable[[], float]
_UNITS = {"ms": ("seconds", 0.001), "s": ("seconds", 1.0), "m": ("seconds", 60.0), "h": ("seconds", 3600.0),
          "tok": ("tokens", 1.0), "sims": ("simulations", 1.0)}
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s*(ms|s|m|h|tok|sims)", re.ASCII)
ALLOWED = "10s, 2m, 500ms, 1h, 5500tok, 200sims, or a mix such as 10s+5500tok"


MOST = 10**12  # seconds, tokens or simulations: beyond any use, and short enough to be written and read back


class BadBudget(ValueError):
    """A budget that cannot be granted, in one line that says what is allowed."""


@dataclass(frozen=True)
class Budget:
    """Limits of one search; None is unlimited, and at least one is set. All limits are positive."""

    seconds: float | None = None
    tokens: int | None = None
    simulations: int | None = None

    def __post_init__(self) -> None:
        limits = (self.seconds, self.tokens, self.simulations)
        if all(limit is None for limit in limits):
            raise BadBudget(f"a budget needs at least one limit: {ALLOWED}")
        if any(limit is not None and not 0 < limit < float("inf") for limit in limits):
            raise BadBudget(f"a budget must be positive and finite: {ALLOWED}")

    @classmethod
    def parse(cls, text: str | int | float) -> Budget:
        """Read '10s', '2m', '5500tok', '200sims' or a '+'-joined mix. Raises BadBudget."""
        limits: dict[str, float] = {}
        for part in str(text).split("+"):
            match = _PART.fullmatch(part.strip())
            if match is None:
                raise BadBudget(f"cannot read the budget {str(text)[:40]!r}; allowed: {ALLOWED}")
            name, scale = _UNITS[match[2]]
            if name in limits:
                raise BadBudget(f"the budget {str(text)[:40]!r} names {name} twice; allowed: {ALLOWED}")
            if name != "seconds" and "." in match[1]:
                raise BadBudget(f"{name} must be a whole number; allowed: {ALLOWED}")
            limits[name] = round(float(match[1]) * scale, 9)
            if limits[name] >= MOST:
                raise BadBudget(f"the budget {str(text)[:40]!r} is beyond 10^12 {name}; allowed: {ALLOWED}")
        seconds, tokens, simulations = (limits.get(n) for n in ("seconds", "tokens", "simulations"))
        return cls(seconds, None if tokens is None else int(tokens), None if simulations is None else int(simulations))

    def __str__(self) -> str:
        parts = []
        if self.seconds is not None:
            parts.append(f"{Decimal(repr(float(self.seconds))).normalize():f}s")
        if self.tokens is not None:
            parts.append(f"{self.tokens}tok")
        if self.simulations is not None:
            parts.append(f"{self.simulations}sims")
        return "+".join(parts)

    def start(self, clock: Clock = time.monotonic, parent: Meter | None = None) -> Meter:
        """Start the clock. With a parent, the child also spends from (and ends with) the parent's budget."""
        return Meter(self, clock, parent)


UNLIMITED_TOKENS = 1 << 60


class Meter:
    """One running budget.

    Attributes:
        tokens: tokens settled so far.
        simulations: simulations counted so far.
        prompt_tokens: tokens of prompts that servers read for it, as they count them; no budget limits them.
    """

    def __init__(self, budget: Budget, clock: Clock = time.monotonic, parent: Meter | None = None) -> None:
        self.budget = budget
        self.clock = clock
        self.parent = parent
        self.started = clock()
        self.tokens = 0
        self.simulations = 0
        self.prompt_tokens = 0
        self._reserved = 0
        self._cancelled = False

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.started

    @property
    def seconds_left(self) -> float:
        """Seconds until the nearest deadline; infinite without one."""
        own = float("inf") if self.budget.seconds is None else self.budget.seconds - self.seconds
        return own if self.parent is None else min(own, self.parent.seconds_left)

    @property
    def expired(self) -> bool:
        """Must decoding stop at the next token? (deadline passed, or cancelled). Safe to read from any thread."""
        return self._cancelled or self.seconds_left <= 0 or (self.parent is not None and self.parent.expired)

    @property
    def tokens_left(self) -> int:
        """Tokens neither spent nor reserved."""
        own = UNLIMITED_TOKENS if self.budget.tokens is None else self.budget.tokens - self.tokens - self._reserved
        return own if self.parent is None else min(own, self.parent.tokens_left)

    @property
    def simulations_left(self) -> float:
        own = float("inf") if self.budget.simulations is None else self.budget.simulations - self.simulations
        return own if self.parent is None else min(own, self.parent.simulations_left)

    @property
    def exhausted(self) -> bool:
        """Has any limit run out? A search launches nothing more once this is true."""
        return self.expired or self.tokens_left <= 0 or self.simulations_left <= 0

    def reserve(self, tokens: int) -> bool:
        """Set tokens aside for a request about to be launched; False (and nothing set aside) if they do not fit."""
        if tokens > self.tokens_left:
            return False
        self._hold(tokens)
        return True

    def settle(self, reserved: int, used: int) -> None:
        """Give back a reservation and charge what was used (0 <= used <= reserved). Call in launch order."""
        if not 0 <= used <= reserved:
            raise ValueError(f"settled {used} tokens of {reserved} reserved")
        self._hold(-reserved)
        self._charge(used)

    def count_simulation(self) -> None:
        """Count one simulation (one walk from the root to an expansion)."""
        self.simulations += 1
        if self.parent is not None:
            self.parent.count_simulation()

    def read(self, prompt_tokens: int) -> None:
        """Count tokens of prompts. Not for the parent: this is called in the thread of a policy, of which it may have
        several."""
        self.prompt_tokens += prompt_tokens

    def cancel(self) -> None:
        """End now: decoding for this meter stops at the next token."""
        self._cancelled = True

    def _hold(self, tokens: int) -> None:
        self._reserved += tokens
        if self.parent is not None:
            self.parent._hold(tokens)

    def _charge(self, tokens: int) -> None:
        self.tokens += tokens
        if self.parent is not None:
            self.parent._charge(tokens)
