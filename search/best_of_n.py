"""Best of n: many independent lines of thought, and the one the policy values most."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from search.anytime import Anytime
from search.base import Answer
from search.thinking import Thinking, line_confidence
from search.tree import Outcome, Step


class BestOfN(Anytime):
    """The finished line of the highest value stands; where there are no values, of the highest mean log-probability.

    n is as many as the budget allows.

    Args:
        check_thoughts, max_depth: see Anytime.
        in_flight: lines that are thought at the same time.
    """

    def __init__(self, check_thoughts: bool = True, max_depth: int = 24, in_flight: int = 16) -> None:
        super().__init__(check_thoughts, max_depth)
        if in_flight < 1:
            raise ValueError("in_flight must be at least 1")
        self.in_flight = in_flight

    async def think(self, thinking: Thinking) -> AsyncGenerator[Answer, None]:
        """Sample lines until the meter is out, or an answer is proved."""
        best = score(thinking.first_line)
        async for line in thinking.samples(self.in_flight):
            if score(line) > best:
                best = score(line)
                answer = thinking.offer(line[-1], line_confidence(line))
                if answer is not None:
                    yield answer


def score(line: Sequence[Step]) -> tuple[int, float]:
    """Proved lines first, then those nobody can test by value, else by log-probability a token; higher is better."""
    if not line or line[-1].outcome not in (Outcome.PROVED, Outcome.FINISHED):
        return (0, 0.0)
    if line[-1].outcome is Outcome.PROVED:
        return (2, 0.0)
    value = line[-1].thought.value
    if value is not None:
        return (1, value)
    return (1, sum(step.thought.logprob for step in line) / sum(step.thought.tokens for step in line))
