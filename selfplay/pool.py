"""Pools: jobs in, trajectories into the store, and a short account of each out, whoever does the work."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from policy.base import Policy
from selfplay.adapters import content_key, pack
from selfplay.loops import Loop
from selfplay.player import Player
from selfplay.trajectory import Job, Trajectory


class PoolBroken(RuntimeError):
    """The pool cannot go on, with one line that says why; what was handed out of it is stored."""


class Store(Protocol):
    """Where trajectories go; it travels to the workers. See selfplay/store.py."""

    def append(self, generation: int, trajectories: Sequence[Trajectory]) -> None:
        """When this returns they are safe. Trajectories that are in it already change nothing."""
        ...

    def batch(self, generation: int, ids: Iterable[str]) -> list[Trajectory]:
        """What was appended together with just these episode ids; empty if that is not in it."""
        ...


class Factory(Protocol):
    """Makes a worker's parts where it runs; it travels there, so it holds plain configs."""

    def policy(self) -> Policy: ...

    def player(self, policy: Policy) -> Player: ...


@dataclass(frozen=True)
class Done:
    """A job that has been played and is stored.

    Attributes:
        episode_id, policy_version: as in its trajectory.
        status: of the verdict; `error` counts for nothing.
        verified, solve_rate: as in its trajectory.
        greedy: was the greedy line correct? None without one.
        tokens: of search and lines together.
        seconds: of the search.
        worker: who played it.
        usages: what its policy has asked servers for so far (policy/served/usage.py), in this and all other jobs.
    """

    episode_id: str
    status: str
    verified: bool
    solve_rate: float | None
    greedy: bool | None
    tokens: int
    seconds: float
    policy_version: str
    worker: str
    usages: tuple[Any, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, played: Trajectory, worker: str, policy: Policy | None = None) -> Done:
        greedy = next((line.status == "correct" for line in played.lines if line.greedy), None)
        return cls(
            played.episode_id, played.verdict.status.value, played.verified, played.solve_rate, greedy,
            played.tokens + played.line_tokens, played.seconds, played.policy_version, worker,
            tuple(getattr(policy, "usages", ())),
        )  # fmt: skip


@runtime_checkable
class Pool(Protocol):
    """Plays jobs."""

    def play(self, jobs: Iterable[Job], adapter: str | Path | None) -> Iterator[Done]:
        """Play with the policy wearing an adapter (a folder) or none, each job once, in order of completion.

        Jobs are taken as there is room for them. Each is in the store before it is handed out; one that fails is too,
        with status `error`. Closing the iterator ends what is being played. One call at a time.

        Raises BadPolicy for an adapter that does not fit, what the store raises, and PoolBroken.
        """
        ...

    def close(self) -> None:
        """End everything that the pool has started."""
        ...


def save(store: Store, played: Iterable[Trajectory]) -> None:
    """Append each generation's part."""
    by_generation: defaultdict[int, list[Trajectory]] = defaultdict(list)
    for trajectory in played:
        by_generation[trajectory.generation].append(trajectory)
    for generation, part in by_generation.items():
        store.append(generation, part)


class LocalPool:
    """One player in this process.

    Args:
        player: plays; its policy is closed with the pool.
        store: for the trajectories.
        batch: trajectories stored together at most.
        patience: seconds a trajectory may wait for others to be stored with, counted when the next one ends.
    """

    def __init__(
        self, player: Player, store: Store, *, batch: int = 32, patience: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._player, self._store = player, store
        self._batch, self._patience, self._clock = batch, patience, clock
        self._loop = Loop()  # one for the life of the decoder
        self._worn: str | None = None

    def play(self, jobs: Iterable[Job], adapter: str | Path | None) -> Iterator[Done]:
        """See Pool."""
        self._wear(adapter)
        unsaved: list[Trajectory] = []
        with closing(self._trajectories(jobs)) as played:
            try:
                saved_at = self._clock()
                for trajectory in played:
                    unsaved.append(trajectory)
                    if len(unsaved) >= self._batch or self._clock() - saved_at >= self._patience:
                        yield from self._saved(unsaved)
                        saved_at = self._clock()
                yield from self._saved(unsaved)
            finally:
                save(self._store, unsaved)  # where nobody wants to hear of them any more

    def close(self) -> None:
        """See Pool."""
        self._loop.close()
        if hasattr(self._player.policy, "close"):
            self._player.policy.close()

    def _wear(self, adapter: str | Path | None) -> None:
        key = None if adapter is None else content_key(pack(adapter))
        if key != self._worn:
            self._player.load_adapter(None if adapter is None else str(adapter))
            self._worn = key

    def _trajectories(self, jobs: Iterable[Job]) -> Generator[Trajectory, None, None]:
        played = self._player.play(jobs)
        asking: asyncio.Task[Any] | None = None

        async def following() -> Trajectory | None:
            nonlocal asking
            asking = asyncio.current_task()
            return await anext(played, None)

        async def ended() -> None:
            if asking is not None and not asking.done():  # a signal's exception ended the loop in the middle of it
                asking.cancel()
                await asyncio.wait([asking])
            await played.aclose()

        try:
            while (trajectory := self._loop.run(following())) is not None:
                yield trajectory
        finally:
            self._loop.run(ended())

    def _saved(self, unsaved: list[Trajectory]) -> Iterator[Done]:
        """Store them, then tell of them."""
        save(self._store, unsaved)
        told = [Done.of(trajectory, "local", self._player.policy) for trajectory in unsaved]
        unsaved.clear()
        yield from told
