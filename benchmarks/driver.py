"""What many workers cost their driver: python -m benchmarks.driver [--workers 4 16 64] [--seconds 20]

The workers are real processes of the real pool that play real, tiny searches (random steps of countdown), but their
policy sleeps before every step, so that each of them finishes about as many searches a second as it is told to
(`--rate`) and takes hardly any processor time: this machine has fewer cores than they have. What is measured is the
driver's processor time in that while, of all its threads and of the one that decides, and that of Ray's control service
on the head (gcs_server) and its scheduler of this node (raylet). Prints one JSON object a line.

Divided by the searches a second, and compared between few workers and many, it tells where one driver ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from policy.base import Policy, Sampling, Thought
from policy.budget import Budget, Meter
from policy.uniform import Uniform
from search.greedy import Greedy
from selfplay.cluster import join
from selfplay.player import Player
from selfplay.ray_pool import RayPool
from selfplay.store import Store
from selfplay.trajectory import Job, Purpose
from selfplay.workers import Layout
from verifiers.base import State
from verifiers.domains.countdown import Countdown

DOMAIN = Countdown("countdown", [3], 1, 9, 5, 30)
CONCURRENT = 8
STEPS = 2  # that three numbers need


class Sleepy(Uniform):
    """Random steps, each after a while.

    Args:
        pause: how long [s].
    """

    def __init__(self, pause: float) -> None:
        super().__init__(DOMAIN)
        self._pause = pause

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        await asyncio.sleep(self._pause)
        return await super().propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)


@dataclass(frozen=True)
class Factory:
    """See selfplay.pool.Factory. `pause` [s] before each step."""

    pause: float

    def policy(self) -> Policy:
        return Sleepy(self.pause)

    def player(self, policy: Policy) -> Player:
        return Player({DOMAIN.name: DOMAIN}, policy, Greedy(), Budget.parse("100tok"), lines=0, concurrent=CONCURRENT)


def jobs(run: str) -> Iterator[Job]:
    """Without end."""
    problems = list(islice(DOMAIN.problems("train", 0), 500))
    for sample in count():
        for problem in problems:
            yield Job(run, Purpose.TRAIN, 1, problem, sample, 0)


def spent() -> dict[str, float]:
    """Processor time [s] used so far: by this process, its deciding thread, and what Ray has started below it."""
    found: dict[int, tuple[int, str, float]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            head, _, tail = (folder / "stat").read_text().rpartition(")")
        except OSError:
            continue  # ended meanwhile
        fields = tail.split()
        used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        found[int(folder.name)] = int(fields[1]), head.partition("(")[2], used

    def ours(pid: int) -> bool:
        return pid == os.getpid() or (pid in found and ours(found[pid][0]))

    below = {name: sum(used for pid, (_, called, used) in found.items() if called == name and ours(pid))
             for name in ("gcs_server", "raylet")}
    return {"driver": time.process_time(), "deciding": time.thread_time(), **below}


def measure(workers: int, rate: float, seconds: float, chunk: int) -> dict[str, float]:
    """What the driver of so many workers uses in so many seconds, once all of them are at work."""
    factory, layout = Factory(CONCURRENT / rate / STEPS), Layout("replica", workers=workers)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, \
            closing(RayPool(factory, Store(folder), layout, chunk=chunk)) as pool:  # they write until they are killed
        playing = pool.play(jobs("timed"), None)
        names: set[str] = set()
        while len(names) < workers:
            names.add(next(playing).worker)
        began, before, told = time.monotonic(), spent(), 0
        while time.monotonic() - began < seconds:
            next(playing)
            told += 1
        wall, after = time.monotonic() - began, spent()
    used = {name: (after[name] - before[name]) / wall for name in before}
    return {"workers": workers, "chunk": chunk, "searches_per_s": told / wall,
            **{f"{name}_cores": cores for name, cores in used.items()},
            "driver_ms_each": 1000 * used["driver"] * wall / told, "load": os.getloadavg()[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--rate", type=float, default=6.0, help="searches a second of each worker, about")
    parser.add_argument("--chunk", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    leave = join(None, max(options.workers))
    found: dict[int, list[dict[str, float]]] = {}
    for _ in range(options.repeats):
        for workers in options.workers:
            row = measure(workers, options.rate, options.seconds, options.chunk)
            found.setdefault(workers, []).append(row)
            print(json.dumps(row), flush=True)
    leave()
    for rows in found.values():
        print(json.dumps({"median of": len(rows), **{key: statistics.median(row[key] for row in rows)
                                                     for key in rows[0]}}), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
