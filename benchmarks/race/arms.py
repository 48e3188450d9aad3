"""The arms of the race: for each the command that trains, six configurations of it, and where its policies appear."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_IMPROVE = ("domain=game24", "selfplay=local", "selfplay.generations=1000", "threads=1", "policy.threads=1",
            "curves.of=none", "scalars=none")


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        configurations: six, by name: options of the command.
        command: from (options, run directory, seed) to the words to run.
        latest: the folder of the policy as it stands in a run directory; None for the one that it began with.
        ours: it runs in this environment; else in that of TRL.
    """

    configurations: Mapping[str, Sequence[str]]
    command: Callable[[Sequence[str], Path, int], list[str]]
    latest: Callable[[Path], Path | None]
    ours: bool = True


def _improve(*fixed: str) -> Callable[[Sequence[str], Path, int], list[str]]:
    def command(options: Sequence[str], folder: Path, seed: int) -> list[str]:
        return [sys.executable, str(ROOT / "run_experiment.py"), "improve", *_IMPROVE, *fixed, *options,
                f"run={folder}", f"seed={seed}"]

    return command


def _module(name: str) -> Callable[[Sequence[str], Path, int], list[str]]:
    def command(options: Sequence[str], folder: Path, seed: int) -> list[str]:
        return [sys.executable, "-m", name, f"out={folder}", f"seed={seed}", *options]

    return command


def champion(folder: Path) -> Path | None:
    link = folder / "champion"
    return link.resolve() if link.exists() else None


def last_step(folder: Path) -> Path | None:
    """Scripts write step-K folders, whole each."""
    steps = sorted(folder.glob("step-*"), key=lambda place: int(place.name.rpartition("-")[2]))
    return steps[-1] if steps else None


ARMS = {
    "expert_iteration": Arm({
        "default": (),
        "lr4": ("training.lr=0.004",),
        "lr1": ("training.lr=0.001",),
        "epochs4": ("training.epochs=4",),
        "wide": ("selfplay.problems=512",),
        "rank64": ("training.lora.rank=64", "training.lora.alpha=128"),
    }, _improve(), champion),
    "rejection_sampling": Arm({
        name: ("selfplay.lines=16", *options) for name, options in {
            "default": (), "lr4": ("training.lr=0.004",), "lr1": ("training.lr=0.001",),
            "epochs4": ("training.epochs=4",), "wide": ("selfplay.problems=512",),
            "rank64": ("training.lora.rank=64", "training.lora.alpha=128"),
        }.items()
    }, _improve("objective=rejection_sampling", "objective.tree_lines=false", "search=greedy", "selfplay.gate=false"),
        champion),
    "grpo_trl": Arm({
        "lr1e-3": ("lr=1e-3",), "lr5e-4": ("lr=5e-4",), "lr2e-3": ("lr=2e-3",),
        "group16": ("lr=1e-3", "group=16"), "batch128": ("lr=1e-3", "batch=128"), "twice": ("lr=1e-3", "iterations=2"),
    }, _module("benchmarks.race.trl_grpo"), last_step, ours=False),
    "stage_one": Arm({
        "lr1e-3": ("lr=1e-3",), "lr3e-3": ("lr=3e-3",), "lr3e-4": ("lr=3e-4",),
        "lr6e-3": ("lr=6e-3",), "countdown": ("lr=1e-3", "mix=0.3"), "batch2": ("lr=1e-3", "batch_tokens=2048"),
    }, _module("benchmarks.race.stage_one"), last_step),
}
