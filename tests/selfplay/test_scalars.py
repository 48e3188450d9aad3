from __future__ import annotations

import sys
from pathlib import Path

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
