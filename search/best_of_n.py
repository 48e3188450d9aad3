"""Best of n: many independent lines of thought, and the one the policy values most."""

from __future__ import annotations

from collections.abc import Callable

from search.base import Answer
from search.chains import Chains, Line
from search.thinking import Thinking, line_confidence
from search.tree import Outcome


class BestOfN(Chains):
    """The finished line of the highest value stands; where there are no values, of the highest mean log-probability.

    n is as many as the budget allows; the greedy line is one of them. Args: see Chains.
    """

    def chooser(self, thinking: Thinking) -> Callable[[Line], Answer | None]:
        """The best line so far stands."""
        best = (-1, 0.0)

        def choose(line: Line) -> Answer | None:
            nonlocal best
            if score(line) <= best:
                return None
            best = score(line)
            return thinking.offer(line[-1], line_confidence(line))

        return choose


def score(line: Line) -> tuple[int, float]:
    """A proof, else the value in [0, 1], else the mean log-probability of a token [nats]; higher is better."""
    if line[-1].outcome is Outcome.PROVED:
        return (1, 0.0)
    value = line[-1].thought.value
    if value is not None:
        return (0, value)
    return (0, sum(step.thought.logprob for step in line) / sum(step.thought.tokens for step in line))
