"""The player: a trajectory depends on its job alone, tells the whole story, and one that fails is no accident."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import replace

import pytest

from policy.base import BadPolicy, PolicyStopped, Sampling, Thought
from policy.budget import BadBudget, Budget, Meter
from policy.uniform import Uniform
from search.best_of_n import BestOfN
from search.levin import Levin
from search.mcts import MCTS
from selfplay.player import Player
from selfplay.trajectory import Job, Purpose, Trajectory
from tests.selfplay.fakes import DOMAIN, jobs, timeless
from verifiers.base import Domain, Problem, State, Status, Verdict
from verifiers.domains.countdown import Countdown


def player(domain: Domain = DOMAIN, policy: object = None, searcher: object = None, **options: int) -> Player:
    options = {"lines": 3, "concurrent": 6, **options}
    return Player(
        {"countdown": domain}, policy or Uniform(DOMAIN), searcher or MCTS(), Budget.parse("300tok"), **options  # type: ignore[arg-type]
    )


async def play(player: Player, work: Iterable[Job]) -> list[Trajectory]:
    return [trajectory async for trajectory in player.play(work)]


async def test_a_trajectory_depends_on_its_job_alone() -> None:
    work = jobs(12)
    together = {timeless(t) for t in await play(player(), work)}
    backwards = {timeless(t) for t in await play(player(concurrent=1), work[::-1])}
    assert together == backwards and len(together) == 12
    again = await play(player(), [replace(work[0], sample=1), replace(work[0], generation=1)])
    assert len({t.examples for t in again} | {t.examples for t in together if t.problem.id == work[0].problem.id}) == 3


async def test_the_whole_story_is_told() -> None:
    work = {job.episode_id: job for job in jobs(12)}
    played = await play(player(), work.values())
    assert {t.episode_id for t in played} == set(work)
    for t in played:
        job = work[t.episode_id]
        assert (t.problem, t.problem.reference, t.seed) == (job.problem, job.problem.reference, job.search_seed)
        assert (t.generation, t.sample, t.purpose) == (job.generation, job.sample, job.purpose)
        assert (t.policy_version, t.temperature) == ("uniform", 1.0)
        assert t.tokens <= 300 and t.simulations > 0 and t.seconds > 0 and t.line_tokens > 0
        assert [line.greedy for line in t.lines] == [False] * 3 + [True]
        assert all(len(line.thoughts) == len(line.logprobs) for line in t.lines)
        if t.answer is not None:
            assert t.verdict == DOMAIN.check(job.problem, t.answer) and t.answer_thoughts
            assert not t.verified or t.verdict.ok
        if t.verdict.ok and len(t.answer_thoughts) > 1:
            assert t.answer_thoughts[:1] in {e.thoughts for e in t.examples} and t.examples[0].q == 1
    assert any(t.verified for t in played) and any(t.answer is None or not t.verdict.ok for t in played)
    outcomes = {move.outcome for t in played for e in t.examples for move in e.moves}
    assert {"correct", "refuted", "open"} <= outcomes


async def test_lines_are_no_copies_of_what_the_search_drew() -> None:
    (t,) = await play(player(searcher=BestOfN(), lines=8), jobs(1))
    roots = {move.text for move in t.examples[0].moves}
    assert len({line.thoughts for line in t.lines}) > 3 and roots


async def test_a_match_wants_no_tree_and_the_greedy_line_only() -> None:
    played = await play(player(), jobs(4, Purpose.MATCH))
    assert all(t.examples == () and [line.greedy for line in t.lines] == [True] for t in played)
    assert all(t.solve_rate is None for t in played)
    later = await play(player(), jobs(4, Purpose.MATCH, generation=5))  # with the same noise: they are paired
    assert {t.seed for t in later} == {t.seed for t in played}
    assert {t.answer for t in later} == {t.answer for t in played}


class Grader(Countdown):
    """Grades countdown, but for some problems."""

    def __init__(self, broken: dict[str, Exception | Verdict]) -> None:
        super().__init__("countdown", [3], 1, 9, 5, 30)
        self.broken = broken

    def check(self, problem: Problem, answer: str) -> Verdict:
        match self.broken.get(problem.id):
            case Exception() as error:
                raise error
            case Verdict() as verdict:
                return verdict
        return super().check(problem, answer)


async def test_a_match_may_have_a_budget_of_its_own() -> None:
    made = Player({"countdown": DOMAIN}, Uniform(DOMAIN), MCTS(), Budget.parse("300tok"),
                  match_budget=Budget.parse("100tok"), lines=0)
    work = jobs(6)
    training, matches = [await play(made, [replace(job, purpose=purpose) for job in work])
                         for purpose in (Purpose.TRAIN, Purpose.MATCH)]
    assert max(t.tokens for t in matches) <= 100 < max(t.tokens for t in training)


async def test_what_fails_in_one_job_is_told_in_its_trajectory_alone() -> None:
    work = jobs(7)
    ids = [job.problem.id for job in work]
    domain = Grader({ids[0]: ZeroDivisionError("by\nzero"), ids[1]: Verdict(Status.ERROR, detail="no room")})
    work[2] = replace(work[2], problem=replace(work[2].problem, domain="chess"))
    work[3] = replace(work[3], problem=replace(work[3].problem, fault="row 7 has no answer"))
    played = {t.problem.id: t for t in await play(player(domain), work)}
    details = [played[i].verdict.detail for i in ids[:4]]
    assert details == [
        "ZeroDivisionError: by zero", "RuntimeError: grading failed: no room",
        "ValueError: there is no domain chess among countdown", "ValueError: row 7 has no answer",
    ]  # fmt: skip
    assert all(played[i].failed and not played[i].lines and played[i].solve_rate is None for i in ids[:4])
    assert played[ids[0]].tokens > 0 and not any(played[i].failed for i in ids[4:])


class Flaky(Uniform):
    """A policy that fails, or stops for good, at one problem, and watches over its callers."""

    def __init__(self, at: str, error: Exception) -> None:
        super().__init__(DOMAIN)
        self.at, self.error, self.live = at, error, 0

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        assert state.problem.reference is None
        if state.problem.id == self.at and len(state.thoughts) == 1:
            raise self.error
        self.live += 1
        try:
            return await super().propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)
        finally:
            self.live -= 1


async def test_a_policy_may_fail_at_a_state_but_not_stop() -> None:
    work = jobs(8)
    played = await play(player(policy=Flaky(work[3].problem.id, ValueError("too long"))), work)
    assert [t.verdict.detail for t in played if t.failed] == ["ValueError: too long"]
    stopped = Flaky(work[3].problem.id, PolicyStopped("out of memory"))
    with pytest.raises(PolicyStopped):
        await play(player(policy=stopped), work)
    assert stopped.live == 0 and len(asyncio.all_tasks()) == 1


async def test_nobody_plays_on_when_nobody_looks() -> None:
    policy = Flaky("", ValueError())
    async with aclosing(player(policy=policy).play(iter(jobs(20)))) as playing:
        await anext(playing)
    assert policy.live == 0 and len(asyncio.all_tasks()) == 1


async def test_jobs_are_taken_as_there_is_room() -> None:
    work = iter(jobs(20))
    async with aclosing(player(concurrent=4).play(work)) as playing:
        await anext(playing)
        left = list(work)
    assert 16 >= len(left) >= 12


async def test_progress_moves() -> None:
    one = player()
    seen = [one.progress]
    async for _ in one.play(jobs(3)):
        seen.append(one.progress)
    assert seen == sorted(seen) and seen[-1] > seen[0]  # several games may end before one is told of


async def test_any_searcher_that_has_a_tree() -> None:
    for searcher in (Levin(), BestOfN()):
        played = await play(player(searcher=searcher), jobs(3))
        assert not any(t.failed for t in played) and all(t.examples for t in played)


def test_bad_input() -> None:
    with pytest.raises(BadBudget, match="holds no thought"):
        Player({"countdown": DOMAIN}, Uniform(DOMAIN), MCTS(), Budget.parse("10tok"))
    with pytest.raises(ValueError, match="concurrent"):
        player(concurrent=0)
    with pytest.raises(BadPolicy, match="takes no adapter"):
        player().load_adapter("anything")
