"""Trajectories a second against workers: python -m benchmarks.scaling [--workers 1 2] [--nodes 2 4] [--jobs 400]

Plays the same searches (Game of 24, the shipped policy, 1,000 tokens, 8 lines each) with 1, 2, ... workers of one core
each on this machine, then with workers spread over simulated nodes (ray.cluster_utils.Cluster: a raylet and an object
store each, on 127.0.0.1). Prints one JSON object a line; efficiency is speed / (workers x speed of one worker). The
machine's cores bound it: beyond them only what the driver and the nodes cost can be seen.

Measured beside it: bytes of a trajectory in the journal and in a part, of a job and of an account on the wire (in
chunks of 8), what one trajectory costs the driver in processor time, what compacting and reading cost, and the load of
the machine. docs/scaling.md says what follows for 1,000 workers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import deque
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
                         "1000tok", lines=8, concurrent=32, states=256)


def jobs(count: int, run: str) -> Iterator[Job]:
    domain = load_domain(json.loads(config("domain", "game24")))
    for problem in islice(domain.problems("train", 0), count):
        yield Job(run, Purpose.TRAIN, 1, problem, 0, 0)


@contextmanager
def nodes(count: int) -> Iterator[str]:
    """A cluster of so many simulated nodes, a worker's core each; its address. Nobody but this machine sees it."""
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:  # sockets need short paths
        os.environ["RAY_TMPDIR"] = folder
        cluster: Any = Cluster()
        try:
            for _ in range(count):
                cluster.add_node(num_cpus=1, include_dashboard=False, node_ip_address="127.0.0.1",
                                 object_store_memory=100 << 20)
            yield cluster.address
        finally:
            cluster.shutdown()
            del os.environ["RAY_TMPDIR"]


def measure(workers: int, count: int, address: str | None = None) -> dict[str, Any]:
    """Play `count` searches; the speed is that of the time in which all workers were at work."""
    import ray

    packed: Any = ray.cloudpickle.dumps  # what Ray packs messages with

    with tempfile.TemporaryDirectory() as folder:
        store, posed = Store(folder), list(jobs(count, "timed"))
        with closing(RayPool(factory(), store, Layout("replica", workers=workers), address=address)) as pool:
            list(pool.play(jobs(4 * workers, "warm"), None))
            began, cpu = time.monotonic(), time.process_time()
            told: list[Done] = list(pool.play(posed, None))
            seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        return {"workers": workers, "trajectories_per_s": len(told) / seconds,
                "tokens_per_s": sum(done.tokens for done in told) / seconds,
                "driver_cpu_ms_each": 1000 * cpu / len(told),
                "job_bytes": len(packed(posed[:8])) / 8,
                "account_bytes": len(packed(told[:8])) / 8,
                **stored(Path(folder), store, len(told) + 4 * workers), "load": os.getloadavg()[0]}


def stored(folder: Path, store: Store, count: int) -> dict[str, float]:
    """What so many trajectories take in the store, before and after it is compacted, and what that costs."""
    journal = list(folder.rglob("*.parquet"))
    found = {"files": len(journal), "journal_bytes_each": sum(file.stat().st_size for file in journal) / count}
    costs = {}
    for name, step in (("read_journal", lambda: deque(store.trajectories(1), 0)), ("compact", lambda: store.compact(1)),
                       ("read_parts", lambda: deque(store.trajectories(1), 0))):  # fmt: skip
        cpu = time.process_time()
        step()
        costs[f"{name}_cpu_ms_each"] = 1000 * (time.process_time() - cpu) / count
    parts = list(folder.rglob("*.parquet"))
    return found | {"parts": len(parts), "part_bytes_each": sum(part.stat().st_size for part in parts) / count} | costs


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--nodes", type=int, nargs="*", default=[])
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    chosen = options()
    found: dict[str, list[dict[str, Any]]] = {}

    def tell(name: str, row: dict[str, Any]) -> None:
        found.setdefault(name, []).append(row)
        print(json.dumps({"name": name, "repeat": len(found[name]) - 1, **row}), flush=True)

    for _ in range(chosen.repeats):  # in turn, so that a slow minute of the machine meets all of them
        leave = join(None, max(chosen.workers, default=1))
        for workers in chosen.workers:
            tell(f"{workers} workers", measure(workers, chosen.jobs))
        leave()
        for count in chosen.nodes:
            with nodes(count) as address:
                tell(f"{count} nodes", measure(count, chosen.jobs, address))
    for name, rows in found.items():
        print(json.dumps({"name": name, "median of": len(rows),
                          **{key: statistics.median(row[key] for row in rows) for key in rows[0]}}), flush=True)
    for workers in chosen.workers[1:]:
        ratios = [b["trajectories_per_s"] / a["trajectories_per_s"] * chosen.workers[0] / workers for a, b in
                  zip(found[f"{chosen.workers[0]} workers"], found[f"{workers} workers"], strict=True)]  # fmt: skip
        print(json.dumps({"name": f"efficiency at {workers} workers", "ratio": statistics.median(ratios),
                          "target": 0.85}), flush=True)


if __name__ == "__main__":
    main()
