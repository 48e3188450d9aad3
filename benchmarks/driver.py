"""What many workers cost their driver: python -m benchmarks.driver [--workers 4 16 64] [--seconds 20]

The workers are real processes of the real pool that play real, tiny searches (random steps of countdown), but their
policy sleeps before every step, so that each of them finishes about as many searches a second as it is told to
(`--rate`) and takes hardly any processor time: this machine has fewer cores than they have. What is measured is the
driver's processor time in that while, of all its threads and of the one that decides, and that of Ray's control service
on the head (gcs_server) and its scheduler of this node (raylet). Prints one JSON object a line.

The cost of one worker beside another that is added, for the same searches a second, tells where one driver ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
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
CONCURRENT = 32
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


def processor_seconds(name: str) -> float:
    """Used so far by all processes below this one that are called so."""
    return sum(used for _, parent, called, used in _processes() if called == name)


def _processes() -> Iterator[tuple[int, int, str, float]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            head, _, tail = (folder / "stat").read_text().rpartition(")")
        except OSError:
            continue
        fields = tail.split()
        yield int(folder.name), int(fields[1]), head.partition("(")[2], \
            (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
