"""The match: candidate against champion on the same held-out problems, seeds and budgets, and whether it takes over.

Played in two modes: System 1 (one greedy line) and System 2 (a search). One test serves all comparisons: the paired
randomisation test (Fisher 1935), exact, with mid-p. On pairs that are right or wrong it is McNemar's exact test with
mid-p, recommended by Fagerland, Lydersen and Laake (2013); here scores may also count tokens, or average modes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from selfplay.ratings import Match
from selfplay.trajectory import Trajectory

Floats = NDArray[np.float64]
GRAIN = 1000  # the test counts differences in thousandths: whole numbers have an exact distribution


class Mode(str, Enum):
    """How a policy thinks: a greedy line, or a search."""

    SYSTEM_1 = "system1"
    SYSTEM_2 = "system2"


@dataclass(frozen=True)
class Outcome:
    """What came of one problem.

    Attributes:
        problem: domain and id.
        sample: tells searches over one problem apart.
        status: `correct`, `wrong`, `unparsable` (no answer too), `timeout` or `error`.
        tokens: spent.
    """

    problem: tuple[str, str]
    sample: int
    status: str
    tokens: int = 0


def outcomes(trajectories: Iterable[Trajectory], mode: Mode) -> tuple[Outcome, ...]:
    """The outcomes of one side; in System 1 those of the greedy lines, whose tokens are not told apart.

    A trajectory without a greedy line has the status `error` there: nothing was found out.
    """
    found = []
    for played in trajectories:
        problem = (played.problem.domain, played.problem.id)
        if mode is Mode.SYSTEM_2:
            found.append(Outcome(problem, played.sample, played.verdict.status.value, played.tokens))
        else:
            status = next((line.status for line in played.lines if line.greedy), "error")
            found.append(Outcome(problem, played.sample, status))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Paired:
    """Both sides of a match in one mode, problem by problem; searches over one problem are averaged.

    Attributes:
        problems: domain and id, sorted; n of them.
        right: candidate's share of right answers less the champion's, [n], in [-1, 1].
        score: the same for scores, [n], in [-1, 1].
        accuracy: candidate's and champion's.
        wins, draws, losses: pairs that the candidate alone got right, both or neither, the champion alone.
        left_out: pairs with an error on either side; they count in nothing else.
        unparsable: answers that could not be read, of the candidate and of the champion.
    """

    mode: Mode
    problems: tuple[tuple[str, str], ...]
    right: Floats
    score: Floats
    accuracy: tuple[float, float]
    wins: int
    draws: int
    losses: int
    left_out: int
    unparsable: tuple[int, int]

    @property
    def pairs(self) -> int:
        return self.wins + self.draws + self.losses

    @property
    def broken(self) -> bool:
        """Not one answer of the candidate could be read, where some of the champion's could."""
        return 0 < self.pairs == self.unparsable[0] > self.unparsable[1]

    def record(self, candidate: int, champion: int) -> Match:
        """For the ratings: what came of the match between two generations."""
        return Match(self.mode.value, candidate, champion, self.wins, self.draws, self.losses)


def pair(
    mode: Mode, candidate: Sequence[Outcome], champion: Sequence[Outcome], *, budget: int, speed: float = 0.2
) -> Paired:
    """Compare two sides in one mode.

    Args:
        budget: of a search [tokens].
        speed: what a right answer loses that took the whole budget, in [0, 1); one that took half of it loses half as
            much. Where search solves nearly everything, only this still tells policies apart; it is small, because
            to be right counts more. It says nothing in System 1.

    Raises: ValueError if the sides did not play the same problems, or one of them twice.
    """
    if budget < 1 or not 0 <= speed < 1:
        raise ValueError("a match needs a budget of at least 1 token and a speed in [0, 1)")
    ours, theirs = _by_key(candidate), _by_key(champion)
    if alone := ours.keys() ^ theirs.keys():
        raise ValueError(f"only one side played {len(alone)} of {len(ours | theirs)} games, such as {min(alone)}")
    kept = [key for key in sorted(ours) if "error" not in (ours[key].status, theirs[key].status)]
    rate = speed if mode is Mode.SYSTEM_2 else 0.0

    def means(side: Mapping[tuple[tuple[str, str], int], Outcome], worth: Callable[[Outcome], float]) -> Floats:
        samples = defaultdict(list)
        for key in kept:
            samples[key[0]].append(worth(side[key]))
        return np.array([np.mean(samples[problem]) for problem in sorted(samples)], dtype=np.float64)

    def right(outcome: Outcome) -> float:
        return float(outcome.status == "correct")

    def score(outcome: Outcome) -> float:
        return right(outcome) * (1 - rate * min(1.0, outcome.tokens / budget))

    pairs = [(right(ours[key]), right(theirs[key])) for key in kept]
    a, b = means(ours, right), means(theirs, right)
    return Paired(
        mode, tuple(sorted({key[0] for key in kept})), a - b, means(ours, score) - means(theirs, score),
        (float(a.mean()), float(b.mean())) if kept else (0.0, 0.0),
        wins=sum(x > y for x, y in pairs), draws=sum(x == y for x, y in pairs), losses=sum(x < y for x, y in pairs),
        left_out=len(ours) - len(kept),
        unparsable=(_unparsable(ours[key] for key in kept), _unparsable(theirs[key] for key in kept)),
    )


def _by_key(side: Iterable[Outcome]) -> dict[tuple[tuple[str, str], int], Outcome]:
    found: dict[tuple[tuple[str, str], int], Outcome] = {}
    for outcome in side:
        key = (outcome.problem, outcome.sample)
        if key in found:
            raise ValueError(f"sample {outcome.sample} of {' '.join(outcome.problem)} was played twice by one side")
        found[key] = outcome
    return found


