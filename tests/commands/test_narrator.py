"""What a run shows while it goes on."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from commands.improve import _scalars
from commands.narrator import Narrator
from selfplay.collecting import Event
from selfplay.pool import Done

ROW = {
    "solve_rate": 0.5, "greedy_rate": 0.4, "search_rate": 0.9, "errors": 0, "distinct_solutions": 2.0,
    "distinct_lines": 0.7, "entropy": None, "divergence": 0.1, "promoted": True, "against": 0, "generation": 1,
    "reason": "better \x1b[31m", "accuracies": {"system1": [0.5, 0.4], "system2": [0.9, 0.8]},
    "elo": {"system1": [70.0, 10.0, 130.0], "system2": []},
}  # fmt: skip
STEP = {"step": 3, "objective": 0.0, "imitation": 1.25, "value": 0.5, "anchor": 0.0, "total": 13}


class Kept:
    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.closed = False

    def log(self, step, values) -> None:
        self.rows.append((step, dict(values)))

    def close(self) -> None:
        self.closed = True


def played(number: int) -> Event:
    done = Done("id", "correct", True, 0.5, True, 10, 0.1, "v", "w")
    return Event("play", 1, {"done": number, "of": 4, "last": done})


def test_lines_without_a_terminal_and_scalars(capsys: pytest.CaptureFixture[str]) -> None:
    kept = Kept()
    with Narrator(kept) as narrator:
        for event in (played(1), played(2), Event("learn", 1, STEP), Event("generation", 1, ROW),
                      Event("damage", 1, {"path": "p", "reason": "r", "moved": None})):
            narrator.tell(event)
    err = capsys.readouterr().err
    assert "generation 1, playing: 1 of 4, solve rate 0.50" in err and "step 3, imitation 1.250" in err
    assert "promoted: better" in err and "damaged: p: r" in err and "\x1b" not in err
    assert (13, {"learn/objective": 0.0, "learn/imitation": 1.25, "learn/value": 0.5, "learn/anchor": 0.0}) in kept.rows
    figures = kept.rows[-1][1]
    assert figures["elo/system1"] == 70.0 and "elo/system2" not in figures and "learned/entropy" not in figures
    assert figures["learned/divergence"] == 0.1 and not any(name.startswith("learn/") for name in figures)
    assert figures["play/solve_rate"] == 0.5 and kept.closed


@pytest.mark.parametrize(("accuracies", "elo", "said"), [
    (ROW["accuracies"], {"system1": [70.0, 1.0, 9.0], "system2": [5.0, 1.0, 9.0]}, "search 0.90; held out, against "
     "generation 0: system 1 0.50 (0.40), system 2 0.90 (0.80); Elo +70 and +5; promoted: unseen"),
    ({}, {}, "search 0.90; promoted: unseen"),  # there was no match
])  # fmt: skip
def test_a_generation_in_one_line(accuracies: Any, elo: Any, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Narrator(Kept()) as narrator:
        narrator.tell(Event("generation", 1, {**ROW, "accuracies": accuracies, "elo": elo, "reason": "unseen"}))
    assert capsys.readouterr().err == f"generation 1: solve rate 0.50, greedy 0.40, {said}\n"


def test_the_live_view_names_all_that_people_look_for() -> None:
    from rich.console import Console

    narrator = Narrator(Kept())
    narrator.tell(Event("generation", 1, ROW))
    for number in (1, 2, 3):
        narrator.tell(played(number))
    console = Console(file=io.StringIO(), width=120)
    console.print(narrator.draw())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "trajectories/s" in shown and "solve rate 0.50" in shown and "+70" in shown and "promoted" in shown
    narrator.tell(Event("learn", 2, STEP))
    console.print(narrator.draw())
    assert "value 0.500" in console.file.getvalue()  # type: ignore[attr-defined]


class Named(Kept):
    def __init__(self, folder: str, run_id: str) -> None:
        super().__init__()
        self.folder, self.run_id = folder, run_id


def test_a_tracker_tells_two_runs_of_one_configuration_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config: Any = OmegaConf.create({"_target_": f"{__name__}.Named"})
    one, other, again = (_scalars(config, folder, "id") for folder in (Path("a"), Path("b"), tmp_path / "a"))
    assert one.run_id == again.run_id != other.run_id and one.run_id != _scalars(config, Path("a"), "di").run_id
    assert one.folder == "a/scalars"
