"""What an evaluation leaves behind: one row a problem, one row an answer, and the accuracy curves they yield."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from commands.errors import BadInput, shorten
from commands.manifest import write_atomically
from commands.statistics import Floats

RESULTS = pa.schema([
    ("problem_id", pa.string()), ("index", pa.int32()), ("problem", pa.string()), ("answer", pa.string()),
    ("confidence", pa.float64()), ("verified", pa.bool_()), ("correct", pa.bool_()), ("status", pa.string()),
    ("detail", pa.string()), ("greedy_correct", pa.bool_()), ("seconds", pa.float64()), ("tokens", pa.int64()),
    ("simulations", pa.int64()), ("answers", pa.int32()), ("thoughts", pa.list_(pa.string())), ("error", pa.string()),
    ("prompt_tokens", pa.int64()),  # null in files of before they were counted; below too
])
TRACE = pa.schema([
    ("problem_id", pa.string()), ("index", pa.int32()), ("answer_number", pa.int32()), ("seconds", pa.float64()),
    ("tokens", pa.int64()), ("simulations", pa.int64()), ("answer", pa.string()), ("confidence", pa.float64()),
    ("verified", pa.bool_()), ("correct", pa.bool_()), ("status", pa.string()), ("greedy", pa.bool_()),
    ("prompt_tokens", pa.int64()),
])

MARKS = pa.schema([  # what had been spent when a budget was first seen to be spent that the search was not given
    ("index", pa.int32()), ("budget", pa.string()), ("seconds", pa.float64()), ("tokens", pa.int64()),
    ("simulations", pa.int64()), ("prompt_tokens", pa.int64()),
])


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Parquet, whole or not at all. Raises BadInput where the disk refuses."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    write_atomically(path, lambda file: pq.write_table(table, file))


@dataclass(frozen=True)
class Run:
    """One evaluation read back.

    Attributes:
        path: its directory.
        manifest: as written.
        ids: problem ids in the order they were posed.
        results: one row a problem, in that order.
        trace: for each problem its answers in the order they were given.
    """

    path: Path
    manifest: Mapping[str, Any]
    ids: tuple[str, ...]
    results: Sequence[Mapping[str, Any]]
    trace: Mapping[str, Sequence[Mapping[str, Any]]]

    @property
    def label(self) -> str:
        return str(self.manifest.get("label") or f"{self.manifest['search']} / {self.manifest['policy']}")

    @property
    def correct(self) -> Floats:
        """Was the final answer right? 0 or 1, shape [problems]."""
        return np.array([float(row["correct"]) for row in self.results])

    @property
    def greedy_correct(self) -> Floats:
        """Was the answer of the greedy pass right? 0 or 1, shape [problems]."""
        return np.array([float(row["greedy_correct"]) for row in self.results])

    def spent(self, axis: str) -> Floats:
        """What each problem spent in all ('seconds' or 'tokens'), shape [problems]."""
        return np.array([float(row[axis]) for row in self.results])

    def first(self, axis: str) -> float:
        """When the first answer of any problem was there; 0 without any."""
        return min((float(answers[0][axis]) for answers in self.trace.values() if answers), default=0.0)

    def greedy_at(self, axis: str) -> Floats:
        """When the greedy answers were there, for the problems that have one."""
        return np.array([row[axis] for i in self.ids for row in self.trace.get(i, ()) if row["greedy"]], dtype=float)

    def standing_at(self, axis: str, point: float) -> list[Mapping[str, Any] | None]:
        """The answer of each problem that stood at a point; None where there was none yet."""
        found: list[Mapping[str, Any] | None] = []
        for problem in self.ids:
            given = self.trace.get(problem, ())
            # The clock of an answer never runs backwards, so counting those given by then finds the latest.
            at = np.maximum.accumulate(np.array([answer[axis] for answer in given], dtype=float))
            count = int(np.searchsorted(at, point, side="right"))
            found.append(given[count - 1] if count else None)
        return found

    def correct_at(self, axis: str, points: Floats) -> Floats:
        """Was the answer that stood at each point right? Shape [problems, points]; the latest answer stands."""
        table = np.zeros((len(self.ids), len(points)))
        for row, problem in zip(table, self.ids, strict=True):
            answers = self.trace.get(problem, ())
            at = np.array([answer[axis] for answer in answers], dtype=float)
            right = np.array([False, *(answer["correct"] for answer in answers)], dtype=float)
            # The clock of an answer never runs backwards, so counting those given by then finds the latest.
            row[:] = right[np.searchsorted(np.maximum.accumulate(at), points, side="right")]
        return table


def read_run(path: Path) -> Run:
    """Raises BadInput if the directory does not hold a finished (or interrupted) evaluation."""
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        results = pq.read_table(path / "results.parquet", schema=RESULTS).to_pylist()
        rows = pq.read_table(path / "trace.parquet", schema=TRACE).to_pylist()
        manifest["search"], manifest["policy"], manifest["domain"], manifest["split"]
    except FileNotFoundError as error:
        if not path.exists():
            raise BadInput(f"there is no folder {shorten(str(path))}") from error
        raise BadInput(f"{path} is no evaluation: {Path(error.filename).name} is missing") from error
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise BadInput(f"cannot read the evaluation in {path}: {str(error).splitlines()[0]}") from error
    if manifest.get("status") == "running":
        raise BadInput(f"the evaluation in {path} has not ended")
    results.sort(key=lambda row: row["index"])
    trace: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["index"], row["answer_number"])):
        trace.setdefault(row["problem_id"], []).append(row)
    return Run(path, manifest, tuple(row["problem_id"] for row in results), results, trace)


def find_runs(paths: Sequence[str]) -> list[Run]:
    """Read run directories; a directory of runs (as -m makes) stands for all runs in it."""
    runs = []
    for path in map(Path, paths):
        inner = sorted(child.parent for child in path.glob("*/manifest.json")) if path.is_dir() else []
        runs += [read_run(place) for place in (inner if inner and not (path / "manifest.json").exists() else [path])]
    return runs


def take_run_dirs(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Take the run directories out of the arguments: what has no `=` or is a directory, before any flag."""
    flags = next((i for i, word in enumerate(arguments) if word.startswith(("-", "~"))), len(arguments))
    words = [word for word in arguments[:flags] if "=" not in word or Path(word).is_dir()]
    return {"run_dirs": words}, [w for w in arguments[:flags] if w not in words] + list(arguments[flags:])
