"""The arms that need no other library, and what is made of their times."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path

import pytest
import torch

from benchmarks.peers.__main__ import game24, summary
from benchmarks.peers.arms import LONGEST, ours
from benchmarks.peers.generating import Generating, Line, OutOfTime, Solved
from policy.base import Sampling
from policy.budget import Budget
from policy.transformer import Transformer
from verifiers.base import State

SHIPPED = Path("policy/shipped")


def test_a_ratio_is_of_the_times_to_the_same_accuracy() -> None:
    rows = [{"arm": arm, "seconds": seconds} for arm, times in (
        ("mcts", (0.3, 0.1, 0.2, None)), ("slower", (2.0, None, 1.0, None)), ("better", (5.0, 1.0, 1.0, 1.0)),
    ) for seconds in times]  # fmt: skip
    ours_, slower, better = summary(rows)
    assert ours_ == {"arm": "mcts", "problems": 4, "accuracy": 0.75}
    assert (slower["accuracy"], slower["theirs"], slower["ours"], slower["ratio"]) == (0.5, 2.0, 0.2, 10.0)
    assert (better["accuracy"], better["theirs"], better["ours"], better["ratio"]) == (1.0, 5.0, None, None)


async def test_thoughts_by_generate_are_judged_and_valued_as_the_policys_own() -> None:
    domain = game24()
    problem = next(islice(domain.problems("validation", 0), 3, 4)).sealed()
    generating = Generating(SHIPPED, LONGEST)
    root = generating.begin(problem, domain.judge(), 60.0)
    torch.manual_seed(0)
    lines = await generating.after([root] * 12)
    going_on = [line for line in lines if not line.over]
    assert going_on and all(0 < line.score < 1 for line in going_on)
    policy = Transformer(str(SHIPPED), threads=1, max_thought_tokens=LONGEST)
    for line in going_on[:3]:  # the same value, where the policy happens to draw the same thought
        for thought in await policy.propose(State(problem), 16, sampling=Sampling.DISTINCT, seed=0,
                                            meter=Budget(seconds=60).start()):
            if thought.text == line.state.thoughts[-1]:
                assert line.score == pytest.approx(thought.value, abs=1e-3)
    policy.close()
    assert await generating.after([Line(State(problem), 0.0, True)]) == [Line(State(problem), 0.0, True)]
    generating.begin(problem, domain.judge(), -1.0)
    with pytest.raises(OutOfTime):
        await generating.after([root])


def test_what_is_proved_ends_a_search() -> None:
    domain = game24()
    problem = next(domain.problems("validation", 0)).sealed()
    assert (ours(SHIPPED)(problem, domain.judge(), 20.0, 0) or 99) < 20
    generating = Generating(SHIPPED, LONGEST)
    lines = [generating.begin(problem, domain.judge(), 60.0)] * 16
    torch.manual_seed(1)
    with pytest.raises(Solved):
        while True:
            lines = [line for line in asyncio.run(generating.after(lines)) if not line.over] * 2 or [
                Line(State(problem), 0.5, False)] * 16
            lines = lines[:32]
