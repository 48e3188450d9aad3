"""Workers on a Ray cluster. Only this file and selfplay/cluster.py know Ray.

The driver keeps some chunks of jobs at every worker, gets short accounts back, and looks after the processes: one that
dies or stalls is replaced, and what it was at is played again unless it is in the store already.

Ray is imported in functions, after `join` has set what it reads from the environment then.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from search.anytime import at_least_one
from selfplay.actors import BEAT, Process
from selfplay.adapters import Parcel, content_key, pack
from selfplay.cluster import first_line, join
from selfplay.dispatch import Chunk, Dispatcher
from selfplay.player import failed
from selfplay.pool import Done, Factory, PoolBroken, Store, save
from selfplay.remote_policy import Call, Card, Reply
from selfplay.trajectory import Job, Trajectory
from selfplay.workers import Layout, PolicyServer, ReplicaWorker, SharingWorker

_LOG = logging.getLogger(__name__)
DEATHS = 6
"""Deaths of one process in a row, with nothing done in between, after which something else must be wrong."""


class RayPool:
    """See Pool.

    Args:
        factory: makes policies and players where they run; Ray pickles it.
        store: for the trajectories; Ray pickles it. What it names must be the same place for all.
        layout: who runs where.
        address: of a cluster to join, which gets this code; by default one is started that only this machine sees.
        chunk: jobs sent, stored and told of together.
        in_flight: chunks at a worker, so many that it never waits for the driver.
        stall_seconds: a process that has work and gets nowhere for so long is replaced.
        start_seconds: how long to wait until the first worker is ready.
        lives: deaths of its worker after which a job is an error; see Dispatcher.

    Raises PoolBroken if the cluster cannot be reached.
    """

    def __init__(
        self, factory: Factory, store: Store, layout: Layout, *, address: str | None = None, chunk: int = 8,
        in_flight: int = 6, stall_seconds: float = 600.0, start_seconds: float = 600.0, lives: int = 3,
    ) -> None:  # fmt: skip
        at_least_one(chunk=chunk, in_flight=in_flight, lives=lives - 1)
        self._store = store
        self._chunk, self._in_flight, self._lives = chunk, in_flight, lives
        self._stall, self._start = stall_seconds, start_seconds
        self._leave = join(address, layout.all_cpus)
        if address is None:
            self._enough_gpus(layout)
        threads, cores = max(1, int(layout.cpus)), max(1, int(layout.policy_cpus))
        if layout.kind == "replica":
            play = _actor(ReplicaWorker, layout.cpus, layout.gpus)
            self._servers: list[Process] = []
        else:
            play, serve = _actor(SharingWorker, layout.cpus, 0.0), _actor(PolicyServer, layout.policy_cpus, layout.gpus)
            host = partial(serve.remote, factory, cores)
            self._servers = [Process(f"policy {n}", host) for n in range(layout.policies)]

        def worker(number: int) -> Any:
            return play.remote(factory, store, threads, *(_Wire(server.handle) for server in self._asked_by(number)))

        self._workers = [Process(f"worker {n}", partial(worker, n)) for n in range(layout.workers)]
        self._warned = False
        self._parcel: Parcel | None = None
        self._version = ""

    def play(self, jobs: Iterable[Job], adapter: str | Path | None) -> Iterator[Done]:
        """See Pool."""
        import ray

        packed = None if adapter is None else pack(adapter)
        key = None if packed is None else content_key(packed)
        if key != (self._parcel and self._parcel.key):
            self._parcel = None if packed is None or key is None else Parcel(key, (ray.put(packed),))
        self._version = ""
        for process in self._everybody:
            process.greet(self._parcel)
        work = Dispatcher(jobs, self._chunk, self._in_flight, self._lives)
        flights: dict[Any, tuple[Process, int, Chunk]] = {}
        looked = 0.0
        try:
            while self._send(work, flights):
                waits = [*flights, *(process.hello for process in self._everybody if process.hello is not None)]
                ray.wait(waits, timeout=BEAT / 2)
                ready, _ = ray.wait(waits, num_returns=len(waits), timeout=0)  # all there are, without waiting for more
                landed = [flight for flight in ready if flight in flights]
                for flight in landed:
                    yield from self._landed(flight, *flights.pop(flight), work)
                if len(landed) < len(ready) or time.monotonic() - looked > BEAT / 2:
                    looked = time.monotonic()
                    self._look_after()
        finally:
            for flight in flights if ray.is_initialized() else ():
                ray.cancel(flight)

    def close(self) -> None:
        """See Pool."""
        import ray

        for process in self._everybody:
            ray.kill(process.handle)
        self._leave()

    def _enough_gpus(self, layout: Layout) -> None:
        """Raises PoolBroken at once where this machine cannot hold a single policy: it will not get more GPUs."""
        import ray

        found = ray.cluster_resources().get("GPU", 0.0)  # type: ignore[no-untyped-call]
        if found < layout.gpus:
            self._leave()
            raise PoolBroken(f"a policy needs {layout.gpus:g} GPUs, and this machine has {found:g}; give "
                             "selfplay.gpus=0, or ray.address= of a cluster that has some")

    @property
    def _everybody(self) -> list[Process]:
        return [*self._servers, *self._workers]

    def _send(self, work: Dispatcher, flights: dict[Any, tuple[Process, int, Chunk]]) -> bool:
        """Fill up the workers that are ready, each in turn; False if there is nothing left to do."""
        ready = [(number, worker) for number, worker in enumerate(self._workers) if worker.up]
        hungry = list(ready)
        while hungry:
            still = []
            for number, worker in hungry:
                if (chunk := work.next(number)) is not None:
                    flight = worker.handle.play.remote(list(chunk.jobs), self._parcel)
                    flights[flight] = worker, worker.deaths, chunk
                    still.append((number, worker))
            hungry = still
        return bool(flights) or not ready

    def _landed(
        self, flight: Any, worker: Process, deaths: int, chunk: Chunk, work: Dispatcher
    ) -> Iterator[Done]:
        """What came of a chunk. Raises what it raised, if it was no death."""
        import ray

        work.done(self._workers.index(worker), chunk)
        try:
            done: list[Done] = ray.get(flight)
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except ray.exceptions.RayError as error:
            if deaths == worker.deaths:  # the first to tell of this death
                self._replace(worker, error)
            yield from self._lost(chunk.jobs, work)
            return
        for process in (worker, *self._asked_by(self._workers.index(worker))):
            process.in_a_row = 0
        yield from done

    def _lost(self, jobs: Sequence[Job], work: Dispatcher) -> Iterator[Done]:
        """Jobs of a dead worker: tell of what it stored before it died (a chunk of a generation at once: see save),
        have the rest played again."""
        ids: defaultdict[int, list[str]] = defaultdict(list)
        for job in jobs:
            ids[job.generation].append(job.episode_id)
        stored = {
            trajectory.episode_id: Done.of(trajectory, "a worker that died")
            for generation, some in sorted(ids.items()) for trajectory in self._store.batch(generation, some)
        }  # fmt: skip
        yield from stored.values()
        given_up = work.died([job for job in jobs if job.episode_id not in stored])
        if given_up:
            reason = f"its worker died {self._lives} times, in the end with nothing else to do"
            played: list[Trajectory] = [failed(job, self._version, reason) for job in given_up]
            save(self._store, played)
            for process in self._everybody:
                process.in_a_row = 0  # it was the job's fault
            yield from (Done.of(trajectory, "nobody") for trajectory in played)

    def _look_after(self) -> None:
        """Welcome who is ready, replace who has died or stalls. Raises PoolBroken when that leads nowhere."""
        import ray

        for process in self._everybody:
            try:
                stuck = process.stuck(self._stall, _answer)
            except ray.exceptions.RayTaskError as error:
                cause = _cause(error)
                if isinstance(cause, ConnectionError):  # the policy it asks has died, which is seen to in its own turn
                    process.greet(self._parcel)
                    continue
                if not isinstance(cause, ImportError):
                    raise cause from None
                ray.kill(process.handle, no_restart=False)
                self._replace(process, cause)
                continue
            except ray.exceptions.RayError as error:
                self._replace(process, error)
                continue
            if stuck:
                ray.kill(process.handle, no_restart=False)
                if process.up or process in self._servers:
                    self._replace(process, TimeoutError(f"nothing moved for {self._stall:g} s"))
                for other in (process, *self._workers):  # a worker that is not up may wait for a place in the cluster:
                    other.moved = time.monotonic()  # no death. And a policy that is shared holds all of them up.
        for version in {worker.version for worker in self._workers if worker.up}:
            if version != (self._version or version):
                raise PoolBroken(f"the workers play different policies, of versions {self._version} and {version}")
            self._version = version
        for group in (self._servers, self._workers):
            self._see_who_is_up(group)

    def _see_who_is_up(self, group: Sequence[Process]) -> None:
        """Raises PoolBroken if nobody was ready in time, and tells once if only some were."""
        import ray

        waited = min((time.monotonic() - process.greeted for process in group if not process.up), default=0.0)
        if waited > self._start and not any(process.up for process in group):
            kind = group[0].name.split()[0]
            free = ray.available_resources()  # type: ignore[no-untyped-call]
            found = ", ".join(f"{free[name]:g} {name}" for name in ("CPU", "GPU") if name in free) or "nothing"
            raise PoolBroken(f"no {kind} was ready within {self._start:g} s; free in the cluster: {found}")
        if waited > self._start and not self._warned:
            self._warned = True
            up = sum(process.up for process in group)
            _LOG.warning("only %d of %d %ss are up after %g s; the run goes on with these", up, len(group),
                         group[0].name.split()[0], self._start)

    def _replace(self, process: Process, error: Exception) -> None:
        """It is started anew; wait until it is ready. Raises PoolBroken if that has been in vain for some times."""
        import ray

        process.deaths += 1
        process.in_a_row += 1
        if process.in_a_row >= DEATHS:
            raise PoolBroken(f"{process.name} died {DEATHS} times in a row with nothing done: {_reason(error)}")
        if getattr(error, "actor_init_failed", False):  # its code could not be imported: Ray starts no such actor again
            process.handle = process.make()
            for number, worker in enumerate(self._workers):
                if process in self._asked_by(number):
                    ray.kill(worker.handle)
                    worker.handle = worker.make()
                    worker.greet(self._parcel)
        process.greet(self._parcel)

    def _asked_by(self, number: int) -> list[Process]:
        """The policy that a worker asks, if that is in another process."""
        return [self._servers[number % len(self._servers)]] if self._servers else []


class _Wire:
    """The way to a PolicyServer's actor; see Wire."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def wear(self, parcel: Parcel | None) -> Card:
        with _failures():
            card: Card = await self._handle.wear.options(max_task_retries=-1).remote(parcel)
        return card

    async def ask(self, calls: Sequence[Call], parcel: Parcel | None) -> AsyncIterator[Sequence[Reply]]:
        with _failures():
            async for replies in self._handle.ask.options(num_returns="streaming").remote(list(calls), parcel):
                yield await replies

    async def back(self) -> None:
        with _failures():
            await self._handle.pulse.options(max_task_retries=-1).remote()

    def forget(self, ids: Sequence[str]) -> None:
        self._handle.forget.remote(list(ids))


@contextmanager
def _failures() -> Iterator[None]:
    """A host's death as ConnectionError, what it raised as that."""
    import ray

    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise _cause(error) from None
    except ray.exceptions.RayActorError as error:
        raise ConnectionError(first_line(error)) from error


def _actor(kind: type, cpus: float, gpus: float) -> Any:
    import ray

    made: Any = ray.remote(kind)
    return made.options(num_cpus=cpus, num_gpus=gpus, max_restarts=-1, scheduling_strategy="SPREAD")


def _answer(ref: Any) -> Any:
    """What a call has returned; None if nothing yet."""
    import ray

    return ray.get(ref) if ray.wait([ref], timeout=0)[0] else None


def _reason(error: Exception) -> str:
    """One line; of code that could not be imported the last one, which names what is missing."""
    return first_line(error) if not getattr(error, "actor_init_failed", False) else str(error).strip().splitlines()[-1]


def _cause(error: Any) -> Exception:
    """What was raised on the other side."""
    return error.cause if isinstance(error.cause, Exception) else RuntimeError(first_line(error))
