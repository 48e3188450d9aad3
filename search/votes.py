"""Votes of finished lines for their answers: how a search prefers an answer that nothing can prove."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from search.base import Answer
from search.thinking import Thinking
from search.tree import Node, Outcome, Step, line_logprob


@dataclass
class _Spelling:
    best: Step
    weight: float = 0.0
    heaviest: float = 0.0


@dataclass
class _Candidate:
    number: int
    spellings: dict[str, _Spelling] = field(default_factory=dict)
    weight: float = 0.0
    value: float = 0.0

    def leads(self, other: _Candidate | None) -> bool:
        """Has it more votes than the other, or as many and was there first?"""
        return other is None or (self.weight, -self.number) > (other.weight, -other.number)


class Votes:
    """Weighted votes (self-consistency, Wang et al. 2023, section 2; weighted by value as in Li et al. 2023).

    The confidence in the leading answer is its share of the votes, smoothed by one average vote for it and one
    against; where lines have values, the answer is taken to be wrong when that share errs and the best value among the
    lines that lead to it errs too, as if the two were independent.

    All spellings of an answer are one answer; the one of most weight is shown.

    Args:
        by_value: weight each vote by the line's value, where it has one.
        canonical: a text shared by the spellings of an answer, see verifiers.base.Canonical.
    """

    def __init__(self, by_value: bool = False, canonical: Callable[[str], str] = str) -> None:
        self._by_value, self._canonical = by_value, canonical
        self._candidates: dict[str, _Candidate] = {}
        self._leader: _Candidate | None = None
        self._total = 0.0
        self._lines = 0

    def add(self, step: Step, weight: float) -> None:
        """A finished line votes with a weight above 0, times its value if it has one and votes are weighted."""
        if step.answer is None or step.outcome not in (Outcome.FINISHED, Outcome.PROVED):
            return
        value = step.thought.value
        weight = max(weight * (1.0 if value is None or not self._by_value else value), 1e-12)
        candidate = self._candidates.setdefault(self._canonical(step.answer), _Candidate(len(self._candidates)))
        candidate.weight += weight
        candidate.value = max(candidate.value, value or 0.0)
        spelling = candidate.spellings.setdefault(step.answer, _Spelling(step))
        spelling.weight += weight
        if weight > spelling.heaviest:
            spelling.best, spelling.heaviest = step, weight
        if candidate.leads(self._leader):
            self._leader = candidate
        self._total += weight
        self._lines += 1

    def stand(self, thinking: Thinking) -> Answer | None:
        """Offer the leading answer."""
        leader = self._leader
        if leader is None:
            return None
        average = self._total / self._lines
        share = (leader.weight + average) / (self._total + 2 * average)
        shown = max(leader.spellings.values(), key=lambda spelling: spelling.weight)
        return thinking.offer(shown.best, 1 - (1 - share) * (1 - leader.value))


class TreeVotes:
    """The votes of a tree's distinct lines, the greedy one among them, each weighted by its probability.

    That is the policy's own distribution over answers, as far as the tree has seen it, without the noise of
    sampling. A `power` below 1 flattens it: two ways to an answer then count for more than one likelier way.
    """

    def __init__(self, thinking: Thinking, power: float = 0.5) -> None:
        self._votes = Votes(canonical=thinking.canonical)
        self._power = power
        self._seen: set[tuple[str, ...]] = set()
        self.add(thinking.first_line)

    def add(self, line: Sequence[Step], before: float = 0.0) -> None:
        """A line that is not in the tree votes; `before` is the log-probability [nats] of what it starts from."""
        if line:
            self._add(line[-1], before + sum(step.thought.logprob for step in line))

    def cast(self, thinking: Thinking, finished: Sequence[tuple[Node, Step]]) -> Answer | None:
        """Let finished lines vote; the standing answer if that changed it."""
        for node, step in finished:
            if step.outcome is Outcome.PROVED:
                return thinking.offer(step, 1.0)
            self._add(step, line_logprob(node))
        return self._votes.stand(thinking) if finished else None

    def _add(self, step: Step, logprob: float) -> None:
        """Each line votes once, whichever way it was found."""
        if step.state.thoughts not in self._seen:
            self._seen.add(step.state.thoughts)
            self._votes.add(step, math.exp(self._power * min(logprob, 0.0)))

    def stand(self, thinking: Thinking) -> Answer | None:
        """Offer the leading answer."""
        return self._votes.stand(thinking)
