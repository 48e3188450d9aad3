"""Rollouts: played to the end, graded with the reference, in order."""

from __future__ import annotations

from policy.uniform import Uniform
from selfplay.rollouts import accuracy, any_correct, play
from verifiers.base import State
from verifiers.domains.countdown import Countdown

DOMAIN = Countdown("countdown", [3], 1, 9, 5, 30)


async def test_rollouts_are_whole_graded_and_repeatable() -> None:
    problems = [DOMAIN.parse(text) for text in ("1 2 3 -> 6", "2 3 4 -> 24")]
    rollouts = await play(Uniform(DOMAIN), DOMAIN, problems, 40, seed=1, concurrent=7)
    assert [r.problem.id for r in rollouts] == [p.id for p in problems for _ in range(40)]
    judge = DOMAIN.judge()
    for rollout in rollouts:
        assert rollout.answer == await judge.answer(State(rollout.problem, rollout.thoughts))
        assert rollout.verdict == DOMAIN.check(rollout.problem, rollout.answer)
    assert 0 < accuracy(rollouts) < 1
    assert any_correct(rollouts) == 1.0
    again = await play(Uniform(DOMAIN), DOMAIN, problems, 40, seed=1, concurrent=3)
    assert [r.thoughts for r in again] == [r.thoughts for r in rollouts]
    other = await play(Uniform(DOMAIN), DOMAIN, problems, 40, seed=2)
    assert [r.thoughts for r in other] != [r.thoughts for r in rollouts]
