"""Memory under long searches: what is bounded stays within its bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from policy.budget import Budget
from policy.frontier import MAX_EXPANSIONS
from policy.transformer import Transformer
from search.mcts import MCTS
from verifiers.base import Problem, State, Status, Verdict

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]
NODES = 100_000
CACHE_MB = 8


class Endless:
    """A judge to whom every step is legal, and no line ever finished."""

    async def answer(self, state: State) -> str | None:
        return None

    async def check_thought(self, state: State, thought: str) -> Verdict:
        return Verdict(Status.CORRECT, 1.0)

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        return None


@pytest.fixture
def policy(tiny_folder: Callable[..., Path]) -> Iterator[Transformer]:
    policy = Transformer(str(tiny_folder()), threads=1, max_thought_tokens=12, max_batch=128, cache_mb=CACHE_MB)
    yield policy
    policy.close()


async def test_the_prefix_cache_keeps_to_its_bound_under_a_search_of_many_nodes(policy: Transformer) -> None:
    scheduler = policy.decoder.scheduler
    insert, most = scheduler.cache.insert, 0

    def watched(*inputs: object) -> None:
        nonlocal most
        insert(*inputs)  # type: ignore[arg-type]
        most = max(most, scheduler.cache.bytes)

    scheduler.cache.insert = watched  # type: ignore[method-assign]
    problem, meter = Problem("1", "toy", "1+1", {}), Budget(simulations=NODES).start()
    async for _ in MCTS(in_flight=96, max_depth=24, widen_c=8.0).search(problem, policy, Endless(), meter, 0):
        pass
    assert 0.9 * (CACHE_MB << 20) < most <= CACHE_MB << 20
    assert scheduler._frontiers.expansions <= 1.1 * MAX_EXPANSIONS
