"""What an arm in a process of its own is told, and the clock it trains by. Standard library only: TRL's environment
need not hold this project's packages."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MARKS = "marks.json"


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        base: folder of the policy it begins with.
        domain: arguments of the domain's constructor.
        prompts: of all training problems.
        out: folder for checkpoints.
        seed: of everything random.
        threads: of torch.
        marks: minutes after which the policy is saved, ascending; training ends with the last.
        options: of the arm's configuration.
    """

    base: str
    domain: dict[str, Any]
    prompts: list[str]
    out: str
    seed: int
    threads: int
    marks: list[float]
    options: dict[str, Any]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: str | Path) -> Job:
        return cls(**json.loads(Path(path).read_text()))


@dataclass(frozen=True)
class Taken:
    """A policy at a mark.

    Attributes:
        mark: minutes on the clock.
        seconds: that it was trained for really.
        steps: optimisation steps so far, or generations of self-play.
        folder: of the policy, or of its adapter; None: the base itself, unchanged.
    """

    mark: float
    seconds: float
    steps: int
    folder: str | None


class Clock:
    """Counts the seconds of training; saving does not count.

    Args:
        marks: minutes, ascending.
        out: folder in which the policy at a mark becomes `mark-MINUTES`.
        now: monotonic seconds.
    """

    def __init__(self, marks: Sequence[float], out: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._marks, self._out, self._now = list(marks), out, now
        self._began: float | None = None
        self._paused = 0.0
        self.taken: list[Taken] = []

    def start(self) -> None:
        self._began = self._now()

    @property
    def seconds(self) -> float:
        """On the clock so far; 0 before the start."""
        return 0.0 if self._began is None else self._now() - self._began - self._paused

    @property
    def share(self) -> float:
        """Of the time that is over, in [0, 1]."""
        return min(1.0, self.seconds / (60 * self._marks[-1]))

    @property
    def over(self) -> bool:
        return len(self.taken) == len(self._marks)

    def look(self, steps: int, save: Callable[[Path], object]) -> bool:
        """Save the policy, once for each mark that has passed; true when none is left. After the last, all are told of
        in a file: it is there when the training is done."""
        seconds, paused = self.seconds, self._now()
        while not self.over and seconds >= 60 * self._marks[len(self.taken)]:
            mark = self._marks[len(self.taken)]
            folder = self._out / f"mark-{mark:g}"
            shutil.rmtree(folder, ignore_errors=True)
            save(folder)
            self.taken.append(Taken(mark, seconds, steps, str(folder)))
            if self.over:
                write_marks(self._out, self.taken)
        self._paused += self._now() - paused
        return self.over


def write_marks(folder: Path, taken: Sequence[Taken]) -> None:
    """Whole or not at all."""
    part = folder / f"{MARKS}.part"
    part.write_text(json.dumps([asdict(one) for one in taken], indent=1) + "\n")
    os.replace(part, folder / MARKS)


def read_marks(folder: Path) -> list[Taken] | None:
    """None if the training that works in this folder is not over."""
    path = folder / MARKS
    return [Taken(**one) for one in json.loads(path.read_text())] if path.exists() else None
