"""Results: one JSON object a line, one line for each policy measured; what stands there is not done again."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FILE = "results.jsonl"
SETTINGS = "settings.json"
BASE = "base"
"""The arm that mark 0 of all arms belongs to: the policy as it ships."""


class Refused(ValueError):
    """What cannot be done, in one line."""


@dataclass(frozen=True)
class Result:
    """A policy that was measured.

    Attributes:
        stage: `tune` or `race`.
        arm, config, options, seed: what made it.
        mark: minutes on the clock.
        split: of the problems it was measured on.
        seconds, steps: that it was trained for.
        correct: by measure, a digit for each problem, 1 for a right answer.
        policy: its version.
    """

    stage: str
    arm: str
    config: str
    options: tuple[str, ...]
    seed: int
    mark: float
    split: str
    seconds: float
    steps: int
    correct: dict[str, str] = field(hash=False)
    policy: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        return self.stage, self.arm, self.config, self.options, self.seed, self.mark, self.split

    def accuracy(self, measure: str) -> float:
        """In [0, 1]."""
        return self.correct[measure].count("1") / len(self.correct[measure])


class Results:
    """The file of results in a folder.

    Raises: Refused for a file that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.rows: list[Result] = []
        text = self.path.read_text() if self.path.exists() else ""
        for number, line in enumerate(text.split("\n")[:-1], 1):  # a last line without an end was cut off
            try:
                row = json.loads(line)
                self.rows.append(Result(**{**row, "options": tuple(row["options"])}))
            except (ValueError, TypeError, KeyError) as error:
                raise Refused(f"line {number} of {self.path} is not a result: {error}") from error

    def has(self, row: Result, measures: Collection[str]) -> bool:
        """Is there a row of the same policy with all these measures?"""
        return any(row.key == other.key and set(measures) <= other.correct.keys() for other in self.rows)

    def append(self, row: Result) -> None:
        """Safe on the disk when this returns. A line that was cut off before is removed first."""
        line = (json.dumps(asdict(row)) + "\n").encode()
        with self.path.open("ab+") as file:
            file.seek(0)
            whole = file.read().rfind(b"\n") + 1
            file.truncate(whole)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)

    def of(self, stage: str, **wanted: Any) -> list[Result]:
        return [row for row in self.rows if row.stage == stage
                and all(getattr(row, name) == value for name, value in wanted.items())]


def choose(results: Results, arm: str, configs: Sequence[tuple[str, tuple[str, ...]]], split: str) -> str:
    """The configuration of the best greedy accuracy at the last mark of its tuning; of equal ones the first.

    Args:
        configs: names and options of the arm's, all of which must have been tried with the same seeds and marks.
    """
    accuracies, tried = {}, set()
    for name, options in configs:
        rows = results.of("tune", arm=arm, config=name, options=options, split=split)
        if not rows:
            raise Refused(f"{arm}/{name} has not been tuned yet; run `tune` first, or say --config {arm}={name}")
        last = max(row.mark for row in rows)
        final = [row for row in rows if row.mark == last]
        tried.add((last, tuple(sorted(row.seed for row in final))))
        accuracies[name] = sum(row.accuracy("greedy") for row in final) / len(final)
    if len(tried) > 1:
        raise Refused(f"the configurations of {arm} were tuned with different minutes or seeds; use a new folder")
    return max(accuracies, key=lambda name: accuracies[name])


def bind(folder: Path, stage: str, settings: dict[str, Any]) -> None:
    """A folder belongs to one setting of each stage. Raises Refused for another."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SETTINGS
    known = json.loads(path.read_text()) if path.exists() else {}
    before = known.setdefault(stage, settings)
    if differing := sorted(name for name in settings if before.get(name) != settings[name]):
        raise Refused(f"{folder} was begun with other settings of {', '.join(differing)} for `{stage}`; use a new "
                      "folder, or the settings in settings.json")
    part = path.with_suffix(".part")
    part.write_text(json.dumps(known, indent=1) + "\n")
    os.replace(part, path)
