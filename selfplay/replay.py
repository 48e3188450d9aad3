"""The replay window: what the last generations played, as lessons, with stage one beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from selfplay.lessons import NOTHING, Lesson, capped, correct_lines, drawn
from selfplay.objectives import Objective
from selfplay.trajectory import Purpose, Trajectory
from verifiers.base import Domain, derive_seed

MONITORED = 4  # lines of a held-out problem that the monitors look at


@dataclass(frozen=True)
class Played:
    """What the trajectories of a window amount to.

    Attributes:
        trajectories: that can be learned from, each episode once.
        failed: left out because something broke.
        problems: distinct.
        solved: share of the problems with a line graded correct, in [0, 1].
        distinct_solutions: distinct correct lines a solved problem; 0 if none is.
        distinct_lines: share of the independent lines of a problem that differ, mean over problems; in [0, 1].
        held_out: problems that only the monitors see.
    """

    trajectories: int
    failed: int
    problems: int
    solved: float
    distinct_solutions: float
    distinct_lines: float
    held_out: int


@dataclass(frozen=True)
class Gathered:
    """What is learned from, and what the monitors look at.

    Attributes:
        lessons: of all problems, in a fixed order.
        monitored: independent lines of problems that are held out from the lessons.
        demonstrations: stage one, without an end.
        share: of the tokens that come from it.
        seed: of the shuffling.
        played: see Played.
    """

    lessons: Sequence[Lesson]
    monitored: Sequence[Lesson]
    demonstrations: Iterator[Lesson]
    share: float
    seed: int
    played: Played


@dataclass(frozen=True)
class Replay:
    """How trajectories become lessons.

    Attributes:
        window: generations to look back on; an objective that learns on-policy looks at the last one alone.
        cap: a problem weighs at most as so many lines (selfplay/lessons.py).
        demonstrations: share of the tokens that are demonstrations of stage one, against forgetting; in [0, 1).
        held_out: problems whose independent lines only the monitors see; never more than a tenth of all. They are the
            first ones by a hash of the problem, in every generation.
    """

    window: int = 3
    cap: float = 1.0
    demonstrations: float = 0.1
    held_out: int = 16

    def __post_init__(self) -> None:
        if self.window < 1 or not self.cap > 0 or not 0 <= self.demonstrations < 1 or self.held_out < 0:
            raise ValueError("window must be at least 1, cap above 0, demonstrations in [0, 1), held_out at least 0")

    def gather(
        self, trajectories: Iterable[Trajectory], objective: Objective, domains: Sequence[Domain], seed: int
    ) -> Gathered:
        """What an objective learns from the last generations; the order of the trajectories does not matter.

        Args:
            trajectories: of training searches; those of matches are left out, and so are failed ones.
            domains: whose demonstrations are shown.
        """
        episodes = {t.episode_id: t for t in trajectories if t.purpose is Purpose.TRAIN}
        latest = max((t.generation for t in episodes.values()), default=0)
        first = latest if objective.on_policy else latest - self.window + 1
        usable = [t for _, t in sorted(episodes.items()) if t.generation >= first]
        problems: defaultdict[tuple[str, str], list[Trajectory]] = defaultdict(list)
        for trajectory in usable:
            if not trajectory.failed:
                problems[trajectory.problem.domain, trajectory.problem.id].append(trajectory)
        # Whatever the seed, which differs from generation to generation: what is held out once stays so over a run.
        order = sorted(problems, key=lambda key: derive_seed("held out", *key))
        held = order[: min(self.held_out, len(order) // 10)]
        lessons = [lesson for key in sorted(order[len(held):])
                   for lesson in capped(objective.teach(problems[key], latest), self.cap)]
        monitored = [lesson for key in held for lesson in _monitored(problems[key])]
        failed = sum(t.failed for t in usable)
        share = self.demonstrations if domains else 0.0
        return Gathered(lessons, monitored, demonstrations(domains, seed), share, seed,
                        _summary(problems, failed, len(held)))


def demonstrations(domains: Sequence[Domain], seed: int) -> Iterator[Lesson]:
    """Stage one's demonstrations of some domains in turn, without an end."""
    for number in count() if domains else ():
        rng = np.random.default_rng(derive_seed(seed, "demonstrations", number))
        problem, thoughts = domains[number % len(domains)].demonstrate(rng)
        yield Lesson(problem.prompt, tuple(thoughts), imitation=(1.0,) * len(thoughts),
                     targets=(NOTHING,) * (len(thoughts) + 1), ends=True)


def _monitored(played: Sequence[Trajectory]) -> list[Lesson]:
    """Lines of a problem that the latest policy drew which has played it."""
    latest = max(t.generation for t in played)
    lines = [line for t in played if t.generation == latest for line in drawn(t) if line.thoughts]
    return [Lesson(played[0].problem.prompt, line.thoughts, imitation=(0.0,) * len(line.thoughts),
                   targets=(NOTHING,) * (len(line.thoughts) + 1), last=line.lasts[-1:] == (True,))
            for line in lines[:MONITORED]]


def _summary(problems: Mapping[tuple[str, str], Sequence[Trajectory]], failed: int, held_out: int) -> Played:
    solutions = [len(correct_lines(played)) for played in problems.values()]
    solved = sum(found > 0 for found in solutions)
    lines = [[line.thoughts for t in played for line in drawn(t)] for played in problems.values()]
    differing = [len(set(group)) / len(group) for group in lines if group]
    return Played(
        trajectories=sum(map(len, problems.values())),
        failed=failed,
        problems=len(problems),
        solved=solved / len(problems) if problems else 0.0,
        distinct_solutions=sum(solutions) / solved if solved else 0.0,
        distinct_lines=sum(differing) / len(differing) if differing else 0.0,
        held_out=held_out,
    )
