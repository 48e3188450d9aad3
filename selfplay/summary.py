"""A generation in figures: what is kept of it in the run's state, for people and plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from selfplay.match import Decision, Paired
from selfplay.training import Learned, Step
from selfplay.trajectory import Trajectory
from verifiers.base import Status

POINTS = 50  # of a training's curve that are remembered
UNSEEN: dict[str, Any] = {"promoted": True, "reason": "no match was played", "accuracies": {}, "gain": None}


UNLEARNED: dict[str, Any] = {
    "steps": 0, "planned": 0, "learned_tokens": 0, "unlike": 0.0,
    "distinct_solutions": 0.0, "distinct_lines": 0.0,
    "losses": {"objective": [], "imitation": [], "value": [], "anchor": []},
    "entropy": None, "base_entropy": None, "divergence": None,
}  # fmt: skip


def refused(reason: str, champion: int) -> dict[str, Any]:
    """A candidate that met nobody."""
    return {"promoted": False, "reason": reason, "against": champion, "accuracies": {}, "gain": None}


def ordered(trajectories: Iterable[Trajectory]) -> list[Trajectory]:
    """In an order that does not depend on who was faster: sums of floats are then the same in every attempt."""
    return sorted(trajectories, key=lambda t: t.episode_id)


def broken(errors: int, ended: int, played: Iterable[Trajectory]) -> str:
    """Why a run is stopped, in one line."""
    why = next((t.verdict.detail for t in played if t.failed), "")
    return f"{errors} of {ended} searches ended in an error, nothing is trained on them; the first says: {why[:200]}"


def losses(curve: Sequence[Step]) -> dict[str, list[float]]:
    """The terms of the loss over the training, each point the mean of up to a fiftieth of it."""
    size = max(1, -(-len(curve) // POINTS))
    parts = [curve[at : at + size] for at in range(0, len(curve), size)]
    return {name: [_mean([getattr(step, name) for step in part]) for part in parts]
            for name in ("objective", "imitation", "value", "anchor")}


def played_figures(played: Sequence[Trajectory]) -> dict[str, Any]:
    """How a generation fared on its training problems; rates are in [0, 1]."""
    rates = [t.solve_rate for t in played if t.solve_rate is not None]
    greedy = [line.status == Status.CORRECT.value for t in played for line in t.lines if line.greedy]
    usable = [t for t in played if not t.failed]
    return {
        "played": len(played), "errors": len(played) - len(usable),
        "solve_rate": _mean(rates), "greedy_rate": _mean(greedy), "search_rate": _mean([t.verdict.ok for t in usable]),
        "tokens": sum(t.tokens + t.line_tokens for t in played),
    }


def learned_figures(learned: Learned) -> dict[str, Any]:
    """What a training came to."""
    last = learned.looks[-1] if learned.looks else None
    return {
        "steps": learned.steps, "planned": learned.planned, "learned_tokens": learned.tokens, "unlike": learned.unlike,
        "losses": losses(learned.curve),
        "distinct_solutions": learned.played.distinct_solutions, "distinct_lines": learned.played.distinct_lines,
        "entropy": None if last is None else last.entropy,
        "base_entropy": None if last is None else last.base_entropy,
        "divergence": None if last is None else last.divergence,
    }  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def match_figures(decision: Decision, matches: Sequence[Paired], champion: int) -> dict[str, Any]:
    """What a match decided, and why."""
    found = decision.combined
    return {"promoted": decision.promote, "reason": decision.reason, "against": champion,
            "accuracies": {match.mode.value: list(match.accuracy) for match in matches},
            "gain": [found.difference, found.low, found.high]}