def _unparsable(side: Iterable[Outcome]) -> int:
    return sum(outcome.status == "unparsable" for outcome in side)


@dataclass(frozen=True)
class Estimate:
    """A paired difference, candidate less champion.

    Attributes:
        difference: mean over problems, in [-1, 1].
        low, high: its interval.
        p_better: one-sided mid-p of no difference against a better candidate; small says better, near 1 says worse.
        problems: how many.
    """

    difference: float
    low: float
    high: float
    p_better: float
    problems: int


def estimate(differences: Floats, level: float = 0.95) -> Estimate:
    """The mean of paired differences in [-1, 1], with its interval and test."""
    mean = float(differences.mean()) if len(differences) else 0.0
    low, high = interval(differences, level)
    return Estimate(mean, low, high, mid_p(differences), len(differences))


def interval(differences: Floats, level: float = 0.95) -> tuple[float, float]:
    """Interval of the mean of paired differences in [-1, 1] (Bonett and Price 2012).

    Wald's, after one imagined pair for either side: near its nominal coverage also for few pairs, and never without
    width, which the bootstrap is where all pairs are drawn. Theirs is for pairs that are right or wrong; the same
    formula holds for any differences.
    """
    padded = np.concatenate([differences, [1.0, -1.0]])
    half = NormalDist().inv_cdf((1 + level) / 2) * float(padded.std()) / len(padded) ** 0.5
    centre = float(padded.mean())
    return max(-1.0, centre - half), min(1.0, centre + half)


def mid_p(differences: Floats) -> float:
    """One-sided mid-p of the paired randomisation test: is the sum larger than random signs would make it?

    Exact, from the distribution of the sum over all 2^n choices of signs; differences are rounded to 1 / GRAIN.
    Returns P(sum > seen) + P(sum = seen) / 2 under no difference; of negated differences it is the complement.
    """
    steps = np.rint(differences * GRAIN).astype(np.int64)
    steps //= max(1, int(np.gcd.reduce(steps)))  # right or wrong: in ones again
    chances = np.ones(1)  # of each sum of those differences that are positive
    for size in np.abs(steps[steps != 0]).tolist():
        wider = np.zeros(len(chances) + size)
        wider[: len(chances)] = chances / 2
        wider[size:] += chances / 2
        chances = wider
    seen = int(steps[steps > 0].sum())
    return float(min(1.0, chances[seen + 1 :].sum() + chances[seen] / 2))


@dataclass(frozen=True)
class Decision:
    """Whether the candidate takes over, and why.

    Attributes:
        reason: one sentence for people.
        combined: of the mean score over the modes.
        modes: of the answers' correctness, by mode.
    """

    promote: bool
    reason: str
    combined: Estimate
    modes: Mapping[Mode, Estimate]


def decide(
    matches: Sequence[Paired], *, confidence: float = 0.95, harm: float = 0.05, most_left_out: float = 0.2,
    level: float = 0.95,
) -> Decision:  # fmt: skip
    """Promote the candidate only if it is better overall and significantly worse in no mode.

    Args:
        matches: one for each mode.
        confidence: that the combined score is better, one-sided. At 0.95 one candidate in twenty that is just as good
            takes over, which costs nothing; a lower gate lets a run drift on noise, a higher one needs more problems
            for the same gain.
        harm: one-sided level at which a mode's correctness counts as worse, whatever the combined score says. It vetoes
            one in twenty that are equal there; a laxer veto would trade one way of thinking for the other.
        most_left_out: share of pairs with errors above which nothing is decided: what is left may be another kind of
            problem.
        level: of the intervals.
    """
    if not matches or not 0.5 < confidence < 1 or not 0 <= harm < 0.5 or not 0 <= most_left_out < 1:
        raise ValueError("decide needs matches, confidence in (0.5, 1), harm in [0, 0.5) and most_left_out in [0, 1)")
    modes = {match.mode: estimate(match.right, level) for match in matches}
    combined = estimate(_combined(matches), level)
    refusal = next(filter(None, (_unfit(match, most_left_out) for match in matches)), None)
    worse = [match.mode for match in matches if modes[match.mode].p_better >= 1 - harm]
    said = f"{combined.difference:+.3f} [{combined.low:+.3f}, {combined.high:+.3f}] over {combined.problems} problems"
    if refusal is not None:
        return Decision(False, refusal, combined, modes)
    if worse:
        shown = modes[worse[0]]
        return Decision(False, f"worse in {worse[0].value}: {shown.difference:+.3f} [{shown.low:+.3f}, "
                               f"{shown.high:+.3f}] of correct answers", combined, modes)
    if combined.p_better > 1 - confidence:
        return Decision(False, f"not better with confidence {confidence}: {said}", combined, modes)
    return Decision(True, f"better: {said}", combined, modes)


def _combined(matches: Sequence[Paired]) -> Floats:
    """Mean score difference over the modes, of the problems that every mode has kept."""
    rows = [dict(zip(match.problems, match.score.tolist(), strict=True)) for match in matches]
    shared = sorted(set.intersection(*(set(row) for row in rows)))
    return np.array([np.mean([row[problem] for row in rows]) for problem in shared], dtype=np.float64)


def _unfit(match: Paired, most_left_out: float) -> str | None:
    """Why a match cannot promote anyone, whatever its scores."""
    games = match.pairs + match.left_out
    if match.left_out > most_left_out * games or not match.pairs:
        return f"{match.left_out} of {games} pairs in {match.mode.value} ended in errors: nothing can be decided"
    if match.broken:
        return (f"the candidate's output is broken: none of its {match.pairs} answers in {match.mode.value} can be "
                f"read, {match.pairs - match.unparsable[1]} of the champion's can")
    return None
