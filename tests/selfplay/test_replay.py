"""The replay window: which trajectories count, how much, and what stands beside them."""

from __future__ import annotations

from itertools import islice

import pytest

from selfplay.objectives import Grpo, RejectionSampling
from selfplay.replay import Gathered, Replay
from selfplay.trajectory import Purpose, Trajectory
from tests.selfplay.made import line, trajectory
from verifiers.base import Status, Verdict
from verifiers.domains.countdown import Countdown

DOMAIN = Countdown("countdown", [3], 1, 9, 5, 30)


def gather(*trajectories: Trajectory, objective: object = RejectionSampling(), seed: int = 0,
           **settings: float) -> Gathered:
    return Replay(**settings).gather(trajectories, objective, [DOMAIN], seed)  # type: ignore[arg-type]


def thoughts(gathered: Gathered) -> set[str]:
    return {lesson.thoughts[0] for lesson in gathered.lessons}


def solved(name: str, **rest: object) -> Trajectory:
    return trajectory(lines=(line(name), line(f"not {name}", reward=0.0)), **rest)  # type: ignore[arg-type]


def test_the_window_slides() -> None:
    played = [solved(f"g{generation}", generation=generation) for generation in range(5)]
    whole = RejectionSampling(valued=9)  # failed lines too
    assert thoughts(gather(*played, window=2, objective=whole)) == {"g3", "not g3", "g4", "not g4"}
    assert thoughts(gather(*played, window=9)) >= {"g0", "g4"}
    assert thoughts(gather(*played, window=9, objective=Grpo())) == {"g4", "not g4"}  # it learns on-policy


def test_matches_failures_and_repeats_do_not_count() -> None:
    broken = solved("broken", sample=1, verdict=Verdict(Status.ERROR, detail="a judge died"))
    match = solved("match", purpose=Purpose.MATCH)
    once = gather(solved("a"))
    gathered = gather(solved("a"), broken, match, solved("a"))
    assert thoughts(gathered) == {"a", "not a"} and gathered.lessons == once.lessons
    assert (gathered.played.trajectories, gathered.played.failed, gathered.played.problems) == (1, 1, 1)


def test_the_order_in_which_trajectories_arrive_does_not_matter() -> None:
    played = [solved(f"t{n}", prompt=f"1 2 -> {n % 7}", sample=n) for n in range(30)]
    assert gather(*played).lessons == gather(*reversed(played)).lessons


def test_a_problem_that_is_played_often_weighs_no_more() -> None:
    often = [solved(f"often{n}", sample=n) for n in range(20)]
    gathered = gather(*often, solved("rare", prompt="7 8 -> 15"))
    weights = {"often": 0.0, "rare": 0.0}
    for lesson in gathered.lessons:
        for name in weights:
            if lesson.thoughts[0].startswith(name):
                weights[name] += lesson.imitation[0]
    assert weights == pytest.approx({"often": 1.0, "rare": 1.0})
    trust = {lesson.prompt: 0.0 for lesson in gathered.lessons}
    for lesson in gathered.lessons:
        trust[lesson.prompt] += lesson.targets[0][1]
    assert trust == pytest.approx({"1 2 3 -> 6": 1.0, "7 8 -> 15": 1.0})
    heavier = gather(*often, cap=4.0)
    assert sum(lesson.targets[0][1] for lesson in heavier.lessons) == pytest.approx(4.0)


def test_monitors_see_problems_that_are_not_learned_from() -> None:
    played = [solved(f"t{n}", prompt=f"1 2 -> {n}") for n in range(40)]
    gathered = gather(*played, held_out=3)
    watched = {lesson.prompt for lesson in gathered.monitored}
    assert len(watched) == gathered.played.held_out == 3
    assert watched.isdisjoint(lesson.prompt for lesson in gathered.lessons)
    assert not any(any(lesson.imitation) for lesson in gathered.monitored)
    assert len({lesson.prompt for lesson in gather(*played, held_out=99).monitored}) == 4  # a tenth at most
    for seed in range(1, 9):  # of later generations, which must not learn from them either
        assert {lesson.prompt for lesson in gather(*played, held_out=3, seed=seed).monitored} == watched


def test_monitors_see_what_the_latest_policy_wrote() -> None:
    played = [solved(f"g{generation}s{sample}", prompt=f"1 2 -> {n}", generation=generation, sample=sample)
              for n in range(40) for generation in range(3) for sample in range(2) if n % 2 or generation < 2]
    for window in (1, 3):
        monitored = gather(*played, window=window, held_out=4).monitored
        for lesson in monitored:
            last = "g2" if int(lesson.prompt.split()[-1]) % 2 else "g1"
            assert lesson.thoughts[0].removeprefix("not ").startswith(last)
        assert len(monitored) == 4 * len({lesson.prompt for lesson in monitored})  # of both samples


def test_what_was_played_is_summed_up() -> None:
    summed = gather(trajectory(lines=(line("a"), line("b"), line("b"), line("c", reward=0.0))),
                    trajectory(lines=(line("x", reward=0.0), line("x", reward=0.0)), prompt="1 2 -> 9")).played
    assert (summed.problems, summed.solved, summed.distinct_solutions) == (2, 0.5, 2.0)
    assert summed.distinct_lines == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_demonstrations_are_of_the_training_split_and_repeat_with_the_seed() -> None:
    def first(seed: int) -> list[str]:
        return [lesson.prompt for lesson in islice(gather(solved("a"), seed=seed).demonstrations, 20)]

    assert first(1) == first(1) != first(2)
    held_out = {problem.prompt for split in ("validation", "test") for problem in islice(DOMAIN.problems(split, 0), 50)}
    assert held_out.isdisjoint(first(1))
    assert Replay().gather([solved("a")], RejectionSampling(), [], 0).share == 0.0


@pytest.mark.parametrize("bad", [{"window": 0}, {"cap": 0.0}, {"demonstrations": 1.0}, {"held_out": -1}])
def test_impossible_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Replay(**bad)  # type: ignore[arg-type]
