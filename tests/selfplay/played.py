"""Trajectories made by hand, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence

from selfplay.trajectory import Line, Purpose, Trajectory
from verifiers.base import Problem, Status, Verdict


def line(status: str, greedy: bool = False) -> Line:
    return Line(("a thought",), (-1.0,), float(status == "correct"), status, greedy)


def trajectory(
    problem: Problem, generation: int = 0, *, lines: Sequence[str] = (), greedy: str | None = None,
    search: str = "wrong", tokens: int = 100, sample: int = 0, purpose: Purpose = Purpose.TRAIN,
) -> Trajectory:
    """One with lines and a search of the given statuses."""
    played = [*map(line, lines), *([] if greedy is None else [line(greedy, greedy=True)])]
    return Trajectory(
        f"{problem.id}-{generation}-{sample}", generation, sample, purpose, problem, "version", 1, (), tuple(played),
        None, (), False, Verdict(Status(search), float(search == "correct")), 1.0, tokens, 3, 0.1, 50,
    )
