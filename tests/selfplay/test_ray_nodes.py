"""Workers on several nodes, simulated on this machine: a raylet and an object store each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from selfplay.pool import LocalPool
from selfplay.ray_pool import RayPool
from selfplay.workers import Layout
from tests import ray_cluster
from tests.selfplay.fakes import Factory, Memory, Shelf, jobs, timeless

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]
JOBS = jobs(60)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that has no processors, for nodes to be added to."""
    with ray_cluster.nodes() as found:
        yield found


def test_a_node_may_die_while_it_plays(cluster: Any, tmp_path: Path) -> None:
    first, second = (cluster.add_node(num_cpus=1) for _ in range(2))
    assert first is not second
    memory = Memory()
    with closing(LocalPool(Factory().player(Factory().policy()), memory)) as pool:
        list(pool.play(JOBS, None))
    expected = {t.episode_id: timeless(t) for t in memory.trajectories(0)}
    shelf = Shelf(tmp_path)
    with closing(RayPool(Factory(), shelf, Layout("replica", workers=2), address=cluster.address, chunk=2,
                         in_flight=2)) as pool:
        told = []
        for done in pool.play(iter(JOBS), None):
            told.append(done)
            if len(told) == 6:
                cluster.remove_node(second, allow_graceful=False)  # SIGKILL: raylet, workers, object store
                cluster.add_node(num_cpus=1)
    assert Counter(done.episode_id for done in told) == Counter(list(expected))
    rows = shelf.rows()
    assert {row.episode_id: timeless(row) for row in rows} == expected
    assert len({done.worker for done in told}) >= 2


@pytest.mark.parametrize("count", [2, 4])
def test_every_node_plays(cluster: Any, tmp_path: Path, count: int) -> None:
    for _ in range(count):
        cluster.add_node(num_cpus=1)
    shelf = Shelf(tmp_path)
    with closing(RayPool(Factory(), shelf, Layout("replica", workers=count), address=cluster.address, chunk=1,
                         in_flight=1)) as pool:
        told = list(pool.play(iter(JOBS), None))
    assert len(told) == len(JOBS) and len({done.worker for done in told}) == count
