"""Before anything is trained on a reward: does it pay for right answers, and for nothing else?

A reward that breaks in the middle of a run is noticed by its errors; one that pays for everything, or for nothing,
never fails. So it is tried on what must earn and on what must not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from selfplay.loops import run
from verifiers.base import BadProblem, Domain, Problem, State, Status, derive_seed

NONSENSE = ("", "0", "nonsense", "x" * 200, "[]")
TOLERATED = 0.2
"""Share of tries that may go wrong: a nonsense answer is right now and then, and a demonstration may be odd."""


class BrokenReward(ValueError):
    """The reward function cannot be trusted; one line that says why."""


@dataclass(frozen=True)
class Audit:
    """What was tried: shares in [0, 1]; None where nothing could be tried.

    Attributes:
        earned: demonstrations whose answer was paid.
        overpaid: nonsense and answers to other problems that were paid.
        errors: tries on which the verifier itself failed.
    """

    earned: float | None
    overpaid: float
    errors: float


def audit(domain: Domain, seed: int, tries: int = 20) -> Audit:
    """Grade what must earn and what must not, on training problems. Raises BrokenReward."""
    rng = np.random.default_rng(derive_seed(seed, "audit", domain.name))
    shown = list(_demonstrations(domain, rng, tries))
    problems = [problem for problem, _ in shown] or list(islice(domain.problems("train", seed), tries))
    own = [_grade(domain, problem, answer) for problem, answer in shown]
    bad = [_grade(domain, problem, answer) for i, problem in enumerate(problems) for answer in NONSENSE]
    bad += [_grade(domain, problem, answer)
            for (problem, right), (_, answer) in zip(shown, shown[1:] + shown[:1], strict=True) if answer != right]
    statuses = [*own, *bad]
    found = Audit(
        earned=_share(own, Status.CORRECT) if own else None,
        overpaid=_share(bad, Status.CORRECT),
        errors=_share(statuses, Status.ERROR),
    )
    if found.errors > TOLERATED:
        raise BrokenReward(f"the verifier of {domain.name} fails on {found.errors:.0%} of {len(statuses)} answers")
    if found.overpaid > TOLERATED:
        raise BrokenReward(f"the reward of {domain.name} pays {found.overpaid:.0%} of answers that are nonsense")
    if found.earned is not None and found.earned < 1 - TOLERATED:
        raise BrokenReward(f"the reward of {domain.name} pays only {found.earned:.0%} of its own demonstrations")
    return found


def _demonstrations(domain: Domain, rng: np.random.Generator, tries: int) -> Iterator[tuple[Problem, str]]:
    """(problem, the answer its demonstration ends in); nothing for a domain that demonstrates nothing."""
    judge = domain.judge()
    for _ in range(tries):
        try:
            problem, thoughts = domain.demonstrate(rng)
        except BadProblem:
            return
        answer = run(judge.answer(State(problem.sealed(), tuple(thoughts))))
        if answer is not None:
            yield problem, answer


def _grade(domain: Domain, problem: Problem, answer: str) -> Status:
    """The one boundary where a broken verifier becomes data here."""
    try:
        return domain.check(problem, answer).status
    except Exception:
        return Status.ERROR


def _share(statuses: Sequence[Status], status: Status) -> float:
    return sum(found is status for found in statuses) / len(statuses)
