"""Ratings: what Bradley and Terry's model says, finite after a clean sweep, and silent where nothing connects."""

from __future__ import annotations

from math import exp, log, log10

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfplay.ratings import ELO, Match, rate, tables

COUNTS = st.integers(0, 200)
PAIRS = st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(lambda pair: pair[0] != pair[1])
MATCHES = st.lists(st.builds(lambda pair, *counts: Match("m", *pair, *counts), PAIRS, COUNTS, COUNTS, COUNTS),
                   max_size=10)


def played(first: int, second: int, wins: int, losses: int, draws: int = 0, mode: str = "m") -> Match:
    return Match(mode, first, second, wins, draws, losses)


@given(COUNTS, COUNTS, COUNTS, st.floats(50, 2000))
def test_two_policies(wins: int, losses: int, draws: int, step: float) -> None:
    table = rate([played(1, 0, wins, losses, draws)], step=step)
    if not wins + losses + draws:
        assert table.unrated == () and list(table.ratings) == [0]
        return
    lead, games = table.ratings[1].elo / ELO, wins + losses + draws
    chance = 1 / (1 + exp(-lead))
    # What the games say and what the prior says are in balance.
    assert wins + draws / 2 - games * chance == pytest.approx(lead * (ELO / step) ** 2, abs=1e-3)
    scatter = (wins + 1) * (1 - chance) ** 2 + draws * (0.5 - chance) ** 2 + (losses + 1) * chance**2
    spread = (scatter + (ELO / step) ** 2) ** 0.5 / (games * chance * (1 - chance) + (ELO / step) ** 2)
    assert table.ratings[1].high - table.ratings[1].elo == pytest.approx(1.959964 * spread * ELO, rel=1e-4)
    assert table.ratings[0].elo == table.ratings[0].low == table.ratings[0].high == 0


def test_many_games_say_what_the_score_says() -> None:
    found = rate([played(1, 0, 75_000, 25_000)]).ratings[1]
    assert found.elo == pytest.approx(400 * log10(3), abs=0.05) and found.low < found.elo < found.high
    assert found.high - found.low < 6


def test_a_clean_sweep_is_finite_and_more_of_it_says_more() -> None:
    leads = [rate([played(1, 0, games, 0)]).ratings[1] for games in (1, 10, 100, 100_000)]
    assert 0 < leads[0].elo < leads[1].elo < leads[2].elo < leads[3].elo < 3000
    assert leads[0].low < 0 < leads[2].low


@given(MATCHES)
def test_it_is_the_most_probable_table(matches: list[Match]) -> None:
    table = rate(matches, step=300)
    names = sorted(table.ratings)

    def posterior(ratings: dict[int, float]) -> float:
        total, met = 0.0, set()
        for match in matches:
            if match.games and match.first in ratings:
                lead = (ratings[match.first] - ratings[match.second]) / ELO
                total -= (match.wins + match.draws / 2) * np.logaddexp(0, -lead)
                total -= (match.losses + match.draws / 2) * np.logaddexp(0, lead)
                met.add(frozenset((match.first, match.second)))
        return total - sum(((ratings[a] - ratings[b]) / 300) ** 2 / 2 for a, b in map(tuple, met))

    ratings = {name: table.ratings[name].elo for name in names}
    for name in names:
        for shift in (-1.0, 1.0) if name else ():
            assert posterior({**ratings, name: ratings[name] + shift}) < posterior(ratings)


@given(MATCHES, st.randoms(use_true_random=False))
def test_neither_order_nor_side_nor_cutting_matters(matches: list[Match], random: object) -> None:
    turned = [Match("m", m.second, m.first, m.losses, m.draws, m.wins) for m in matches]
    random.shuffle(turned)  # type: ignore[attr-defined]
    cut = [piece for m in turned for piece in (
        Match("m", m.first, m.second, m.wins, 0, 0), Match("m", m.first, m.second, 0, m.draws, m.losses))]
    table = rate(matches)
    for other in (rate(turned), rate(cut)):
        assert other.unrated == table.unrated and list(other.ratings) == list(table.ratings)
        for name, rating in table.ratings.items():
            assert other.ratings[name].elo == pytest.approx(rating.elo, abs=1e-3)
            assert other.ratings[name].low == pytest.approx(rating.low, abs=1e-2)


