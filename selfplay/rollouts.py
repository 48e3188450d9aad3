"""Rollouts: lines of thought that a policy plays to the end on its own, graded with the reference.

Their outcomes are what a value head learns, and their accuracy is what a model card reports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Drawn:
    """A line of thought as the policy wrote it, not graded yet.

    Attributes:
        thoughts: untrusted.
        logprobs: log-probability [nats, temperature 1] of each, its end included.
        tokens: charged for all of them, and for the one that broke the line off.
        answer: None if the line broke off.
        lasts: for each thought, whether the policy ended its whole text with it.
        ids: for each thought, the tokens that were drawn; see Thought.ids.
    """

    thoughts: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    tokens: int = 0
    answer: str | None = None
    lasts: tuple[bool, ...] = ()
    ids: tuple[tuple[int, ...], ...] = ()


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
            line = await draw(policy, judge, problem.sealed(), sample, seed, sampling, meter)
        verdict = unparsable("no answer") if line.answer is None else domain.check(problem, line.answer)
        return Rollout(problem, line.thoughts, line.answer, verdict)

    return await asyncio.gather(*(one(problem, sample) for problem in problems for sample in range(samples)))


async def draw(
    policy: Policy, judge: Judge, problem: Problem, sample: int, seed: int, sampling: Sampling, meter: Meter
) -> Drawn:
    """Line number `sample` of a sealed problem under this seed, to its end. Charges nothing to the meter."""
    state, line = State(problem), Drawn()
    while len(state.thoughts) < MAX_DEPTH and line.answer is None:
        thoughts = await policy.propose(state, 1, sampling=sampling, seed=seed, meter=meter, first=sample)
        if not thoughts:
            break
        thought, tokens = thoughts[0], line.tokens + thoughts[0].tokens
        if thought.dead:
            return replace(line, tokens=tokens)
        state = state.then(thought.text, thought.last)
        answer = await judge.answer(state)
        line = Drawn(state.thoughts, (*line.logprobs, thought.logprob), tokens, answer, (*line.lasts, thought.last),
                     (*line.ids, thought.ids))
        if not thought.text.strip():
            break
    return line


def accuracy(rollouts: Sequence[Rollout]) -> float:
    """Share of rollouts graded correct, in [0, 1]."""
    return sum(rollout.verdict.ok for rollout in rollouts) / len(rollouts)


def any_correct(rollouts: Sequence[Rollout]) -> float:
    """Share of problems with at least one correct rollout (pass@samples), in [0, 1]."""
    solved: dict[str, bool] = {}
    for rollout in rollouts:
        solved[rollout.problem.id] = solved.get(rollout.problem.id, False) or rollout.verdict.ok
    return sum(solved.values()) / len(solved)
