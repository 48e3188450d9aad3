"""Trajectories a second against workers: python -m benchmarks.scaling [--workers 1 2] [--nodes 2 4] [--jobs 400]

Plays the same searches (Game of 24, the shipped policy, 1,000 tokens, 8 lines each) with 1, 2, ... workers of one core
each on this machine, then with workers spread over simulated nodes (ray.cluster_utils.Cluster: a raylet and an object
store each, on 127.0.0.1). Prints one JSON object a line; efficiency is speed / (workers x speed of one worker). The
machine's cores bound it: beyond them only what the driver and the nodes cost can be seen. Measured beside it: bytes of
a trajectory in the store and of an account on the wire, and what one trajectory costs the driver in processor time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from commands.compose import load_domain
from commands.crew import ConfigFactory
from selfplay.cluster import join
from selfplay.pool import Done
from selfplay.ray_pool import RayPool
from selfplay.store import Store
from selfplay.trajectory import Job, Purpose
from selfplay.workers import Layout

ROOT = Path(__file__).resolve().parents[1]


def config(group: str, name: str) -> str:
    return json.dumps(OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / group / f"{name}.yaml")))


def factory() -> ConfigFactory:
    policy = json.dumps(json.loads(config("policy", "shipped")) | {"threads": 1, "path": str(ROOT / "policy/shipped")})
    return ConfigFactory(policy, config("search", "mcts"), "{}", {"game24": config("domain", "game24")}, "1000tok",
                         lines=8, concurrent=32, states=256)


def jobs(count: int, run: str) -> Iterator[Job]:
    domain = load_domain(json.loads(config("domain", "game24")))
    for problem in islice(domain.problems("train", 0), count):
        yield Job(run, Purpose.TRAIN, 1, problem, 0, 0)


@contextmanager
def nodes(count: int) -> Iterator[str]:
    """A cluster of so many simulated nodes, a worker's core each; its address."""
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster()
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=1, include_dashboard=False, object_store_memory=100 << 20)
        yield cluster.address
    finally:
        cluster.shutdown()


def measure(workers: int, count: int, address: str | None = None) -> dict[str, Any]:
    """Play `count` searches; the speed is that of the time in which all workers were at work."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        with closing(RayPool(factory(), store, Layout("replica", workers=workers), address=address)) as pool:
            list(pool.play(jobs(4 * workers, "warm"), None))
            began, cpu = time.monotonic(), time.process_time()
            told: list[Done] = list(pool.play(jobs(count, "timed"), None))
            seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.parquet"))
        return {"workers": workers, "trajectories_per_s": len(told) / seconds,
                "tokens_per_s": sum(done.tokens for done in told) / seconds,
                "driver_cpu_ms_each": 1000 * cpu / len(told), "store_bytes_each": size / (len(told) + 4 * workers),
                "account_bytes": len(json.dumps(vars(told[0])))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--nodes", type=int, nargs="*", default=[])
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    speeds: dict[int, list[float]] = {}
    leave = join(None, max(options.workers, default=1))
    for repeat in range(options.repeats):  # in turn, so that a slow minute of the machine meets all of them
        for workers in options.workers:
            found = measure(workers, options.jobs)
            speeds.setdefault(workers, []).append(found["trajectories_per_s"])
            print(json.dumps({"repeat": repeat, **found}), flush=True)
    leave()
    for workers in options.workers[1:]:
        ratios = [b / a * options.workers[0] / workers
                  for a, b in zip(speeds[options.workers[0]], speeds[workers], strict=True)]
        print(json.dumps({"name": f"efficiency at {workers} workers", "ratio": statistics.median(ratios),
                          "target": 0.85}), flush=True)
    for count in options.nodes:
        with nodes(count) as address:
            print(json.dumps({"nodes": count, **measure(count, options.jobs, address)}), flush=True)


if __name__ == "__main__":
    main()
