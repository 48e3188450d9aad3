"""What runs in the processes of a pool: plain classes, of which selfplay/ray_pool.py makes actors.

A process whose policy has stopped ends itself: whoever watches it starts another one and has the jobs played again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from policy.base import Policy, PolicyStopped
from search.anytime import at_least_one
from selfplay.adapters import Parcel, Wardrobe, delivered, node_cache
from selfplay.player import Player
from selfplay.pool import Done, Factory, Store, save
from selfplay.remote_policy import Call, Card, Host, RemotePolicy, Reply, Wire
from selfplay.trajectory import Job

LAYOUTS = ("replica", "shared")


@dataclass(frozen=True)
class Layout:
    """Who runs where.

    Attributes:
        kind: `replica`, each worker has a policy of its own; or `shared`, workers ask policies in other processes.
        workers: that play.
        cpus: of each, and torch's threads there, rounded down.
        gpus: of each policy, wherever it is; fractions share one.
        policies: policies that are shared; the workers are dealt out among them.
        policy_cpus: of each shared policy.
    """

    kind: str = "replica"
    workers: int = 2
    cpus: float = 1.0
    gpus: float = 0.0
    policies: int = 1
    policy_cpus: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in LAYOUTS:
            raise ValueError(f"there is no layout {self.kind!r} of workers; allowed: {', '.join(LAYOUTS)}")
        at_least_one(workers=self.workers, policies=self.policies)
        if min(self.cpus, self.policy_cpus) <= 0 or self.gpus < 0:
            raise ValueError("a worker's cpus must be above 0, its gpus at least 0")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus is a share of one, or a whole number of them, not {self.gpus:g}")

    @property
    def all_cpus(self) -> float:
        return self.workers * self.cpus + (self.kind == "shared") * self.policies * self.policy_cpus


@dataclass(frozen=True)
class Hello:
    """A process is ready.

    Attributes:
        name: host and process.
        version: of the policy as it is dressed now.
    """

    name: str
    version: str


@dataclass(frozen=True)
class Pulse:
    """A sign of life.

    Attributes:
        busy: is there anything to do?
        progress: a number that changes while anything moves.
    """

    busy: bool
    progress: int


class PlayingWorker(ABC):
    """Plays jobs and stores what comes of them.

    Args:
        factory: of the player.
        store: for the trajectories.
        threads: that torch may use here.
    """

    def __init__(self, factory: Factory, store: Store, threads: int) -> None:
        self.factory = factory
        self._store, self._threads = store, threads
        self._wardrobe = Wardrobe(self._dress)
        self._making = asyncio.Lock()
        self._player: Player | None = None

    @abstractmethod
    async def make_policy(self, parcel: Parcel | None) -> Policy:
        """The policy; `parcel` is what it is to wear first, which `dress` sees to."""

    @abstractmethod
    async def dress(self, player: Player, parcel: Parcel | None) -> None:
        """Have the player's policy wear an adapter."""

    async def hello(self, parcel: Parcel | None) -> Hello:
        """Get ready to play with this adapter. Raises BadPolicy, and what the factory raises."""
        player = await self._ready(parcel)
        async with self._wardrobe.wearing(parcel):
            return Hello(_name(), player.policy.version)

    async def pulse(self) -> Pulse:
        return Pulse(self._wardrobe.guests > 0, 0 if self._player is None else self._player.progress)

    async def play(self, jobs: Sequence[Job], parcel: Parcel | None) -> list[Done]:
        """Play, store, and tell. Several calls play at once. Raises what the store raises.

        One that waited for a worker which died reaches the worker that takes its place before anybody greets that.
        """
        player = await self._ready(parcel)
        async with self._wardrobe.wearing(parcel):
            try:
                async with aclosing(player.play(jobs)) as playing:
                    played = [trajectory async for trajectory in playing]
            except PolicyStopped as error:
                _end(error)
            await asyncio.to_thread(save, self._store, played)
            return [Done.of(trajectory, _name(), player.policy) for trajectory in played]

    async def _ready(self, parcel: Parcel | None) -> Player:
        """The player, made by whoever needs it first."""
        async with self._making:
            if self._player is None:
                pin_threads(self._threads)
                self._player = self.factory.player(await self.make_policy(parcel))
                pin_threads(self._threads)  # a policy's own choice is made without knowing its neighbours
            return self._player

    async def _dress(self, parcel: Parcel | None) -> None:
        player = await self._ready(parcel)
        try:
            await self.dress(player, parcel)
        except PolicyStopped as error:
            _end(error)


class ReplicaWorker(PlayingWorker):
    """A worker with a policy of its own."""

    async def make_policy(self, parcel: Parcel | None) -> Policy:
        return self.factory.policy()

    async def dress(self, player: Player, parcel: Parcel | None) -> None:
        await _load(player, parcel)


class SharingWorker(PlayingWorker):
    """A worker that asks a policy in another process.

    Args:
        factory, store, threads: see PlayingWorker.
        wire: the way to the policy.
    """

    def __init__(self, factory: Factory, store: Store, threads: int, wire: Wire) -> None:
        super().__init__(factory, store, threads)
        self._wire = wire

    async def make_policy(self, parcel: Parcel | None) -> Policy:
        # No other than the rest asks for: the host would wait until nobody plays with theirs, which may be never.
        return RemotePolicy(self._wire, await self._wire.wear(parcel))

    async def dress(self, player: Player, parcel: Parcel | None) -> None:
        assert isinstance(player.policy, RemotePolicy)
        await player.policy.wear(parcel)


class PolicyServer:
    """A policy for the searches of many processes.

    Args:
        factory: of the policy.
        threads: that torch may use here.
    """

    def __init__(self, factory: Factory, threads: int) -> None:
        self._factory, self._threads = factory, threads
        self._wardrobe = Wardrobe(self._dress)
        self._host: Host | None = None

    async def hello(self, parcel: Parcel | None) -> Hello:
        """See PlayingWorker.hello."""
        return Hello(_name(), (await self.wear(parcel)).version)

    async def pulse(self) -> Pulse:
        return Pulse(False, 0) if self._host is None else Pulse(self._host.calls > 0, self._host.replies)

    async def wear(self, parcel: Parcel | None) -> Card:
        """See Wire.wear."""
        async with self._wardrobe.wearing(parcel):
            return self._ready().card

    async def ask(self, calls: Sequence[Call], parcel: Parcel | None) -> AsyncIterator[Sequence[Reply]]:
        """See Wire.ask."""
        async with self._wardrobe.wearing(parcel), aclosing(self._ready().answer(calls)) as replies:
            try:
                async for some in replies:
                    yield some
            except PolicyStopped as error:
                _end(error)

    async def forget(self, ids: Sequence[str]) -> None:
        """See Wire.forget."""
        self._ready().forget(ids)

    def _ready(self) -> Host:
        if self._host is None:
            pin_threads(self._threads)
            self._host = Host(self._factory.policy())
            pin_threads(self._threads)
        return self._host

    async def _dress(self, parcel: Parcel | None) -> None:
        await _load(self._ready(), parcel)


async def _load(wearer: Player | Host, parcel: Parcel | None) -> None:
    if parcel is None:
        return wearer.load_adapter(None)
    async with delivered(parcel, node_cache()) as folder:
        wearer.load_adapter(str(folder))


def pin_threads(threads: int) -> None:
    """Have torch use so many threads, whether it is loaded yet or not: cores shared by more are very slow."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _end(error: PolicyStopped) -> None:
    print(f"{_name()} ends: {error}", file=sys.stderr, flush=True)
    os._exit(1)
