"""Has jobs played until the store holds them all, and trusts neither the verifier nor the workers on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfplay.audit import BrokenReward
from selfplay.pool import Pool
from selfplay.store import Store
from selfplay.summary import broken
from selfplay.trajectory import Job
from verifiers.base import Status

FEW = 20
"""Ended searches before the share of errors among them means anything."""
REPAIRS = 3
"""Times that what was lost with damaged shards is played again before the store itself is given up."""


class StaleWorker(RuntimeError):
    """What played was not the policy that should have; one line."""


@dataclass(frozen=True)
class Event:
    """Something to show: `kind` is propose, play, learn, match, generation or damage; values by name."""

    kind: str
    generation: int
    values: dict[str, Any]


class Collector:
    """See the module.

    Args:
        pool: plays.
        store: that the pool writes to.
        version: of the policy that wears an adapter, as it ought to call itself.
        max_errors: share of searches that may fail before nothing more is played.
        tell: is called with every Event.
    """

    def __init__(self, pool: Pool, store: Store, version: Callable[[Path | None], str], max_errors: float,
                 tell: Callable[[Event], None]) -> None:
        self._pool, self._store, self._version = pool, store, version
        self._max_errors, self._tell = max_errors, tell
        self._damaged = 0

    def collect(self, jobs: Sequence[Job], adapter: Path | None, kind: str, number: int) -> None:
        """Have those jobs played that are not in the store, until it holds them all in parts that can be read.

        What failed in an earlier attempt is played once more, and what another policy than this one played: the cause
        may be mended by now.

        Args:
            jobs: of one generation.
            adapter: that the policy wears.
            kind, number: of the events: what it is played for, and the generation under way.

        Raises: BrokenReward (too many searches fail), StaleWorker, OSError, and what the pool and the store raise.
        """
        if not jobs:
            return
        generation, wanted = jobs[0].generation, {job.episode_id for job in jobs}
        expected = self._version(adapter)
        if vain := self._vain(generation, wanted, expected):
            self._store.forget(generation, vain)
        for _ in range(REPAIRS):
            known = self._store.ids(generation)
            self._hand_out([job for job in jobs if job.episode_id not in known], adapter, expected, kind, number)
            self._store.compact(generation)  # reads every byte, and so finds what is damaged
            for damage in self._store.damaged[self._damaged :]:
                self._tell(Event("damage", number, vars(damage)))
            self._damaged = len(self._store.damaged)
            if wanted <= self._store.ids(generation):
                return
        raise OSError(f"the store loses what is written to it: files of generation {generation} were damaged "
                      f"{REPAIRS} times")

    def _vain(self, generation: int, wanted: set[str], expected: str) -> list[str]:
        """Episodes in the store that count for nothing."""
        columns = ["episode_id", "policy_version", "status"]
        return [row["episode_id"] for row in self._store.read(generation, columns) if row["episode_id"] in wanted
                and (_failed(row["status"]) or row["policy_version"] != expected)]

    def _hand_out(self, jobs: Sequence[Job], adapter: Path | None, expected: str, kind: str, number: int) -> None:
        """Have jobs played, and stop where the verifier or a worker cannot be trusted."""
        errors = 0
        for ended, done in enumerate(self._pool.play(jobs, adapter) if jobs else (), 1):
            errors += _failed(done.status)
            if done.policy_version != expected and not _failed(done.status):
                raise StaleWorker(f"worker {done.worker} plays with the policy {done.policy_version}, not with "
                                  f"{expected} of {'the base' if adapter is None else adapter.name}")
            if ended == 1 and done.episode_id not in self._store.ids(jobs[0].generation):
                raise OSError(f"worker {done.worker} has stored what cannot be seen here; give a selfplay.store= that "
                              "all nodes share")
            if ended >= FEW and errors > self._max_errors * ended:
                raise BrokenReward(broken(errors, ended, self._store.trajectories(jobs[0].generation)))
            self._tell(Event(kind, number, {"done": ended, "of": len(jobs), "last": done}))


def _failed(status: str) -> bool:
    return status == Status.ERROR.value
