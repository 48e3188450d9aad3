from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from selfplay.scalars import MLflow, NoTracker, Nowhere, TensorBoard, WeightsAndBiases


def test_tensorboard_gets_what_was_said_and_a_resumed_run_adds_to_it(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for steps in (range(3), range(3, 5)):
        scalars = TensorBoard(str(tmp_path / "scalars"), "run")
        for step in steps:
            scalars.log(step, {"play/solve_rate": step / 10, "learn/loss": 1.0})
        scalars.close()
    events = EventAccumulator(str(tmp_path / "scalars"))
    events.Reload()
    assert [(e.step, round(e.value, 3)) for e in events.Scalars("play/solve_rate")] == [
        (0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]
    assert sorted(events.Tags()["scalars"]) == ["learn/loss", "play/solve_rate"]


def test_what_is_logged_is_there_before_the_end(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    scalars = TensorBoard(str(tmp_path), "run")
    scalars.log(0, {"a": 1.0})
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [e.value for e in events.Scalars("a")] == [1.0]
    scalars.close()


def test_nowhere_keeps_nothing() -> None:
    scalars = Nowhere("nowhere", "run")
    scalars.log(0, {"a": 1.0})
    scalars.close()


@pytest.mark.parametrize(("make", "package"), [
    (lambda: MLflow(".", "r", "e"), "mlflow"), (lambda: WeightsAndBiases(".", "r", "p"), "wandb"),
])
def test_a_missing_tracker_is_one_line(monkeypatch: pytest.MonkeyPatch, make, package: str) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NoTracker, match=f"pip install {package}, or choose scalars=none"):
        make()


class FakeWandb(types.ModuleType):
    """Keeps what W&B would: values without a step of W&B's own, by the axes that were defined."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.asked: list[dict[str, Any]] = []
        self.axes: dict[str, str | None] = {}
        self.rows: list[dict[str, float]] = []

    def init(self, **asked: Any) -> FakeWandb:
        self.asked.append(asked)
        return self

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        assert name not in self.axes and (step_metric is None or step_metric in self.axes)
        self.axes[name] = step_metric

    def log(self, values: dict[str, float], step: int | None = None) -> None:
        if step is None or step >= len(self.rows):
            self.rows.append(values)  # what comes at a lower step is dropped


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_wandb_keeps_a_generation_after_many_steps_of_learning(wandb: FakeWandb) -> None:
    scalars = WeightsAndBiases("folder", "run", "project")
    for step in range(1, 4):
        scalars.log(step, {"learn/value": step / 10})
    scalars.log(1, {"play/solve_rate": 0.5, "elo/system1": 70.0})
    scalars.log(4, {"learn/value": 0.4})
    assert wandb.asked == [{"project": "project", "id": "run", "dir": "folder", "mode": "online", "resume": "allow"}]
    assert wandb.rows[3:] == [{"play/solve_rate": 0.5, "play/step": 1, "elo/system1": 70.0, "elo/step": 1},
                              {"learn/value": 0.4, "learn/step": 4}]
    assert wandb.axes == {"learn/step": None, "learn/*": "learn/step", "play/step": None, "play/*": "play/step",
                          "elo/step": None, "elo/*": "elo/step"}