def test_a_long_ladder_is_not_pulled_down() -> None:
    # Each generation wins 64 of 100 against the one before: 100 points a step.
    ladder = rate([played(k + 1, k, 64, 36) for k in range(20)])
    assert ladder.ratings[20].elo == pytest.approx(20 * ELO * log(64 / 36), rel=0.02)
    widths = [ladder.ratings[k].high - ladder.ratings[k].low for k in range(21)]
    assert widths == sorted(widths)


def test_those_whom_no_game_connects_are_not_rated() -> None:
    table = rate([played(1, 0, 6, 4), played(3, 2, 10, 0), played(4, 0, 0, 0)])
    assert list(table.ratings) == [0, 1] and table.unrated == (2, 3)
    joined = rate([played(1, 0, 6, 4), played(3, 2, 10, 0), played(2, 1, 5, 5)])
    assert list(joined.ratings) == [0, 1, 2, 3] and joined.unrated == ()
    assert joined.ratings[2].elo == pytest.approx(joined.ratings[1].elo, abs=0.01)


def test_a_refused_candidate_has_a_rating_too() -> None:
    table = rate([played(1, 0, 60, 40), played(2, 1, 20, 80), played(3, 1, 55, 45)])
    assert table.ratings[2].elo < 0 < table.ratings[1].elo < table.ratings[3].elo
    assert [rating.games for rating in table.ratings.values()] == [100, 300, 100, 100]


@pytest.mark.parametrize("drawn", [0.0, 0.4, 0.8])
def test_the_interval_holds_the_truth_as_often_as_it_says(drawn: float) -> None:
    rng = np.random.default_rng(3)
    truth, held = np.array([0.0, 0.1, 0.2, 0.35]), []
    for _ in range(300):
        matches = []
        for a, b in ((1, 0), (2, 1), (3, 2), (3, 0)):
            score = 1 / (1 + exp(truth[b] - truth[a]))  # of a game; as many are drawn as can be with this mean
            wins, draws, losses = rng.multinomial(160, (score - drawn / 2, drawn, 1 - score - drawn / 2))
            matches.append(played(a, b, int(wins), int(losses), int(draws)))
        found = rate(matches, step=1000).ratings
        held += [found[k].low <= truth[k] * ELO <= found[k].high for k in (1, 2, 3)]
    assert 0.92 < np.mean(held) < 0.985


def test_nothing_but_draws_says_equal_but_not_for_certain() -> None:
    few, many = (rate([played(1, 0, 0, 0, draws=games)]).ratings[1] for games in (5, 500))
    assert few.elo == many.elo == 0
    assert few.low < many.low < 0 < many.high < few.high and many.high > 0.5


def test_a_drawn_pair_varies_less_than_two_that_are_won_and_lost() -> None:
    drawn, coin = rate([played(1, 0, 25, 13, draws=82)]).ratings[1], rate([played(1, 0, 66, 54)]).ratings[1]
    assert drawn.elo == pytest.approx(coin.elo)
    assert drawn.high - drawn.low < 0.65 * (coin.high - coin.low)


def test_a_table_for_each_mode() -> None:
    both = tables([played(1, 0, 9, 1, mode="system2"), played(1, 0, 4, 6, mode="system1")])
    assert list(both) == ["system1", "system2"]
    assert both["system1"].ratings[1].elo < 0 < both["system2"].ratings[1].elo
    assert list(rate([]).ratings) == [0]


@pytest.mark.parametrize("counts", [(1, 1, 1, 0, 0), (1, 0, -1, 0, 0)])
def test_no_match(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a match is between two generations"):
        Match("m", *counts)
    with pytest.raises(ValueError, match="a prior needs"):
        rate([], step=0)
