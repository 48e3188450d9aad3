"""Requests that are given up at any moment change nothing for those that come after them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from policy.base import Sampling, Thought
from policy.budget import Budget
from policy.transformer import Transformer
from verifiers.base import Problem, State

ASKED, OTHER = State(Problem("1", "toy", "12+1", {})), State(Problem("2", "toy", "ab", {}))


async def distinct(policy: Transformer, seconds: float = 60.0) -> list[Thought]:
    return await policy.propose(
        ASKED, 4, sampling=Sampling.DISTINCT, seed=0, meter=Budget(seconds=seconds).start())


async def independent(policy: Transformer, state: State, k: int, seed: int) -> list[Thought]:
    return await policy.propose(
        state, k, sampling=Sampling.INDEPENDENT, seed=seed, meter=Budget(seconds=60.0).start())


def texts(thoughts: list[Thought]) -> list[str]:
    return [thought.text for thought in thoughts]


@pytest.mark.parametrize("expires", [False, True])
@pytest.mark.parametrize("speculate", [0, 8])
async def test_a_walker_stopped_before_its_first_token_begins_anew(
    expires: bool, speculate: int, tiny_folder: Callable[..., Path]
) -> None:
    """All slots are taken while the request is given up, so that it has drawn nothing."""
    alone = Transformer(str(tiny_folder()), threads=1, max_thought_tokens=40)
    policy = Transformer(str(tiny_folder()), threads=1, max_thought_tokens=40, max_batch=2, speculate=speculate)
    try:
        wanted = texts(await distinct(alone))
        await independent(policy, ASKED, 1, 0)  # the state has been read
        busy = [asyncio.ensure_future(independent(policy, OTHER, 300, seed)) for seed in range(3)]
        await asyncio.sleep(0.05)
        if expires:
            assert await distinct(policy, 0.02) == []
        else:
            given_up = asyncio.ensure_future(distinct(policy))
            await asyncio.sleep(0.02)
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
        await asyncio.sleep(0.02)
        assert texts(await distinct(policy)) == wanted
        assert all(len(thoughts) == 300 for thoughts in await asyncio.gather(*busy))
    finally:
        alone.close()
        policy.close()
