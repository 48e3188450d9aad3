"""Rollouts: lines of thought that a policy plays to the end on its own, graded with the reference.

Their outcomes are what a value head learns, and their accuracy is what a model card reports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policy.base import Policy, Sampling
from policy.budget import UNLIMITED_TOKENS, Budget, Meter
from verifiers.base import Domain, Judge, Problem, State, Verdict, unparsable

MAX_DEPTH = 24


@dataclass(frozen=True)
class Rollout:
    """One line of thought of the policy alone.

    Attributes:
        problem: with its reference.
        thoughts: as the policy wrote them; untrusted.
        answer: None if the line broke off (cut short, blank, or too deep).
        verdict: the grade of the answer; unparsable without one.
    """

    problem: Problem
    thoughts: tuple[str, ...]
    answer: str | None
    verdict: Verdict


async def play(
    policy: Policy, domain: Domain, problems: Iterable[Problem], samples: int, seed: int, *,
    sampling: Sampling = Sampling.INDEPENDENT, concurrent: int = 256,
) -> list[Rollout]:
    """`samples` rollouts of each problem, problem by problem in order, at most `concurrent` at once."""
    meter = Budget(tokens=UNLIMITED_TOKENS).start()
    judge = domain.judge()
    gate = asyncio.Semaphore(concurrent)

    async def one(problem: Problem, sample: int) -> Rollout:
        async with gate:
            thoughts, answer = await _line(policy, judge, problem.sealed(), sample, seed, sampling, meter)
        verdict = unparsable("no answer") if answer is None else domain.check(problem, answer)
        return Rollout(problem, thoughts, answer, verdict)

    return await asyncio.gather(*(one(problem, sample) for problem in problems for sample in range(samples)))


async def _line(
    policy: Policy, judge: Judge, problem: Problem, sample: int, seed: int, sampling: Sampling, meter: Meter
) -> tuple[tuple[str, ...], str | None]:
    state = State(problem)
    while len(state.thoughts) < MAX_DEPTH:
        thoughts = await policy.propose(state, 1, sampling=sampling, seed=seed, meter=meter, first=sample)
        if not thoughts or thoughts[0].dead:
            break
        state = state.then(thoughts[0].text, thoughts[0].last)
        answer = await judge.answer(state)
        if answer is not None:
            return state.thoughts, answer
        if not thoughts[0].text.strip():
            break
    return state.thoughts, None


def accuracy(rollouts: Sequence[Rollout]) -> float:
    """Share of rollouts graded correct, in [0, 1]."""
    return sum(rollout.verdict.ok for rollout in rollouts) / len(rollouts)


def any_correct(rollouts: Sequence[Rollout]) -> float:
    """Share of problems with at least one correct rollout (pass@samples), in [0, 1]."""
    solved: dict[str, bool] = {}
    for rollout in rollouts:
        solved[rollout.problem.id] = solved.get(rollout.problem.id, False) or rollout.verdict.ok
    return sum(solved.values()) / len(solved)
