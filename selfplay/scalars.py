"""Where the scalars of a run stream to: TensorBoard's event files by default, MLflow or Weights & Biases by choice."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class NoTracker(ValueError):
    """The package that a tracker needs is not installed; one line that says which."""


class Scalars(Protocol):
    """Takes scalars as they come. Names have groups, such as `play/solve_rate`; a group counts one kind of steps, which
    never run backwards in it: `learn` those of training, the others generations.

    Every tracker is made with the folder that it may write to and the id of the run, which a resumed run has again.
    """

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class Nowhere:
    """Keeps nothing; the run's own files hold all figures anyway."""

    def __init__(self, folder: str, run_id: str) -> None:
        """It needs neither."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        return

    def close(self) -> None:
        return


class TensorBoard:
    """Event files in a folder: `tensorboard --logdir RUN` shows them.

    Args:
        folder: made if it is not there; a resumed run adds a file.
    """

    def __init__(self, folder: str, run_id: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._writer = _needed("torch.utils.tensorboard", "tensorboard").SummaryWriter(folder)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # a run that is killed keeps what it has said

    def close(self) -> None:
        self._writer.close()


class MLflow:
    """A run of an MLflow experiment.

    Args:
        experiment: its name.
        run_id: of the run in MLflow; the same one goes on when a run is resumed.
        uri: of the tracking server, or a folder; null: MLflow's own default.
    """

    def __init__(self, folder: str, run_id: str, experiment: str, uri: str | None = None) -> None:
        self._mlflow = _needed("mlflow", "mlflow")
        if uri is not None:
            self._mlflow.set_tracking_uri(uri)
        self._mlflow.set_experiment(experiment)
        found = self._mlflow.search_runs(filter_string=f"tags.engine_run = '{run_id}'", output_format="list")
        known = {"run_id": found[0].info.run_id} if found else {"tags": {"engine_run": run_id}}
        self._mlflow.start_run(**known)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class WeightsAndBiases:
    """A run of a W&B project.

    Args:
        project: its name.
        run_id: the same one goes on when a run is resumed.
        mode: online, or offline: files below `folder` that `wandb sync` uploads.
        folder: of W&B's own files.
    """

    def __init__(self, folder: str, run_id: str, project: str, mode: str = "online") -> None:
        self._run = _needed("wandb", "wandb").init(project=project, id=run_id, dir=folder, mode=mode, resume="allow")
        self._axes: set[str] = set()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """W&B's own step is one for all groups and drops what comes at a lower one, so each group brings an axis."""
        groups = {name.partition("/")[0] for name in values}
        for group in sorted(groups - self._axes):
            self._run.define_metric(f"{group}/step")
            self._run.define_metric(f"{group}/*", step_metric=f"{group}/step")
        self._axes |= groups
        self._run.log({**values, **{f"{group}/step": step for group in groups}})

    def close(self) -> None:
        self._run.finish()


def _needed(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise NoTracker(f"scalars need the package {package}, which is not installed: pip install {package}, "
                        "or choose scalars=none") from error
