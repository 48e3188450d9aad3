"""Asymmetric self-play: the policy proposes the problems it learns from (Absolute Zero, Zhao et al. 2025).

A proposal is a thought like any other: the line that the policy writes below a cue (`new game24`) that stands where a
problem's prompt would. So the same decoder draws it, and the same learner imitates it. The domain reads the line; what
is a training problem, and new, is solved by independent lines, and pays 1 - solve rate, nothing if never solved.

Stage one gives prompts and never imitates them, so a policy must first be shown some (`first_lessons`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

from policy.base import Thought
from selfplay.curriculum import Tally
from verifiers.base import BadProblem, Domain, Problem, content_id


@runtime_checkable
class Proposable(Domain, Protocol):
    """A domain that can be added to: it tells training problems from held-out ones, and grades what it has read.

    Programs are none: a proposal has public examples alone, which functions of held-out problems may fit as well.
    """

    def split(self, problem: Problem) -> str:
        """The split that a problem of this domain belongs to, by its content alone."""
        ...


@dataclass(frozen=True)
class Proposal:
    """A line that the policy wrote below a cue.

    Attributes:
        text: as it wrote it; untrusted.
        logprob: its natural log-probability at temperature 1, its end included.
        problem: what the domain reads in it, if it may be played.
        fault: why it may not: `cut off`, `unparsable`, `held out` or `repeated`; empty if it may.
    """

    text: str
    logprob: float
    problem: Problem | None
    fault: str = ""


@dataclass(frozen=True)
class Paid:
    """A proposal and its reward.

    Attributes:
        reward: in [0, 1]; None if nothing is known, because no line was graded.
    """

    proposal: Proposal
    reward: float | None


@dataclass(frozen=True)
class Lesson:
    """Something to imitate: the line of a problem below the cue.

    Attributes:
        cue: stands where a problem's prompt would; its thought is the prompt of the problem.
        prompt: of the proposed problem, as the domain writes it.
        weight: in (0, 1].
    """

    cue: Problem
    prompt: str
    weight: float


def cue(domain: Domain) -> Problem:
    """What a policy goes on from when it proposes a problem of the domain. No domain reads its prompt as a problem.

    Raises: BadProblem if the domain cannot be added to.
    """
    if not isinstance(domain, Proposable):
        raise BadProblem(f"{domain.name} takes no proposals: it cannot tell a training problem by its text")
    return Problem(content_id(f"proposing:{domain.name}"), f"new {domain.name}", f"new {domain.name}", {})


def read(domain: Proposable, thoughts: Iterable[Thought], known: Container[str]) -> tuple[Proposal, ...]:
    """What the thoughts below a cue propose; of those that pose the same problem, the first counts.

    Args:
        known: ids of the problems in records of closed generations, see selfplay.curriculum.
    """
    found: list[Proposal] = []
    seen: set[str] = set()
    for thought in thoughts:
        problem = _parsed(domain, thought.text) if thought.complete else None
        if not thought.complete:
            fault = "cut off"
        elif problem is None:
            fault = "unparsable"
        elif domain.split(problem) != "train":
            fault = "held out"
        else:
            fault = "repeated" if problem.id in seen or problem.id in known else ""
            seen.add(problem.id)
        found.append(Proposal(thought.text, thought.logprob, None if fault else problem, fault))
    return tuple(found)


def _parsed(domain: Domain, text: str) -> Problem | None:
    try:
        return domain.parse(text)
    except BadProblem:
        return None


def pay(proposals: Iterable[Proposal], tallies: Mapping[str, Tally]) -> tuple[Paid, ...]:
    """Rewards, by how independent lines of the policy fared: 1 - solve rate; 0 if never solved, or not to be played.

    Args:
        tallies: by problem id, from this generation's lines (see selfplay.curriculum.tally); searches do not count.
    """
    return tuple(Paid(proposal, _reward(proposal, tallies)) for proposal in proposals)


def _reward(proposal: Proposal, tallies: Mapping[str, Tally]) -> float | None:
    if proposal.problem is None:
        return 0.0
    tally = tallies.get(proposal.problem.id)
    if tally is None or not tally.lines:
        return None
    return 1 - tally.lines_right / tally.lines if tally.lines_right else 0.0


def lessons(domain: Proposable, paid: Iterable[Paid]) -> tuple[Lesson, ...]:
    """What to imitate: proposals that were paid, weighted by their rewards, as the domain writes them."""
    return tuple(Lesson(cue(domain), made.proposal.problem.prompt, made.reward)
                 for made in paid if made.proposal.problem is not None and made.reward)


def first_lessons(domain: Proposable, count: int, seed: int) -> tuple[Lesson, ...]:
    """Prompts of training problems: what a policy imitates before it can propose any."""
    return tuple(Lesson(cue(domain), problem.prompt, 1.0) for problem in islice(domain.problems("train", seed), count))
