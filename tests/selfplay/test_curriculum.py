"""The curriculum: what it prefers, what it drops, how a ladder is climbed; and that a resumed run plans the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfplay.curriculum import (
    Curriculum,
    Key,
    Pick,
    Record,
    Tally,
    apportioned,
    drawn,
    learnable,
    merged,
    solve_rate,
    tally,
)
from selfplay.trajectory import Purpose
from tests.selfplay.played import trajectory
from verifiers.base import BadProblem, Problem, split_of
from verifiers.domains.arithmetic import Arithmetic
from verifiers.domains.countdown import Countdown

FEW = Countdown("few", [2], 1, 4, 3, 8)  # a handful of puzzles
GAME = Countdown("game24", [4], 1, 13, 24, 24, target=24, named_splits=["tot100"])
LADDER = [Countdown(f"countdown{count}", [count], 1, 13, 10, 100) for count in (3, 4, 5)]
SUMS = Arithmetic("arithmetic", 3, 3, 12, 0.2)


def record(number: int, *rights: int, attempts: int = 10, domain: str = "arithmetic", first: int = 0) -> Record:
    """A problem with so many right attempts in each generation from the first one on."""
    return Record(Problem(f"{number:04}", domain, f"{number}", {}), tuple(
        Tally(first + generation, attempts, right) for generation, right in enumerate(rights)))


def known(records: Sequence[Record]) -> dict[Key, Record]:
    return {(r.problem.domain, r.problem.id): r for r in records}


def whys(picks: Sequence[Pick]) -> Counter[str]:
    return Counter(pick.why for pick in picks)


def test_tallies_count_what_was_graded() -> None:
    a, b = Problem("a", "riddles", "a", {}), Problem("b", "riddles", "b", {})
    records = tally([
        trajectory(a, 1, lines=["correct", "wrong", "error", "unparsable"], greedy="correct", search="correct"),
        trajectory(a, 1, lines=["timeout"], search="error", sample=1),
        trajectory(a, 0, lines=["correct"], search="wrong"),
        trajectory(b, 1, lines=["correct"], search="unparsable", tokens=0),  # lines alone
        trajectory(b, 2, search="error"),
        trajectory(b, 3, search="correct", purpose=Purpose.MATCH),
    ])
    assert records[("riddles", "a")] == Record(a, (Tally(0, 1, 1, 1, 0), Tally(1, 4, 1, 1, 1)))
    assert records[("riddles", "b")] == Record(b, (Tally(1, 1, 1, 0, 0),))
    assert records[("riddles", "a")].tallies[1].rate == 2 / 5


def test_merged_records_are_those_of_all_trajectories() -> None:
    problem = Problem("a", "riddles", "a", {})
    games = [trajectory(problem, generation, lines=["correct"] * generation) for generation in (2, 0, 1)]
    assert merged(*(tally([game]) for game in games)) == tally(games)
    with pytest.raises(ValueError, match="two records"):
        merged(tally(games), tally(games[:1]))


@given(st.lists(st.integers(0, 8), min_size=1, max_size=4), st.integers(0, 3), st.floats(0, 1))
def test_learnable_is_the_mean_of_p_times_1_minus_p(rights: list[int], late: int, decay: float) -> None:
    generation = len(rights) + late
    weights = [decay ** (generation - 1 - g) for g in range(len(rights))]
    right = 1 + sum(w * r for w, r in zip(weights, rights, strict=True))
    wrong = 1 + sum(w * (8 - r) for w, r in zip(weights, rights, strict=True))
    p = (np.arange(4000) + 0.5) / 4000
    density = p ** (right - 1) * (1 - p) ** (wrong - 1)
    expected = (density * p * (1 - p)).sum() / density.sum()
    found = learnable(record(1, *rights, attempts=8), generation, decay)
    assert found == pytest.approx(expected, rel=1e-3) and 0 < found < 0.25


def test_half_solved_is_preferred() -> None:
    levels = [learnable(record(1, right, attempts=8), 1, 0.5) for right in range(9)]
    assert levels.index(max(levels)) == 4
    assert levels == pytest.approx(levels[::-1])
    assert levels[:5] == sorted(levels[:5])
    # What an older policy could do says less.
    assert learnable(record(1, 8, attempts=8), 5, 0.5) > levels[8]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6).filter(any), st.integers(0, 500))
def test_apportioned_adds_up_and_is_fair(weights: list[int], count: int) -> None:
    shares = np.array(weights) / sum(weights)
    whole = apportioned(shares, count)
    assert sum(whole) == count
    assert all(abs(number - share * count) < 1 + 1e-6 for number, share in zip(whole, shares, strict=True))


def test_draws_are_in_proportion_and_without_replacement() -> None:
    pool = [record(number, 1) for number in range(4)]
    rng = np.random.default_rng(1)
    firsts: Counter[str] = Counter()
    for _ in range(4000):
        order = drawn(pool, lambda r: 1.0 + int(r.problem.id), rng)
        assert len({r.problem.id for r in order}) == 4
        firsts[order[0].problem.id] += 1
    assert [firsts[f"{n:04}"] / 4000 for n in range(4)] == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.03)


def test_the_first_generation_plays_new_problems() -> None:
    picks = Curriculum().plan([SUMS], {}, 0, 50, seed=1)
    assert whys(picks) == {"new": 50} and len({pick.problem.id for pick in picks}) == 50
    assert all(split_of(pick.problem.id) == "train" and pick.problem.reference is not None for pick in picks)
    assert picks != Curriculum().plan([SUMS], {}, 0, 50, seed=2)


def test_a_plan_is_mixed_as_asked() -> None:
    records = [record(n, 5) for n in range(100)] + [record(n, 0) for n in range(100, 200)]
    records += [record(n, 10, 9) for n in range(200, 300)]
    picks = Curriculum().plan([SUMS], known(records), 2, 200, seed=1)
    assert whys(picks) == {"half": 90, "new": 80, "hard": 20, "review": 10}
    assert all(pick.sample == 0 for pick in picks) and len({pick.problem.id for pick in picks}) == 200
    ids = {why: {int(p.problem.id) for p in picks if p.why == why} for why in ("half", "hard", "review")}
    assert max(ids["half"]) < 100 <= min(ids["hard"]) <= max(ids["hard"]) < 200 <= min(ids["review"])


def test_half_solved_problems_are_played_more_often() -> None:
    records = known([record(n, n % 10 + 1, attempts=11) for n in range(500)])
    picks = Curriculum(new=0, hard=0, review=0).plan([SUMS], records, 1, 100, seed=1)
    played = Counter(int(pick.problem.id) % 10 + 1 for pick in picks)
    middle, edges = sum(played[n] for n in (4, 5, 6, 7)), sum(played[n] for n in (1, 2, 9, 10))
    assert middle > 1.5 * edges > 0


def test_what_is_solved_again_and_again_is_laid_aside_until_it_fails() -> None:
    assert not record(1, 10).mastered(2, 0.9)
    assert record(1, 3, 10, 9).mastered(2, 0.9)
    assert not record(1, 10, 10, 8).mastered(2, 0.9)
    records = known([record(n, 10, 10) for n in range(300)])
    picks = Curriculum().plan([SUMS], records, 2, 100, seed=1)
    assert whys(picks) == {"new": 95, "review": 5}
    failed = known([*(record(n, 10, 10) for n in range(300)), record(999, 10, 10, 4)])
    again = Curriculum().plan([SUMS], failed, 3, 100, seed=1)
    assert ("0999", "half") in {(pick.problem.id, pick.why) for pick in again}


def test_those_not_seen_for_long_are_reviewed_first() -> None:
    records = known([record(n, 10, 10, first=0 if n < 20 else 8) for n in range(40)])
    picks = [Curriculum(review=0.5).plan([SUMS], records, 10, 10, seed=seed) for seed in range(20)]
    old = [int(p.problem.id) < 20 for plan in picks for p in plan if p.why == "review"]
    assert len(old) == 100 and sum(old) > 75


def test_only_closed_generations_count_and_order_does_not() -> None:
    records = known([record(n, n % 11) for n in range(60)])
    plan = Curriculum().plan([SUMS], records, 1, 40, seed=1)
    open_too = {key: Record(r.problem, (*r.tallies, Tally(1, 10, 10), Tally(2, 10, 0))) for key, r in records.items()}
    open_too.update(known([record(n, 5, first=1) for n in range(100, 140)]))
    backwards = dict(sorted(open_too.items(), reverse=True))
    assert plan == Curriculum().plan([SUMS], backwards, 1, 40, seed=1)
    assert plan != Curriculum().plan([SUMS], backwards, 2, 40, seed=1)


def test_a_small_split_is_played_whole_and_then_again() -> None:
    total = sum(1 for _ in FEW.problems("train", 1))
    picks = Curriculum().plan([FEW], {}, 0, 2 * total + 3, seed=1)
    assert len({pick.problem.id for pick in picks}) == total
    assert Counter(pick.sample for pick in picks) == {0: total, 1: total, 2: 3}
    assert len({(pick.problem.id, pick.sample) for pick in picks}) == len(picks)
    # All known, and one of them not mastered: it is played again and again, mastered ones seldom.
    problems = [pick.problem for pick in picks if pick.sample == 0]
    records = [Record(p, (Tally(0, 8, 8), Tally(1, 8, 8 if n else 3))) for n, p in enumerate(problems)]
    late = Curriculum(review=0.1).plan([FEW], known(records), 2, 20, seed=1)
    assert whys(late) == {"half": 18, "review": 2}
    assert sorted(pick.sample for pick in late if pick.why == "half") == list(range(18))
    done = [Record(p, (Tally(0, 8, 8), Tally(1, 8, 8))) for p in problems]
    assert whys(Curriculum().plan([FEW], known(done), 2, 20, seed=1)) == {"review": 20}


def test_game_of_24_never_poses_a_held_out_puzzle() -> None:
    picks = Curriculum().plan([GAME], {}, 0, 400, seed=1)
    assert len({pick.problem.id for pick in picks}) == 400
    assert {GAME.split(pick.problem) for pick in picks} == {"train"}
    assert {pick.problem.id for pick in picks}.isdisjoint(problem.id for problem in GAME.problems("tot100", 0))


def test_new_problems_are_not_looked_for_where_none_are_left() -> None:
    read = []

    class Watched(Arithmetic):
        def problems(self, split: str, seed: int) -> Iterator[Problem]:
            for problem in pool:
                read.append(problem.id)
                yield problem

    watched = Watched("arithmetic", 3, 3, 12, 0.2)
    pool = [record(n, 5).problem for n in range(1000)]
    known_too = known([record(n, 5) for n in range(990)])
    assert whys(Curriculum().plan([watched], known_too, 1, 100, seed=1)) == {"half": 100}
    assert len(read) == 200
    pool.reverse()
    assert whys(Curriculum().plan([watched], known_too, 1, 100, seed=1)) == {"half": 90, "new": 10}
    assert len(read) == 200 + 210


def test_a_rungs_rate_is_that_of_problems_that_were_new() -> None:
    fresh = [record(n, 2, first=3) for n in range(10)]
    picked = [record(n, 9, 9, 9, 9) for n in range(10, 40)]
    assert solve_rate([*fresh, *picked], 4) == pytest.approx(0.2)
    assert solve_rate(picked, 4) == pytest.approx(0.9)  # none was new: all of them, as last seen
    assert solve_rate([record(1, 1)], 1) is None


@given(st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=6), st.floats(0, 1))
def test_shares_add_up_and_none_is_forgotten(rates: list[float | None], least: float) -> None:
    shares = Curriculum(least=least).shares(rates)
    assert shares.sum() == pytest.approx(1) and (shares >= min(least, 1 / len(rates)) - 1e-9).all()


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.integers(0, 1), st.floats(0, 1))
def test_a_rung_grows_as_the_one_below_is_mastered(rates: list[float], rung: int, gain: float) -> None:
    better = [min(1.0, rate + gain) if place == rung else rate for place, rate in enumerate(rates)]
    before, after = Curriculum().shares(rates), Curriculum().shares(better)
    assert after[rung + 1] >= before[rung + 1] - 1e-12
    assert after[rung] <= before[rung] + 1e-12


def test_a_ladder_is_climbed() -> None:
    def shares(*rates: float | None) -> Counter[str]:
        records = [record(100 * n + k, round(20 * rate), attempts=20, domain=rung.name)
                   for n, (rung, rate) in enumerate(zip(LADDER, rates, strict=True)) if rate is not None
                   for k in range(5)]
        return Counter(pick.problem.domain for pick in Curriculum().plan(LADDER, known(records), 1, 200, seed=1))

    assert shares(None, None, None) == {"countdown3": 180, "countdown4": 10, "countdown5": 10}
    assert shares(0.6, 0.0, 0.0) == {"countdown3": 95, "countdown4": 95, "countdown5": 10}
    assert shares(0.9, 0.4, 0.0) == {"countdown3": 10, "countdown4": 180, "countdown5": 10}
    assert shares(0.9, 0.9, 0.1) == {"countdown3": 10, "countdown4": 10, "countdown5": 180}


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="different names"):
        Curriculum().plan([FEW, FEW], {}, 0, 10, seed=1)
    with pytest.raises(ValueError, match="a count of at least 1"):
        Curriculum().plan([FEW], {}, 0, 0, seed=1)
    for options in ({"new": 0.9, "hard": 0.2}, {"in_a_row": 0}, {"rising": (0.8, 0.4)}, {"least": 2}, {"focus": -1}):
        with pytest.raises(ValueError):
            Curriculum(**options)
    empty = Countdown("none", [2], 1, 1, 2, 2)  # 1 1 -> 2 and nothing else
    assert [p.prompt for p in empty.problems("validation", 1)] == ["1 1 -> 2"]
    with pytest.raises(BadProblem, match="none has no training problems"):
        Curriculum().plan([empty], {}, 0, 5, seed=1)
