"""What the tests of players and pools play with: a small domain, a store in memory or in a folder, and a factory."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from policy.base import Policy
from policy.budget import Budget
from policy.uniform import Uniform
from search.mcts import MCTS
from selfplay.player import Player
from selfplay.trajectory import Job, Purpose, Trajectory
from verifiers.base import Problem, Verdict
from verifiers.domains.countdown import Countdown

DOMAIN = Countdown("countdown", [3], 1, 9, 5, 30)


def jobs(count: int, purpose: Purpose = Purpose.TRAIN, generation: int = 0) -> list[Job]:
    problems = islice(DOMAIN.problems("train", 3), count)
    return [Job("run", purpose, generation, problem, 0, 7) for problem in problems]


def timeless(trajectory: Trajectory) -> Trajectory:
    """But for the time it took."""
    return replace(trajectory, seconds=0.0)


def _batch(batches: Iterable[list[Trajectory]], ids: Iterable[str]) -> list[Trajectory]:
    wanted = set(ids)
    return next((batch for batch in batches if {trajectory.episode_id for trajectory in batch} == wanted), [])


@dataclass
class Memory:
    """A store that keeps every batch as it came."""

    batches: list[tuple[int, Sequence[Trajectory]]] = field(default_factory=list)
    full: bool = False

    def append(self, generation: int, trajectories: Sequence[Trajectory]) -> None:
        if self.full:
            raise OSError("no space left")
        self.batches.append((generation, list(trajectories)))

    def batch(self, generation: int, ids: Iterable[str]) -> list[Trajectory]:
        return _batch((list(batch) for number, batch in self.batches if number == generation), ids)

    def trajectories(self, generations: int) -> Iterator[Trajectory]:
        return (trajectory for generation, batch in self.batches if generation == generations for trajectory in batch)


@dataclass(frozen=True)
class Shelf:
    """A store that processes share: a file a batch, whole or not there, and the same one if it comes again.

    Attributes:
        folder: where they lie.
    """

    folder: Path

    def append(self, generation: int, trajectories: Sequence[Trajectory]) -> None:
        ids = " ".join(sorted(trajectory.episode_id for trajectory in trajectories))
        unfinished = self.folder / f".{uuid.uuid4().hex}"
        unfinished.write_bytes(pickle.dumps(list(trajectories)))
        unfinished.rename(self.folder / f"{generation}-{hashlib.sha256(ids.encode()).hexdigest()}")

    def batch(self, generation: int, ids: Iterable[str]) -> list[Trajectory]:
        return _batch((pickle.loads(file.read_bytes()) for file in self.folder.glob(f"{generation}-*")), ids)

    def trajectories(self, generations: int) -> Iterator[Trajectory]:
        seen: set[str] = set()
        for file in sorted(self.folder.glob(f"{generations}-*")):
            for trajectory in pickle.loads(file.read_bytes()):
                if trajectory.episode_id not in seen:
                    seen.add(trajectory.episode_id)
                    yield trajectory

    def rows(self) -> list[Trajectory]:
        """Everything that is held, also what came a second time in other company."""
        return [one for file in sorted(self.folder.glob("*-*")) for one in pickle.loads(file.read_bytes())]


class Trouble(Countdown):
    """Countdown, with what can go wrong in a worker when it grades the answers to a problem.

    Args:
        folder: where files say what is to go wrong, by a problem's id: `kill-ID` (each time), `kill-once-ID`, and
            `hang-once-ID`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("countdown", [3], 1, 9, 5, 30)
        self.folder = folder

    def check(self, problem: Problem, answer: str) -> Verdict:
        if (self.folder / f"kill-{problem.id}").exists() or self._once("kill", problem):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._once("hang", problem):
            time.sleep(10_000)
        return super().check(problem, answer)

    def _once(self, what: str, problem: Problem) -> bool:
        try:
            (self.folder / f"{what}-once-{problem.id}").unlink()
        except FileNotFoundError:
            return False
        return True


@dataclass(frozen=True)
class Factory:
    """Players of countdown with random steps, or with a model.

    Attributes:
        trouble: see Trouble.
        model: folder of a model; empty for random steps.
        budget: of each search.
    """

    trouble: str = ""
    model: str = ""
    budget: str = "200tok"

    @property
    def domain(self) -> Countdown:
        return Trouble(Path(self.trouble)) if self.trouble else DOMAIN

    def policy(self) -> Policy:
        if not self.model:
            return Uniform(self.domain)
        from policy.transformer import Transformer

        return Transformer(self.model, threads=1, max_thought_tokens=24)

    def player(self, policy: Policy) -> Player:
        return Player({"countdown": self.domain}, policy, MCTS(), Budget.parse(self.budget), lines=3, concurrent=8)


@dataclass(frozen=True)
class Unfinished(Factory):
    """A factory whose code is not there yet where it arrives: not before as many have tried as there are files
    `missing-...` in `trouble`; never, if `missing-for-good` is one of them.
    """

    def __setstate__(self, state: dict[str, str]) -> None:
        vars(self).update(state)
        for file in sorted(Path(self.trouble).glob("missing-*")):
            if file.name != "missing-for-good":
                file.unlink()
            raise ModuleNotFoundError("No module named 'elsewhere'")
