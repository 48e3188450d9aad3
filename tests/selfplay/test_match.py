"""The match: exact tests, intervals, and a gate that lets nothing worse or broken through."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfplay.match import Mode, Outcome, Paired, decide, estimate, interval, mid_p, outcomes, pair
from tests.selfplay.played import trajectory
from verifiers.base import Problem

ONE, TWO = Mode.SYSTEM_1, Mode.SYSTEM_2
COUNTS = st.integers(0, 40)
THOUSANDTHS = st.lists(st.integers(-1000, 1000).map(lambda n: n / 1000), max_size=9)


def differences(wins: int, losses: int, draws: int = 0) -> np.ndarray:
    return np.array([1.0] * wins + [-1.0] * losses + [0.0] * draws)


def side(statuses: Sequence[str], tokens: int = 50) -> list[Outcome]:
    return [Outcome(("riddles", f"{number:03}"), 0, status, tokens) for number, status in enumerate(statuses)]


def match(mode: Mode, candidate: str, champion: str, **options: int) -> Paired:
    """c: correct, w: wrong, u: unparsable, e: error; one letter a problem."""
    words = {"c": "correct", "w": "wrong", "u": "unparsable", "e": "error", "t": "timeout"}
    return pair(mode, side([words[c] for c in candidate]), side([words[c] for c in champion]), budget=100, **options)


@given(COUNTS, COUNTS, COUNTS)
def test_on_right_and_wrong_it_is_mcnemars_mid_p(wins: int, losses: int, draws: int) -> None:
    n = wins + losses
    beyond = sum(comb(n, k) for k in range(wins + 1, n + 1)) / 2**n
    assert mid_p(differences(wins, losses, draws)) == pytest.approx(beyond + comb(n, wins) / 2 ** (n + 1), abs=1e-12)


@given(THOUSANDTHS)
def test_it_is_exact_for_any_differences(values: list[float]) -> None:
    steps = [round(1000 * value) for value in values]
    sums = [sum(signed) for signed in product(*((step, -step) for step in steps))]
    expected = (sum(s > sum(steps) for s in sums) + sum(s == sum(steps) for s in sums) / 2) / len(sums)
    assert mid_p(np.array(values)) == pytest.approx(expected, abs=1e-12)


@given(THOUSANDTHS)
def test_to_be_better_is_not_to_be_worse(values: list[float]) -> None:
    assert mid_p(np.array(values)) + mid_p(-np.array(values)) == pytest.approx(1)


def test_a_thousand_problems_are_no_trouble() -> None:
    assert mid_p(differences(2000, 1500)) < 1e-12 < mid_p(differences(1030, 1000)) < 0.5
    assert 0 <= mid_p(differences(3000, 0)) < 1e-300


@given(COUNTS, COUNTS, COUNTS)
def test_the_interval_is_bonetts_and_prices(wins: int, losses: int, draws: int) -> None:
    n = wins + losses + draws + 2
    better, worse = (wins + 1) / n, (losses + 1) / n
    half = 1.959963984540054 * sqrt((better + worse - (better - worse) ** 2) / n)
    low, high = interval(differences(wins, losses, draws))
    assert low == pytest.approx(max(-1, better - worse - half))
    assert high == pytest.approx(min(1, better - worse + half))
    assert low < high


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.floats(0.5, 0.98))
def test_a_higher_level_has_a_wider_interval(values: list[float], level: float) -> None:
    narrow, wide = interval(np.array(values), level), interval(np.array(values), 0.99)
    assert -1 <= wide[0] <= narrow[0] < narrow[1] <= wide[1] <= 1


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    draws = rng.choice([1.0, 0.5, 0.0, -0.5, -1.0], size=(2000, 60), p=[0.15, 0.1, 0.6, 0.1, 0.05])
    held = [low <= 0.1 <= high for low, high in map(interval, draws)]
    assert 0.93 < np.mean(held) < 0.975


def test_an_equal_candidate_takes_over_as_seldom_as_it_says() -> None:
    rng = np.random.default_rng(2)
    promoted = 0
    for _ in range(400):
        hard = rng.random(50)  # how hard the problems are, for both alike
        sides = [["correct" if right else "wrong" for right in rng.random(50) > hard] for _ in range(4)]
        promoted += decide([pair(ONE, side(sides[0]), side(sides[1]), budget=100),
                            pair(TWO, side(sides[2]), side(sides[3]), budget=100)]).promote
    assert 0.02 < promoted / 400 < 0.08


def test_errors_leave_the_pair_out_and_are_counted() -> None:
    found = match(ONE, "cwecwcut", "cceewccw")
    assert (found.left_out, found.pairs, len(found.problems)) == (2, 6, 6)
    assert (found.wins, found.draws, found.losses) == (0, 4, 2)
    assert found.accuracy == (pytest.approx(2 / 6), pytest.approx(4 / 6))
    assert found.unparsable == (1, 0)
    assert found.record(3, 1).losses == 2


def test_both_sides_play_the_same_games_once() -> None:
    with pytest.raises(ValueError, match="only one side played 1 of 3"):
        pair(ONE, side(["correct"] * 3), side(["correct"] * 2), budget=100)
    with pytest.raises(ValueError, match="played twice"):
        pair(ONE, side(["correct"]) * 2, side(["correct"]), budget=100)


def test_the_order_of_outcomes_does_not_matter() -> None:
    ours, theirs = side(["correct", "wrong", "wrong"]), side(["wrong", "wrong", "correct"])
    straight, mixed = (pair(ONE, ours, theirs[::step], budget=100) for step in (1, -1))
    assert np.array_equal(straight.right, mixed.right) and straight.right.tolist() == [1, 0, -1]


def test_speed_counts_in_searches_and_less_than_being_right() -> None:
    fast, slow, wrong = side(["correct"], 20), side(["correct"], 500), side(["wrong"], 1)
    assert pair(TWO, fast, slow, budget=100, speed=0.5).score.tolist() == pytest.approx([0.4])
    assert pair(TWO, slow, wrong, budget=100, speed=0.5).score.tolist() == pytest.approx([0.5])
    assert pair(ONE, fast, slow, budget=100, speed=0.5).score.tolist() == [0]
    assert pair(TWO, fast, slow, budget=100, speed=0.5).right.tolist() == [0]


def test_searches_over_one_problem_are_no_independent_evidence() -> None:
    def many(status: str) -> list[Outcome]:
        return [Outcome(("riddles", "1"), sample, status) for sample in range(50)]

    found = pair(ONE, many("correct"), many("wrong"), budget=100)
    assert (found.wins, found.right.tolist()) == (50, [1.0])
    assert estimate(found.right).p_better == 0.25


def test_a_better_candidate_takes_over() -> None:
    decision = decide([match(ONE, "c" * 30 + "w" * 70, "c" * 10 + "w" * 90), match(TWO, "c" * 100, "c" * 100)])
    assert decision.promote and decision.reason.startswith("better: +0.100 [")
    assert decision.combined.low > 0
    assert decision.modes[ONE].difference == pytest.approx(0.2)
    assert decision.modes[TWO].p_better == 0.5


def test_a_faster_search_is_progress() -> None:
    fast, slow = side(["correct"] * 40, 20), side(["correct"] * 40, 40)
    still = match(ONE, "c" * 40, "c" * 40)
    assert decide([still, pair(TWO, fast, slow, budget=100)]).promote
    assert not decide([still, pair(TWO, slow, fast, budget=100)]).promote
    assert not decide([still, pair(TWO, fast, slow, budget=100, speed=0)]).promote


def test_to_be_worse_in_one_mode_is_a_veto() -> None:
    much_better = match(ONE, "c" * 60 + "w" * 40, "w" * 100)
    decision = decide([much_better, match(TWO, "w" * 10 + "c" * 90, "c" * 100)])
    assert not decision.promote and decision.reason.startswith("worse in system2: -0.100 [")
    assert decision.combined.p_better < 0.01
    within_noise = decide([much_better, match(TWO, "wc" + "c" * 98, "cw" + "c" * 98)])
    assert within_noise.promote
    assert decide([much_better, match(TWO, "w" * 10 + "c" * 90, "c" * 100)], harm=0).promote


def test_no_difference_and_too_few_problems_promote_nobody() -> None:
    same = decide([match(ONE, "cw" * 50, "cw" * 50), match(TWO, "c" * 100, "c" * 100)])
    assert not same.promote and same.reason.startswith("not better with confidence 0.95: +0.000 [")
    assert not decide([match(ONE, "ccc", "www")]).promote
    assert decide([match(ONE, "cccc", "wwww")]).promote


def test_broken_output_is_refused_by_name() -> None:
    decision = decide([match(ONE, "u" * 20, "w" * 19 + "u"), match(TWO, "c" * 20, "w" * 20)])
    assert not decision.promote
    assert decision.reason == (
        "the candidate's output is broken: none of its 20 answers in system1 can be read, 19 of the champion's can")
    # Where the champion cannot finish a line either, nothing was broken.
    assert decide([match(ONE, "u" * 20, "u" * 20), match(TWO, "c" * 20, "w" * 20)]).promote


def test_a_match_of_errors_decides_nothing() -> None:
    decision = decide([match(ONE, "c" * 70 + "e" * 30, "w" * 100)])
    assert not decision.promote and decision.reason.startswith("30 of 100 pairs in system1 ended in errors")
    assert decide([match(ONE, "c" * 70 + "e" * 30, "w" * 100)], most_left_out=0.3).promote
    assert not decide([match(ONE, "", "")]).promote


@pytest.mark.parametrize("options", [{"confidence": 0.5}, {"confidence": 1.0}, {"harm": 0.5}, {"most_left_out": 1.0}])
def test_thresholds_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="decide needs"):
        decide([match(ONE, "c", "w")], **options)


def test_outcomes_of_trajectories() -> None:
    problem = Problem("1", "riddles", "?", {})
    games = [trajectory(problem, search="correct", greedy="wrong", lines=["correct"], tokens=70),
             trajectory(problem, search="error", greedy="unparsable", sample=1), trajectory(problem, sample=2)]
    assert [(o.status, o.tokens) for o in outcomes(games, TWO)] == [("correct", 70), ("error", 100), ("wrong", 100)]
    assert [o.status for o in outcomes(games, ONE)] == ["wrong", "unparsable", "error"]
    assert [o.sample for o in outcomes(games, ONE)] == [0, 1, 2]
