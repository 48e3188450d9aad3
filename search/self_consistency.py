"""Self-consistency: many independent lines of thought, and a vote (Wang et al. 2023)."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from search.anytime import Anytime
from search.base import Answer
from search.thinking import Thinking
from search.votes import Votes


class SelfConsistency(Anytime):
    """Independent lines vote for their answers; the greedy line has a vote too.

    Args:
        check_thoughts, max_depth: see Anytime.
        in_flight: lines that are thought at the same time.
        weighted: votes count their value instead of 1.
    """

    def __init__(
        self, check_thoughts: bool = True, max_depth: int = 24, in_flight: int = 16, weighted: bool = False
    ) -> None:
        super().__init__(check_thoughts, max_depth)
        if in_flight < 1:
            raise ValueError("in_flight must be at least 1")
        self.in_flight = in_flight
        self.weighted = weighted

    async def think(self, thinking: Thinking) -> AsyncGenerator[Answer, None]:
        """Sample lines until the meter is out, or an answer is proved."""
        votes = Votes(self.weighted)
        if thinking.first_line:
            votes.add(thinking.first_line[-1], 1.0)
        async for line in thinking.samples(self.in_flight):
            votes.add(line[-1], 1.0)
            answer = votes.stand(thinking)
            if answer is not None:
                yield answer
