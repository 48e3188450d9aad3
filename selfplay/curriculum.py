"""The curriculum: which training problems a generation plays.

It prefers problems that are solved about half of the time, mixes in new and hard ones, and lays the mastered aside.
Domains that scale are a ladder of settings; a rung's share grows as the rung below is mastered. A plan is a pure
function of (ladder, records of closed generations, generation, seed), so that a resumed run repeats itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from selfplay.trajectory import Purpose, Trajectory
from verifiers.base import BadProblem, Domain, Problem, derive_seed

Floats = NDArray[np.float64]
Key = tuple[str, str]  # a problem's domain and id
RECENT = 2  # generations whose first plays tell how well a rung is solved
ENOUGH = 20  # attempts that say something of a rung
VAIN = 200  # problems in a row that were played before, after which there are taken to be no new ones: to draw a small
# split to its end, each generation anew, takes seconds


@dataclass(frozen=True)
class Tally:
    """What came of one problem in one generation; what ended in an error is not counted.

    Attributes:
        lines, lines_right: independent lines, and those graded correct. The greedy line is none of them.
        searches, searches_right: likewise.
    """

    generation: int
    lines: int = 0
    lines_right: int = 0
    searches: int = 0
    searches_right: int = 0

    @property
    def attempts(self) -> int:
        return self.lines + self.searches

    @property
    def right(self) -> int:
        return self.lines_right + self.searches_right

    @property
    def rate(self) -> float:
        """Share of all attempts that were right, in [0, 1]."""
        return self.right / self.attempts

    def plus(self, other: Tally) -> Tally:
        return Tally(self.generation, self.lines + other.lines, self.lines_right + other.lines_right,
                     self.searches + other.searches, self.searches_right + other.searches_right)


@dataclass(frozen=True)
class Record:
    """A problem and its tallies, oldest first, one for each generation that attempted it."""

    problem: Problem
    tallies: tuple[Tally, ...]

    def before(self, generation: int) -> Record:
        """What closed generations know."""
        return replace(self, tallies=tuple(t for t in self.tallies if t.generation < generation))

    def mastered(self, in_a_row: int, rate: float) -> bool:
        """Solved at this rate in each of the last `in_a_row` generations that played it."""
        last = self.tallies[-in_a_row:]
        return len(last) == in_a_row and all(tally.rate >= rate for tally in last)

    @property
    def solved(self) -> bool:
        return any(tally.right for tally in self.tallies)


def tally(trajectories: Iterable[Trajectory]) -> dict[Key, Record]:
    """Records of the training problems in some trajectories, each of which must come once."""
    problems: dict[Key, Problem] = {}
    counts: defaultdict[Key, dict[int, Tally]] = defaultdict(dict)
    for played in trajectories:
        lines = [line for line in played.lines if not line.greedy and line.status != "error"]
        made = Tally(
            played.generation, len(lines), sum(line.status == "correct" for line in lines),
            int(played.tokens > 0 and not played.failed), int(played.tokens > 0 and played.verdict.ok),
        )  # where no token was spent, lines were played alone
        if played.purpose is not Purpose.TRAIN or not made.attempts:
            continue
        key = (played.problem.domain, played.problem.id)
        problems.setdefault(key, played.problem)
        before = counts[key].get(played.generation, Tally(played.generation))
        counts[key][played.generation] = before.plus(made)
    return {key: Record(problems[key], tuple(by[g] for g in sorted(by))) for key, by in counts.items()}


def merged(*parts: Mapping[Key, Record]) -> dict[Key, Record]:
    """Records of different generations as one."""
    whole: dict[Key, Record] = {}
    for part in parts:
        for key, record in part.items():
            known = whole.get(key, replace(record, tallies=()))
            ordered = sorted((*known.tallies, *record.tallies), key=lambda t: t.generation)
            if len({t.generation for t in ordered}) < len(ordered):
                raise ValueError(f"two records of {key} in one generation")
            whole[key] = replace(known, tallies=tuple(ordered))
    return whole


@dataclass(frozen=True)
class Pick:
    """A problem to be played.

    Attributes:
        sample: 0, or more where a plan holds a problem several times, for want of others.
        why: `half` (solved now and then), `new`, `hard` (never solved), or `review` (mastered).
    """

    problem: Problem
    sample: int
    why: str


@dataclass(frozen=True)
class Curriculum:
    """How a plan is mixed.

    Attributes:
        new: share of problems never played.
        hard: share of problems played and never solved, by line or search.
        review: share of mastered ones. Where there are too few of a kind, new ones take their place, then the
            other kinds but mastered ones.
        in_a_row, mastered: a problem is mastered when the last `in_a_row` generations that played it had it right in
            at least this share of the attempts; not in all of them, because lines are drawn at temperature 1.
        decay: what an attempt still counts, one generation later: the policy that made it is no more.
        focus: a problem is drawn in proportion to this power of p (1 - p); 1 hardly prefers any.
        rising: a rung's solve rate at which the rung above begins to grow, and that at which it has all the share
            that this one can give.
        least: share that every rung keeps, so that nothing is forgotten and every rate is known.
    """

    new: float = 0.4
    hard: float = 0.1
    review: float = 0.05
    in_a_row: int = 2
    mastered: float = 0.9
    decay: float = 0.5
    focus: float = 2.0
    rising: tuple[float, float] = (0.4, 0.8)
    least: float = 0.05

    def __post_init__(self) -> None:
        shares = (self.new, self.hard, self.review)
        if min(shares) < 0 or sum(shares) > 1 or self.in_a_row < 1 or not 0 < self.mastered <= 1:
            raise ValueError("new, hard and review are shares of at most 1 together, mastered one above 0, "
                             "and in_a_row is at least 1")
        if not 0 <= self.decay <= 1 or self.focus < 0 or not 0 <= self.rising[0] < self.rising[1] <= 1:
            raise ValueError("decay is in [0, 1], focus not negative, and rising two growing rates in [0, 1]")
        if not 0 <= self.least <= 1:
            raise ValueError("least is a share")

    def plan(
        self, ladder: Sequence[Domain], records: Mapping[Key, Record], generation: int, count: int, seed: int
    ) -> tuple[Pick, ...]:
        """The problems of a generation, in the order to be played.

        Args:
            ladder: settings of a domain, from easy to hard, or just one domain; their names differ.
            records: of all trajectories so far; what is not of a closed generation is not looked at.
            count: problems to play, at least 1.
            seed: of the run.

        Raises: BadProblem if a rung has no training problems.
        """
        if not ladder or len({rung.name for rung in ladder}) < len(ladder) or count < 1:
            raise ValueError("a plan needs rungs of different names and a count of at least 1")
        known: dict[str, list[Record]] = {rung.name: [] for rung in ladder}
        for key in sorted(records):
            record = records[key].before(generation)
            if key[0] in known and record.tallies:
                known[key[0]].append(record)
        shares = self.shares([solve_rate(known[rung.name], generation) for rung in ladder])
        picks: list[Pick] = []
        for rung, places in zip(ladder, apportioned(shares, count), strict=True):
            picks += self._rung(rung, known[rung.name], generation, places, seed)
        order = np.random.default_rng(derive_seed(seed, "order", generation)).permutation(len(picks))
        return tuple(picks[place] for place in order)

    def shares(self, rates: Sequence[float | None]) -> Floats:
        """Shares of the rungs, given how well each is solved: what a rung has learned to solve passes its share up."""
        low, high = self.rising
        flow, left = np.zeros(len(rates)), 1.0
        for rung, rate in enumerate(rates):
            last = rung == len(rates) - 1
            passed = 0.0 if rate is None or last else min(1.0, max(0.0, (rate - low) / (high - low)))
            flow[rung] = left * (1 - passed)
            left *= passed
        least = min(self.least, 1 / len(rates))
        return least + (1 - least * len(rates)) * flow

    def _rung(self, rung: Domain, known: Sequence[Record], generation: int, places: int, seed: int) -> list[Pick]:
        """`places` problems of one rung; where it has too few that are not mastered, these come again and again."""
        rng = np.random.default_rng(derive_seed(seed, "curriculum", rung.name, generation))
        done = [record.mastered(self.in_a_row, self.mastered) for record in known]
        left = [record for record, mastered in zip(known, done, strict=True) if not mastered]
        half = drawn([r for r in left if r.solved], lambda r: learnable(r, generation, self.decay) ** self.focus, rng)
        hard = drawn([r for r in left if not r.solved], lambda r: 1 / sum(t.attempts for t in r.tallies), rng)
        review = drawn([record for record, mastered in zip(known, done, strict=True) if mastered],
                       lambda r: float(generation - r.tallies[-1].generation), rng)
        mix = np.array([1 - self.new - self.hard - self.review, self.new, self.hard, self.review])
        n_half, _, n_hard, n_review = apportioned(mix, places)
        wanted = places - min(n_half, len(half)) - min(n_hard, len(hard)) - min(n_review, len(review))
        fresh = _unplayed(rung, {r.problem.id for r in known}, wanted, derive_seed(seed, "new", generation))
        active = [*_labelled(half[:n_half], "half"), *((problem, "new") for problem in fresh),
                  *_labelled(hard[:n_hard], "hard"), *_labelled(half[n_half:], "half"),
                  *_labelled(hard[n_hard:], "hard")]
        again = _labelled(review, "review")
        cycle = active or again
        if not cycle and places:
            raise BadProblem(f"{rung.name} has no training problems")
        seldom = [Pick(problem, 0, why) for problem, why in again[:n_review]] if active else []
        return seldom + [Pick(cycle[place % len(cycle)][0], place // len(cycle), cycle[place % len(cycle)][1])
                         for place in range(places - len(seldom))]


def learnable(record: Record, generation: int, decay: float) -> float:
    """Expected p (1 - p) of a problem whose solve rate p has the prior Beta(1, 1); in (0, 1/4].

    It is largest where half of the attempts were right, and where little is known it stays near the prior's 1/6.
    """
    age = [decay ** (generation - 1 - tally.generation) for tally in record.tallies]
    right = 1 + sum(w * t.right for w, t in zip(age, record.tallies, strict=True))
    wrong = 1 + sum(w * (t.attempts - t.right) for w, t in zip(age, record.tallies, strict=True))
    return right * wrong / ((right + wrong) * (right + wrong + 1))


def solve_rate(records: Sequence[Record], generation: int) -> float | None:
    """How well a rung is solved, in [0, 1]: on problems that were new, of the last generations, since all others were
    picked for their difficulty. Where there are too few new ones, on every known problem's last tally; None without.
    """
    firsts = [r.tallies[0] for r in records if r.tallies[0].generation >= generation - RECENT]
    for tallies in (firsts, [r.tallies[-1] for r in records]):
        attempts = sum(tally.attempts for tally in tallies)
        if attempts >= ENOUGH:
            return sum(tally.right for tally in tallies) / attempts
    return None


def drawn(pool: Sequence[Record], weight: Callable[[Record], float], rng: np.random.Generator) -> list[Record]:
    """The pool in the order of a draw without replacement, in proportion to positive weights (Gumbel, top-k)."""
    keys = np.log(np.array([weight(record) for record in pool])) + rng.gumbel(size=len(pool))
    return [pool[place] for place in np.argsort(-keys, kind="stable")]


def apportioned(shares: Floats, count: int) -> list[int]:
    """Whole numbers in proportion to shares that add up to 1: the largest remainders are rounded up."""
    exact = shares * count
    whole = np.floor(exact + 1e-9).astype(int)
    rest = count - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:rest]] += 1
    return [int(number) for number in whole]


def _labelled(records: Sequence[Record], why: str) -> list[tuple[Problem, str]]:
    return [(record.problem, why) for record in records]


def _unplayed(rung: Domain, played: set[str], wanted: int, seed: int) -> list[Problem]:
    """Up to `wanted` training problems that were never played; fewer where the split has (nearly) no more."""
    found: list[Problem] = []
    vain = 0
    for problem in rung.problems("train", seed) if wanted > 0 else ():
        vain = vain + 1 if problem.id in played else 0
        if not vain:
            found.append(problem)
        if len(found) == wanted or vain == VAIN:
            break
    return found
