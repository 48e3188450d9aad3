"""What many states begin with is read by one of them; the others wait for it, and for nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from policy.base import Sampling, Thought
from policy.batch import PIECE, Batch
from policy.budget import Budget
from policy.frontier import Partial
from policy.rows import Row
from policy.transformer import Transformer
from verifiers.base import Problem, State

SHARED = "12+ab=21+b" * 30
STATES = [State(Problem(f"{number}", "toy", f"{SHARED}{number:05b}".translate({48: "1", 49: "2"}), {}))
          for number in range(12)]


@pytest.fixture
def policy(tiny_folder: Callable[..., Path]) -> Iterator[Transformer]:
    made = Transformer(str(tiny_folder()), threads=1, max_thought_tokens=12)
    yield made
    made.close()


async def ask(policy: Transformer, state: State) -> list[Thought]:
    return await policy.propose(
        state, 2, sampling=Sampling.DISTINCT, seed=0, meter=Budget(seconds=60.0).start())


def texts(many: list[list[Thought]]) -> list[list[str]]:
    return [[thought.text for thought in thoughts] for thoughts in many]


async def test_what_many_begin_with_is_read_once(policy: Transformer, tiny_folder: Callable[..., Path]) -> None:
    together = await asyncio.gather(*(ask(policy, state) for state in STATES))
    assert policy.decoder.scheduler.trunk.fed < 4 * len(SHARED)  # of 12 times that
    other = Transformer(str(tiny_folder()), threads=1, max_thought_tokens=12, cache_mb=0)
    apart = [await ask(other, state) for state in STATES]
    in_vain = await asyncio.gather(*(ask(other, state) for state in STATES))
    other.close()
    assert texts(together) == texts(apart) == texts(in_vain)


def test_a_cache_that_holds_nothing_is_waited_for_once(policy: Transformer) -> None:
    batch = policy.decoder.scheduler.batch
    rows = [reads([2] * 2 * PIECE + [3 + number]) for number in range(4)]
    for row in rows:
        batch.add(row)
    assert list(batch.waiting) == rows[:1] and batch.following == 3 and policy.decoder.rows == 4
    batch.drop(rows[0])
    assert list(batch.waiting) == rows and batch.following == 0 and policy.decoder.rows == 4


@pytest.mark.parametrize("who", [slice(0, 1), slice(1, 2), slice(0, 6), slice(0, 12)])
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.004])
async def test_who_is_given_up_holds_nobody_up(policy: Transformer, who: slice, seconds: float) -> None:
    """The one that reads, one that waits for it, and all."""
    asked = [asyncio.create_task(ask(policy, state)) for state in STATES]
    await asyncio.sleep(seconds)
    for one in asked[who]:
        one.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert all(len(one.result()) == 2 for one in asked if one not in asked[who])
    assert len(await ask(policy, STATES[0])) == 2
    batch = policy.decoder.scheduler.batch
    policy.decoder.change(lambda: None)  # waits until nothing is left to do
    assert not batch._reading and not +batch._prompts


def reads(tokens: list[int], lora: Any = None) -> Row:
    return Row("", tuple(tokens), len(tokens), tokens, Partial((), 0.0, 0.0, 0), lora)


@pytest.mark.parametrize(("tokens", "lora", "follows"), [
    ([2] * 2 * PIECE, None, True),
    ([2] * PIECE + [3] * PIECE, None, False),  # what they share is one piece
    ([2] * 2 * PIECE + [3] * 2 * PIECE, None, True),
    ([2] * 2 * PIECE + [3] * (2 * PIECE + 1), None, False),  # it would take longer than to read alone
    ([2] * 2 * PIECE, "another reader", False),
])
def test_who_waits_for_whom(policy: Transformer, tokens: list[int], lora: Any, follows: bool) -> None:
    batch, leader, row = policy.decoder.scheduler.batch, reads(tokens, lora), reads([2] * 2 * PIECE + [4])
    batch.add(leader)
    batch.add(row)
    assert list(batch.waiting) == [leader, row][: 1 if follows else 2]
    batch.drop(leader)
    assert list(batch.waiting) == [leader, row]


def test_who_knows_enough_waits_for_nobody(policy: Transformer) -> None:
    def zeros(batch: Batch, tokens: int) -> torch.Tensor:
        layers, both, _, heads, _, dim = batch.trunk.kv.buffer.shape
        return torch.zeros(layers, both, heads, tokens, dim)

    batch, row = policy.decoder.scheduler.batch, reads([2] * 2 * PIECE + [4])
    batch.cache.insert([2] * PIECE, lambda start, end: zeros(batch, end - start))
    batch.add(reads([2] * 2 * PIECE))
    batch.add(row)
    assert row in batch.waiting


def test_a_follower_that_was_dropped_leaves_in_its_turn(policy: Transformer) -> None:
    batch, leader, row = policy.decoder.scheduler.batch, reads([2] * 2 * PIECE), reads([2] * 2 * PIECE + [4])
    batch.add(leader)
    batch.add(row)
    batch.drop(row)
    batch.drop(leader)
    assert batch.seat() == [] and not batch and not batch._reading and not +batch._prompts
