"""Ratings of all generations on the Elo scale: Bradley and Terry's model with a prior, so that a clean sweep is finite.

P(i beats j) = 1 / (1 + exp(r_j - r_i)), a draw being half a win for either side (Bradley and Terry 1952). The most
probable ratings are found by Newton's method. A pair is one held-out problem that two policies played, and most pairs
are drawn: both right, or both wrong. A drawn pair varies less than one that is won or lost by a coin with the same
mean, so the intervals take the variance from the games as they were (the sandwich of Huber 1967 and White 1982), not
from the coin: that would be too wide by far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
WORTH = np.array([1.0, 0.5, 0.0])  # of a win, a draw, a loss
IMAGINED = np.array([1.0, 0.0, 1.0])
ELO = 400 / log(10)  # Elo points of one natural unit: 400 points are odds of 10 to 1


@dataclass(frozen=True)
class Match:
    """What came of a match in one mode, from the first one's point of view.

    Attributes:
        mode: such as `system1`.
        first, second: generations.
    """

    mode: str
    first: int
    second: int
    wins: int
    draws: int
    losses: int

    def __post_init__(self) -> None:
        if self.first == self.second or min(self.wins, self.draws, self.losses) < 0:
            raise ValueError("a match is between two generations, and its counts are not negative")

    @property
    def games(self) -> int:
        return self.wins + self.draws + self.losses


@dataclass(frozen=True)
class Rating:
    """A generation's lead over the anchor, in Elo points, with its interval."""

    elo: float
    low: float
    high: float
    games: int


@dataclass(frozen=True)
class Table:
    """Ratings of the generations that matches connect to the anchor, by generation.

    Attributes:
        unrated: generations that played, but in no chain of games with the anchor: nothing says where they stand.
    """

    ratings: Mapping[int, Rating]
    unrated: tuple[int, ...]


def tables(matches: Sequence[Match], *, anchor: int = 0, step: float = 400.0, level: float = 0.95) -> dict[str, Table]:
    """A table for each mode, in alphabetical order. See rate."""
    modes = sorted({match.mode for match in matches})
    return {mode: rate([m for m in matches if m.mode == mode], anchor=anchor, step=step, level=level) for mode in modes}


def rate(matches: Iterable[Match], *, anchor: int = 0, step: float = 400.0, level: float = 0.95) -> Table:
    """Ratings from all matches of one mode.

    Args:
        anchor: the generation whose rating is 0.
        step: standard deviation of the prior [Elo], which is on the difference between any two that met: what a
            generation gains is rarely more than odds of 10 to 1. A prior on the ratings themselves would pull down a
            long ladder, each of whose steps is well known.
        level: of the intervals, which are those of the difference to the anchor.
    """
    if step <= 0 or not 0 < level < 1:
        raise ValueError("a prior needs a step above 0, and an interval a level between 0 and 1")
    played = [match for match in matches if match.games]
    everybody = {generation for match in played for generation in (match.first, match.second)} | {anchor}
    connected = _connected(played, anchor)
    places = {generation: place for place, generation in enumerate(sorted(connected - {anchor}))}
    kept = [match for match in played if match.first in connected]
    ratings, spread = _most_probable(kept, places, (ELO / step) ** 2)
    half = NormalDist().inv_cdf((1 + level) / 2) * spread
    games = {generation: sum(m.games for m in kept if generation in (m.first, m.second)) for generation in connected}
    found = {anchor: Rating(0.0, 0.0, 0.0, games[anchor])}
    for generation, place in places.items():
        elo, margin = ELO * float(ratings[place]), ELO * float(half[place])
        found[generation] = Rating(elo, elo - margin, elo + margin, games[generation])
    return Table(dict(sorted(found.items())), tuple(sorted(everybody - connected)))


def _connected(matches: Sequence[Match], anchor: int) -> set[int]:
    """Everybody in a chain of games with the anchor."""
    reached, before = {anchor}, 0
    while len(reached) > before:
        before = len(reached)
        for match in matches:
            if match.first in reached or match.second in reached:
                reached |= {match.first, match.second}
    return reached


def _most_probable(matches: Sequence[Match], places: Mapping[int, int], precision: float) -> tuple[Floats, Floats]:
    """The most probable ratings and their standard deviations, in natural units.

    The posterior is strictly concave: every generation is in a chain of games, and so of priors, with the anchor.
    """
    pairs = sorted({(min(m.first, m.second), max(m.first, m.second)) for m in matches})
    incidence = np.zeros((len(pairs), len(places)))  # [pairs, generations]: +1 for one side, -1 for the other
    counts = np.zeros((len(pairs), 3))  # games that the first of the pair won, drew, lost
    for row, pair in enumerate(pairs):
        for generation, sign in zip(pair, (1.0, -1.0), strict=True):
            if generation in places:
                incidence[row, places[generation]] = sign
        for match in matches:
            if {match.first, match.second} == set(pair):
                told = (match.wins, match.draws, match.losses)
                counts[row] += told if match.first == pair[0] else told[::-1]
    games, scores = counts.sum(1), counts @ WORTH

    def posterior(ratings: Floats) -> float:
        leads = incidence @ ratings
        return float(scores @ leads - games @ np.logaddexp(0, leads) - precision / 2 * (leads @ leads))

    ratings = np.zeros(len(places))
    while True:
        leads = incidence @ ratings
        chances = 1 / (1 + np.exp(-leads))
        slope = incidence.T @ (scores - games * chances - precision * leads)
        hessian = incidence.T @ ((games * chances * (1 - chances) + precision)[:, None] * incidence)
        move = np.linalg.solve(hessian, slope)
        gain = float(slope @ move)  # about twice what is left; the posterior is rounded at 1e-16 of the games
        if gain <= 1e-12 * (1 + games.sum()):
            return ratings, np.sqrt(np.diag(_covariance(incidence, counts, chances, hessian, precision)))
        share, here = 1.0, posterior(ratings)  # a full step may overshoot where chances are near 0 or 1
        while posterior(ratings + share * move) < here + 1e-4 * share * gain:
            share /= 2
        ratings = ratings + share * move


def _covariance(incidence: Floats, counts: Floats, chances: Floats, hessian: Floats, precision: float) -> Floats:
    """Of the ratings: how far the games scatter about what was expected of them, seen through the curvature.

    Beside the games that were played, each pair has one imagined win and one loss, so that nobody is certain after
    nothing but draws (as Bonett and Price 2012 do for paired proportions). The prior scatters as it says.
    """
    scatter = ((counts + IMAGINED) * (WORTH - chances[:, None]) ** 2).sum(1) + precision
    bread = np.linalg.inv(hessian)
    found: Floats = bread @ (incidence.T @ (scatter[:, None] * incidence)) @ bread
    return found
