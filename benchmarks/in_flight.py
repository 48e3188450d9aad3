"""What batching is worth: thoughts per second of many simulations, or many searches, on one decoder against one by one.

    python benchmarks/in_flight.py [--policy policy/shipped] [--threads N] [--problems 3] [--seconds 8]

Prints one JSON line a measurement: name, ratio, target, and the two rates it is made of. Searches are Monte Carlo tree
searches on held-out countdown problems with 6 numbers, whose judge proves nothing, so that none ends early.
`cpu_ratio` is the same in thoughts per CPU second, for a look on a machine that is busy with other things.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Coroutine, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from policy.base import Sampling, Thought
from policy.budget import Budget, Meter
from policy.transformer import Transformer
from search.mcts import MCTS
from verifiers.base import Judge, Problem, State, Verdict
from verifiers.domains.countdown import Countdown

AT_ONCE = 32
SIMULATIONS = 48


class Rate(NamedTuple):
    """Thoughts per second, by the wall clock and by CPU time."""

    wall: float
    cpu: float


class Counting:
    """A policy that counts the thoughts it gave."""

    def __init__(self, policy: Transformer) -> None:
        self._policy = policy
        self.version, self.max_thought_tokens = policy.version, policy.max_thought_tokens
        self.thoughts = 0

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        found = await self._policy.propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)
        self.thoughts += len(found)
        return found


class Unproved:
    """A judge that proves nothing."""

    def __init__(self, judge: Judge) -> None:
        self.answer, self.check_thought = judge.answer, judge.check_thought

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        return None


async def search(problem: Problem, policy: Counting, judge: Judge, budget: Budget, in_flight: int) -> None:
    searcher = MCTS(in_flight=in_flight, max_depth=12)
    async for _ in searcher.search(problem.sealed(), policy, Unproved(judge), budget.start(), 0):
        pass


async def one_by_one(searches: Sequence[Coroutine[None, None, None]]) -> None:
    for one in searches:
        await one


def measure(
    options: argparse.Namespace, problems: Sequence[Problem], judge: Judge, budget: Budget, in_flight: int,
    at_once: bool,
) -> Rate:  # fmt: skip
    """Thoughts per second of a fresh decoder."""
    transformer = Transformer(options.policy, threads=options.threads, max_thought_tokens=48)
    policy = Counting(transformer)

    async def run() -> Rate:
        await search(problems[0], policy, judge, Budget(simulations=1), 1)  # start the thread, touch the buffers
        policy.thoughts = 0
        wall, cpu = time.perf_counter(), time.process_time()
        searches = [search(problem, policy, judge, budget, in_flight) for problem in problems]
        if at_once:
            await asyncio.gather(*searches)
        else:
            await one_by_one(searches)
        return Rate(
            policy.thoughts / (time.perf_counter() - wall), policy.thoughts / (time.process_time() - cpu)
        )

    rate = asyncio.run(run())
    transformer.close()
    return rate


def report(name: str, many: Rate, one: Rate, target: float) -> None:
    print(json.dumps({
        "name": name, "ratio": round(many.wall / one.wall, 2), "target": target,
        "cpu_ratio": round(many.cpu / one.cpu, 2),
        "many_per_second": round(many.wall, 1), "one_per_second": round(one.wall, 1),
    }), flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="policy/shipped", help="a policy folder")
    parser.add_argument("--threads", type=int, default=None, help="torch threads; default as in policy.transformer")
    parser.add_argument("--problems", type=int, default=3, help="problems of the single search")
    parser.add_argument("--seconds", type=float, default=8.0, help="thinking time of each of them")
    options = parser.parse_args()
    domain = Countdown(name="countdown6", counts=[6], low=1, high=13, target_low=10, target_high=100)
    problems = list(islice(domain.problems("test", 0), AT_ONCE))
    judge = domain.judge()

    few, seconds = problems[: options.problems], Budget(seconds=options.seconds)
    many, one = (measure(options, few, judge, seconds, flights, at_once=False) for flights in (16, 1))
    report("16 simulations in flight against 1", many, one, 5.0)

    simulations = Budget(simulations=SIMULATIONS)
    many, one = (measure(options, problems, judge, simulations, 1, at_once=at_once) for at_once in (True, False))
    report(f"{AT_ONCE} searches at once against {AT_ONCE} in sequence", many, one, 8.0)


if __name__ == "__main__":
    main()
