"""Reading back a run of self-play: which curves are drawn together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from commands.manifest import write_json
from commands.progress import draw_improvement, read_improvement
from selfplay.state import State
from tests.commands.test_plot import ANSWERS, make_run, rename

ROW = {
    "generation": 1, "promoted": True, "against": 0, "reason": "better", "played": 8, "errors": 0, "steps": 3,
    "solve_rate": 0.5, "greedy_rate": 0.4, "search_rate": 0.9, "distinct_solutions": 2.0, "core_hours": 0.1,
    "accuracies": {}, "losses": {name: [1.0] for name in ("imitation", "value", "objective", "anchor")},
}  # fmt: skip
OLD, NEW = "2026-01-01T10:00:00+00:00", "2026-01-02T10:00:00+00:00"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    State(generation=2, champion=1, history=[ROW]).save(tmp_path)
    write_json(tmp_path / "manifest.json", {"config": {"domain": {"name": "game24"}}})
    return tmp_path


def add(run_dir: Path, number: int, started: str, answers: Any = ANSWERS, **names: Any) -> Path:
    place = make_run(run_dir / "curves" / f"generation-{number}", answers, label=f"generation {number}",
                     started=started, **names)
    (place / "summary.json").write_text("{}")
    return place


def drawn(run_dir: Path) -> list[str]:
    return [one.label for one in read_improvement(run_dir).curves]


@pytest.mark.parametrize("names", [{"split": "tot100"}, {"budget": "9s"}, {"search": "beam"}])
def test_curves_of_other_settings_are_not_drawn_beside_the_newest(run_dir: Path, names: dict[str, str]) -> None:
    for number, started, more in ((0, NEW, names), (1, OLD, {}), (2, OLD, {}), (10, NEW, names)):
        add(run_dir, number, started, **more)
    assert drawn(run_dir) == ["generation 0", "generation 10"]
    figure = draw_improvement(read_improvement(run_dir), None, 20, 0)
    title = f"{names.get('split', 'test')}, 4 problems (bands: 95 %)"
    assert figure.axes[1].get_title() == title
    assert {line.get_label() for line in figure.axes[1].lines} & {"generation 1", "generation 2"} == set()


def test_curves_of_other_problems_are_not_drawn_beside_the_newest(run_dir: Path) -> None:
    add(run_dir, 0, NEW)
    rename(add(run_dir, 1, OLD), ["q0", "q1", "q2", "q3"])
    add(run_dir, 2, OLD, ANSWERS[:2])
    rename(add(run_dir, 3, OLD), ["p3", "p2", "p1", "p0"])  # the same problems in another order
    assert drawn(run_dir) == ["generation 0", "generation 3"]


def test_new_curves_that_were_interrupted_are_the_newest_but_a_part_of_one_is_none(run_dir: Path) -> None:
    add(run_dir, 0, NEW, budget="9s")
    add(run_dir, 1, NEW, ANSWERS[:2], budget="9s", partial=True)
    add(run_dir, 2, OLD)
    assert drawn(run_dir) == ["generation 0"]


def test_without_curves_there_is_a_picture(run_dir: Path) -> None:
    assert drawn(run_dir) == [] and draw_improvement(read_improvement(run_dir), None, 20, 0).axes
