"""What a search costs besides the model: its share of the time, and the time of a simulation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.decode.models import SHAPES, write
from benchmarks.decode.sweeps import Row
from commands.compose import settle_garbage
from policy.base import Sampling, Thought
from policy.budget import Budget, Meter
from policy.transformer import Transformer
from search.mcts import MCTS
from verifiers.base import Problem, State, Status, Verdict
from verifiers.domains.countdown import Countdown

SHIPPED = Path(__file__).resolve().parents[2] / "policy" / "shipped"
SEARCHES, IN_FLIGHT = 32, 32
"""At once; together they keep 64 sequences and more alive."""
SIMULATIONS = 60
"""Of each search."""
FREE = 10_000
"""Simulations of a policy that costs nothing."""


class Unproved:
    """A judge that proves nothing, so that no search ends early."""

    async def answer(self, state: State) -> str | None:
        """See Judge."""
        return state.thoughts[-1] if state.thoughts and state.thoughts[-1].startswith("answer") else None

    async def check_thought(self, state: State, thought: str) -> Verdict:
        """See Judge."""
        return Verdict(Status.CORRECT, 1.0)

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        """See Judge."""
        return None


class Free:
    """A policy whose thoughts are there at once."""

    version, max_thought_tokens = "free", 20

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        """See Policy."""
        name = "answer" if len(state.thoughts) == 7 else "line"
        return [Thought(f"{name} {number}", -1 - number / 10, 10, 0.5 + len(state.thoughts) / 20, True, name != "line")
                for number in range(first, first + k)]


class Clock:
    """Seconds that a trunk's forward passes, heads and all, take; and how many rows they have."""

    def __init__(self, trunk: Any) -> None:
        self.seconds, self.rows, self.passes = 0.0, 0, 0
        for name in ("forward", "logprobs", "values", "likelihood"):
            setattr(trunk, name, self._timed(getattr(trunk, name)))

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **more: Any) -> Any:
            started = time.perf_counter()
            found = call(*args, **more)
            self.seconds += time.perf_counter() - started
            if call.__name__ == "forward":
                self.rows, self.passes = self.rows + len(args[0]), self.passes + 1
            return found

        return timed


def overhead(rounds: int) -> Iterator[Row]:
    """Of Monte Carlo tree searches on problems of countdown: by the shipped policy, by larger ones that know nothing.

    And of one by a policy that costs nothing.
    """
    yield _share("shipped policy", SHIPPED, rounds)
    for shape in ("10M", "30M"):
        with TemporaryDirectory() as folder:
            yield _share(shape, write(SHAPES[shape], Path(folder)), 1)
    free = [_seconds([_search(Free(), Problem("0", "none", "problem", {}), FREE)]) / FREE for _ in range(rounds)]
    yield {"sweep": "simulations of a policy that costs nothing", "simulations": FREE,
           "microseconds each": round(1e6 * median(free), 1)}


def _share(name: str, folder: Path, rounds: int) -> Row:
    policy = Transformer(str(folder), threads=1, max_thought_tokens=40, max_batch=64)
    clock = Clock(policy.decoder.scheduler.trunk)
    domain = Countdown(name="countdown6", counts=[6], low=1, high=13, target_low=10, target_high=100)
    problems = iter(domain.problems("validation", 0))
    settle_garbage()  # as `solve` does
    shares = []
    for number in range(rounds + 1):
        clock.seconds, clock.rows, clock.passes = 0.0, 0, 0
        seconds = _seconds([_search(policy, problem, SIMULATIONS) for problem in islice(problems, SEARCHES)])
        if number:  # the first one warms up
            shares.append(1 - clock.seconds / seconds)
    policy.close()
    return {"sweep": "search", "policy": name, "searches": SEARCHES, "live": round(clock.rows / clock.passes),
            "percent outside the model": round(100 * median(shares), 1)}


async def _search(policy: Any, problem: Problem, simulations: int) -> None:
    search = MCTS(in_flight=IN_FLIGHT, check_thoughts=False)
    meter = Budget(simulations=simulations).start()
    async for _ in search.search(problem, policy, Unproved(), meter, 0):
        pass


def _seconds(searches: Sequence[Awaitable[None]]) -> float:
    async def run() -> None:
        await asyncio.gather(*searches)

    started = time.perf_counter()
    asyncio.run(run())
    return time.perf_counter() - started
