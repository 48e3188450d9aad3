"""What all searchers share: the greedy line first, and the early end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing

from policy.base import Policy
from policy.budget import Meter
from search.base import Answer
from search.thinking import Thinking
from verifiers.base import Judge, Problem


def at_least_one(**options: int) -> None:
    """Raises ValueError for an option that is no whole number of at least 1."""
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")


def within(low: float, high: float, **options: float) -> None:
    """Raises ValueError for an option that is no number in [low, high]."""
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}")


def yes_or_no(**options: bool) -> None:
    """Raises ValueError for an option that is neither true nor false."""
    for name, value in options.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, not {value!r}")


class Anytime(ABC):
    """An anytime searcher: a greedy line first, then `think` until it ends, an answer is proved, or the meter is out.

    Args:
        check_thoughts: ask the judge whether each single step is legal, and drop those that are not.
        max_depth: thoughts after which an unfinished line is dead.
    """

    def __init__(self, check_thoughts: bool = True, max_depth: int = 24) -> None:
        at_least_one(max_depth=max_depth)
        yes_or_no(check_thoughts=check_thoughts)
        self.check_thoughts = check_thoughts
        self.max_depth = max_depth

    async def search(
        self, problem: Problem, policy: Policy, judge: Judge, meter: Meter, seed: int
    ) -> AsyncGenerator[Answer, None]:
        """See Searcher."""
        async with self.begin(problem, policy, judge, meter, seed) as thinking, aclosing(self.run(thinking)) as answers:
            async for answer in answers:
                yield answer

    def begin(
        self, problem: Problem, policy: Policy, judge: Judge, meter: Meter, seed: int, remember: bool = False
    ) -> Thinking:
        """What `run` needs; to be entered (`async with`) around it. See Thinking."""
        return Thinking(
            problem, policy, judge, meter, seed,
            check_thoughts=self.check_thoughts, max_depth=self.max_depth, remember=remember,
        )  # fmt: skip

    async def run(self, thinking: Thinking) -> AsyncGenerator[Answer, None]:
        """The search itself; whoever holds `thinking` may look at its tree while it runs and afterwards."""
        first = await self.first(thinking)
        if first is not None:
            yield first
        if thinking.over:
            return
        async with aclosing(self.think(thinking)) as answers:
            async for answer in answers:
                yield answer
                if answer.verified:
                    return

    async def first(self, thinking: Thinking) -> Answer | None:
        """The greedy line, `thinking.first_line` from then on, and its answer."""
        return await thinking.greedy()

    @abstractmethod
    def think(self, thinking: Thinking) -> AsyncGenerator[Answer, None]:
        """Go on from the greedy answer; yields every change of the standing answer."""
