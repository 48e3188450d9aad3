"""Self-consistency: many independent lines of thought, and a vote (Wang et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable

from search.anytime import yes_or_no
from search.base import Answer
from search.chains import Chains, Line
from search.thinking import Thinking
from search.votes import Votes


class SelfConsistency(Chains):
    """Independent lines vote for their answers; the greedy line has a vote too.

    Args:
        in_flight: lines in a wave.
        check_thoughts, max_depth: see Anytime.
        weighted: votes count their value instead of 1.
    """

    def __init__(
        self, in_flight: int = 16, check_thoughts: bool = True, max_depth: int = 24, weighted: bool = False
    ) -> None:
        super().__init__(in_flight, check_thoughts, max_depth)
        yes_or_no(weighted=weighted)
        self.weighted = weighted

    def chooser(self, thinking: Thinking) -> Callable[[Line], Answer | None]:
        """The leading answer stands."""
        votes = Votes(self.weighted, thinking.canonical)

        def choose(line: Line) -> Answer | None:
            votes.add(line[-1], 1.0)
            return votes.stand(thinking)

        return choose
