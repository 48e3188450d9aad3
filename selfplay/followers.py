"""Several GPUs in one run: the first process runs the loop, and the others follow it into each training.

A training is the same function of the same store in all of them, so three numbers say which. Between trainings the
others wait, for as long as the first one plays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from selfplay.pool import Done
from selfplay.processes import Processes
from selfplay.trajectory import Job

PATIENCE = timedelta(days=365)  # playing takes hours, in which the default would give up
_END = (0, 0, 0)


@dataclass(frozen=True)
class Call:
    """A training that all processes take part in.

    Attributes:
        generation: that learns; from 1.
        champion: the generation whose policy has played; 0 for the one that the run began with.
        seed: see Learner.learn.
    """

    generation: int
    champion: int
    seed: int


class Followers:
    """Those that follow the first process, as each process of a run knows them. Alone, nobody is told anything.

    Args:
        processes: the learner's.
    """

    def __init__(self, processes: Processes) -> None:
        self._group: Any = None
        if processes.count > 1:
            from torch import distributed

            # Of their own: a wait on the GPUs' backend would time out, and a word on it would have to be on a GPU.
            self._group = distributed.new_group(backend="gloo", timeout=PATIENCE)

    def call(self, call: Call) -> None:
        """Tell the others, from the first process, of the training that it begins now."""
        self._told(astuple(call))

    def end(self) -> None:
        """Tell the others that there is no more to be done, however the first process came to that."""
        with suppress(RuntimeError):  # who has gone already needs no telling
            self._told(_END)

    def follow(self, train: Callable[[Call], object]) -> None:
        """Take part, in another process than the first, in each training until the end.

        Raises what `train` raises, but for a ValueError: trainings that are the same fail with the same one, and the
        first process is the one to say so. RuntimeError if the first process is gone.
        """
        while (told := self._told(_END)) != _END:
            with suppress(ValueError):
                train(Call(*told))

    def _told(self, mine: tuple[int, ...]) -> tuple[int, ...]:
        """The first process's three numbers."""
        if self._group is None:
            return _END
        from torch import distributed

        numbers = torch.tensor(mine, dtype=torch.int64)
        distributed.broadcast(numbers, src=0, group=self._group)
        return tuple(numbers.tolist())


class Idle:
    """The pool of those that follow: they play nothing."""

    def play(self, jobs: Iterable[Job], adapter: str | Path | None) -> Iterator[Done]:
        return iter(())

    def close(self) -> None:
        """There is nothing to end."""
