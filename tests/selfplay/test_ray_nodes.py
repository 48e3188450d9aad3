"""Workers on several nodes, as Ray simulates them: they play what one process plays, and nodes may go and come."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from selfplay.pool import Done, LocalPool
from selfplay.ray_pool import DEATHS, RayPool
from selfplay.store import Store
from selfplay.trajectory import Job
from selfplay.workers import Layout
from tests.ray_cluster import add_node, simulated_nodes
from tests.selfplay.fakes import Factory, Memory, jobs, timeless
from tests.verifiers.traces import children, gone

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]
ENOUGH = 24  # jobs, at least
STALL = 4.0  # seconds


class Game:
    """A generation that lasts until something has happened: jobs are made as they are asked for.

    Attributes:
        pool: plays; the store is its own.
        posed, told: so far.
    """

    def __init__(self, pool: RayPool) -> None:
        self.pool = pool
        self.posed: list[Job] = []
        self.told: list[Done] = []

    def play(self, happened: Callable[[], bool]) -> Iterator[Done]:
        for done in self.pool.play(self._jobs(happened), None):
            self.told.append(done)
            yield done

    def _jobs(self, happened: Callable[[], bool]) -> Iterator[Job]:
        for sample in count():
            for job in jobs(ENOUGH):
                if len(self.posed) >= ENOUGH and happened():
                    return
                self.posed.append(replace(job, sample=sample))
                yield self.posed[-1]

    @property
    def pids(self) -> set[int]:
        """Of who has played."""
        return {int(pid) for done in self.told if (pid := done.worker.rpartition(":")[2]).isdigit()}

    def is_what_one_process_plays(self, store: Store) -> None:
        """Nothing is lost, nothing doubled, nothing different."""
        factory, memory = Factory(), Memory()
        with closing(LocalPool(factory.player(factory.policy()), memory)) as alone:
            assert len(list(alone.play(self.posed, None))) == len(self.posed)
        expected = {t.episode_id: timeless(t) for t in memory.trajectories(0)}
        assert Counter(done.episode_id for done in self.told) == Counter(list(expected))
        stored = [timeless(t) for t in store.trajectories(0)]
        assert len(stored) == len(expected) and {t.episode_id: t for t in stored} == expected


def raylet(node: Any) -> int:
    (process,) = node.all_processes["raylet"]
    return int(process.process.pid)


def crew(store: Store, cluster: Any, workers: int, **more: float) -> RayPool:
    return RayPool(Factory(), store, Layout(workers=workers), address=cluster.address, chunk=3, in_flight=2, **more)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_any_number_of_nodes_plays_what_one_process_plays(store: Store, nodes: int) -> None:
    with simulated_nodes(nodes) as cluster, closing(crew(store, cluster, nodes)) as pool:
        game = Game(pool)
        for _ in game.play(lambda: len(game.pids) == nodes):
            pass
        homes = [len(game.pids & set(children(raylet(node)))) for node in cluster.list_all_nodes()]
        assert homes == [1] * nodes and not any(worker.deaths for worker in pool._workers)
        game.is_what_one_process_plays(store)


def test_a_node_that_loses_its_raylet_loses_no_trajectory(store: Store) -> None:
    """Its workers go on until they notice, and what they store then must not be there twice."""
    with simulated_nodes(2) as cluster, closing(crew(store, cluster, 2)) as pool:
        victim = raylet(cluster.list_all_nodes()[1])
        game, family = Game(pool), {victim}
        told_when_missed: list[int] = []
        for _ in game.play(lambda: bool(told_when_missed) and len(game.told) > told_when_missed[0] + ENOUGH):
            if len(family) == 1 and len(game.pids) == 2:
                family |= set(children(victim))
                os.kill(victim, signal.SIGKILL)
            if not told_when_missed and any(worker.deaths for worker in pool._workers):
                told_when_missed.append(len(game.told))
        assert sorted(worker.deaths for worker in pool._workers) == [0, 1]
        game.is_what_one_process_plays(store)
    assert gone(family, 60)


def test_a_node_is_gone_and_its_worker_waits_for_another_one(store: Store) -> None:
    """However long there is no room for a worker, that counts as no death."""
    with simulated_nodes(2) as cluster, closing(crew(store, cluster, 2, stall_seconds=STALL)) as pool:
        victim = raylet(cluster.list_all_nodes()[1])
        game, family = Game(pool), {victim}
        killed = math.inf
        for _ in game.play(lambda: len(game.pids) == 3):
            if killed == math.inf and len(game.pids) == 2:
                family |= set(children(victim))
                for pid in (victim, *family):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                killed = time.monotonic()
            if time.monotonic() - killed > STALL * (DEATHS + 2) and len(cluster.list_all_nodes()) == 2:
                assert sorted(worker.deaths for worker in pool._workers) == [0, 1]
                add_node(cluster)
        assert len(game.pids - family) == 2
        game.is_what_one_process_plays(store)
