"""Thoughts without replacement from samples with replacement: order, charges, probabilities and the end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from policy.base import Sampling, Thought
from policy.budget import Budget, Meter
from policy.served.draws import Draws, Sample
from verifiers.base import Problem, State

WHERE = State(Problem("p", "toy", "what?", {}))


class Dice:
    """Samples that are named by their seed: a few texts, each of some tokens."""

    def __init__(self, sides: int, tokens: int = 3, logprob: float | None = None) -> None:
        self.sides, self.tokens, self.logprob = sides, tokens, logprob
        self.drawn: list[int | None] = []

    async def draw(self, state: State, n: int, seed: int | None, temperature: float, meter: Meter) -> Sequence[Sample]:
        await asyncio.sleep(0)
        seeds = [None if seed is None else seed + i for i in range(n)]
        self.drawn += seeds
        return [Sample(f"side {0 if s is None else (s * 2654435761 >> 7) % self.sides}", self.tokens, self.logprob)
                for s in seeds]


async def distinct(draws: Draws, first: int, k: int) -> list[Thought]:
    meter = Budget(seconds=60).start()
    return await draws.propose(WHERE, k, sampling=Sampling.DISTINCT, seed=1, meter=meter, first=first)


async def test_calls_continue_one_another_however_they_are_cut() -> None:
    whole = await distinct(Draws(Dice(40), 99, 50, 1.0), 0, 12)
    assert len({thought.text for thought in whole}) == 12
    for cuts in ((4, 4, 4), (1,) * 12, (7, 5)):
        draws, parts = Draws(Dice(40), 99, 50, 1.0), []
        for k in cuts:
            parts += await distinct(draws, len(parts), k)
        assert parts == whole
    assert await distinct(Draws(Dice(40), 99, 50, 1.0), 8, 4) == whole[8:]


async def test_prompts_are_told_to_each_who_asks_as_if_nobody_had_asked_before() -> None:
    class Priced(Dice):
        async def draw(self, *asked: Any) -> Sequence[Sample]:
            return [replace(sample, prompt_tokens=10) for sample in await super().draw(*asked)]

    dice = Priced(3)
    draws = Draws(dice, 99, 4, 1.0)
    first, again = Budget(seconds=60).start(), Budget(seconds=60).start()
    for meter in (first, again):
        await draws.propose(WHERE, 99, sampling=Sampling.DISTINCT, seed=1, meter=meter)
    assert first.prompt_tokens == again.prompt_tokens > 30  # repeats are paid for, and so is the end
    drawn = len(dice.drawn)
    await draws.propose(WHERE, 2, sampling=Sampling.INDEPENDENT, seed=1, meter=again)
    assert again.prompt_tokens - first.prompt_tokens == 20 and len(dice.drawn) == drawn + 2


async def test_at_once_is_one_after_the_other() -> None:
    draws = Draws(Dice(20), 99, 50, 1.0)
    together = await asyncio.gather(*(distinct(draws, first, 2) for first in (4, 0, 2)))
    again = Draws(Dice(20), 99, 50, 1.0)
    assert together[1] + together[2] + together[0] == await distinct(again, 0, 6)


async def test_every_token_is_charged_and_no_thought_too_much() -> None:
    dice = Dice(3, tokens=5)
    draws = Draws(dice, 8, 6, 1.0)
    thoughts: list[Thought] = []
    while more := await distinct(draws, len(thoughts), 2):
        thoughts += more
    assert sum(thought.tokens for thought in thoughts) == 5 * len(dice.drawn)
    assert all(0 < thought.tokens <= 8 for thought in thoughts)
    alive = [thought for thought in thoughts if not thought.dead]
    assert [thought.text for thought in alive] == list(dict.fromkeys(thought.text for thought in alive))
    assert len(alive) == 3 and len(thoughts) > 3  # the end was paid for
    assert await distinct(draws, len(thoughts), 4) == []


async def test_probabilities_nobody_tells() -> None:
    thoughts = await distinct(Draws(Dice(10**9), 99, 50, 1.0), 0, 8)
    chances = [math.exp(thought.logprob) for thought in thoughts]
    assert chances[:2] == [0.5, 0.25] and sum(chances) < 1 and chances == sorted(chances, reverse=True)
    repeating = [t for t in await distinct(Draws(Dice(2), 99, 6, 1.0), 0, 2) if not t.dead]
    assert len(repeating) == 2 and sum(math.exp(thought.logprob) for thought in repeating) < 1
    told = await distinct(Draws(Dice(9, logprob=-1.5), 99, 50, 1.0), 0, 4)
    assert {thought.logprob for thought in told} == {-1.5}


async def test_greedy_is_one_and_samples_are_numbered() -> None:
    dice = Dice(10)
    draws, meter = Draws(dice, 99, 50, 1.0), Budget(seconds=60).start()

    async def ask(sampling: Sampling, k: int, first: int) -> list[Thought]:
        return await draws.propose(WHERE, k, sampling=sampling, seed=1, meter=meter, first=first)

    assert len(await ask(Sampling.GREEDY, 3, 0)) == 1 and await ask(Sampling.GREEDY, 3, 1) == []
    assert dice.drawn == [None]
    whole = await ask(Sampling.INDEPENDENT, 5, 0)
    assert await ask(Sampling.INDEPENDENT, 2, 3) == whole[3:]
    assert all(math.exp(thought.logprob) == 0.5 for thought in whole)
    meter.cancel()
    assert await ask(Sampling.INDEPENDENT, 1, 0) == []
