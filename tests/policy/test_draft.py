from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from policy import draft
from policy.base import Sampling, Thought
from policy.budget import Budget
from policy.draft import Costs, Drafts
from policy.transformer import Transformer
from verifiers.base import Problem, State

Make = Callable[..., Transformer]
MOST = 6


def state(*lines: str) -> State:
    return State(Problem(lines[0], "toy", lines[0], {}), tuple(lines[1:]))


STATES = [state("12+a"), state("1=2", "ab"), state("ab=" * 12, "2" * 20, "a+"), state("a", "", "b")]


@pytest.fixture
async def make(tiny_folder: Callable[..., Path]) -> AsyncIterator[Make]:
    policies = []

    def build(
        speculate: int, architecture: str = "llama", tokenizer: PreTrainedTokenizerFast | None = None, **options: float
    ) -> Transformer:
        folder = str(tiny_folder(architecture, tokenizer))
        more: dict[str, float] = {"max_thought_tokens": 12, **options}
        policies.append(Transformer(folder, threads=1, speculate=speculate, **more))  # type: ignore[arg-type]
        return policies[-1]

    yield build
    for policy in policies:
        policy.close()


@pytest.fixture
def bold(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many guesses as may be, however often they are wrong."""
    monkeypatch.setattr(draft, "FIRST", np.array([1e9, 1e-9, 1e-9]))
    monkeypatch.setattr(draft, "EVERY", 1 << 40)


async def ask(policy: Transformer, s: State, k: int, sampling: Sampling, seed: int = 0) -> list[Thought]:
    return await policy.propose(s, k, sampling=sampling, seed=seed, meter=Budget(seconds=60).start())


async def ask_much(policy: Transformer) -> list[Thought]:
    """Of all states and in all ways, at once; and again of what follows the first thoughts."""
    kinds = [(s, sampling, seed) for s in STATES for sampling in Sampling for seed in (0, 1)]
    first = await asyncio.gather(*(ask(policy, s, 5, sampling, seed) for s, sampling, seed in kinds))
    after = [(s.then(found[-1].text), sampling, seed) for (s, sampling, seed), found in zip(kinds, first, strict=True)]
    second = await asyncio.gather(*(ask(policy, *one[:1], 4, *one[1:]) for one in after))
    return [thought for found in (*first, *second) for thought in found]


def told(thought: Thought) -> tuple[object, ...]:
    return thought.text, thought.tokens, thought.complete, thought.last, thought.value is None


@pytest.mark.parametrize("architecture", ["llama", "neox", "subwords"])
async def test_thoughts_are_the_same(
    architecture: str, make: Make, subwords: PreTrainedTokenizerFast, bold: None
) -> None:
    options = ("llama", subwords) if architecture == "subwords" else (architecture,)
    plain, guessing = await ask_much(make(0, *options)), await ask_much(make(MOST, *options))
    assert [told(thought) for thought in guessing] == [told(thought) for thought in plain]
    assert [t.logprob for t in guessing] == pytest.approx([t.logprob for t in plain], abs=1e-3)
    values = [[thought.value or 0.0 for thought in found] for found in (guessing, plain)]
    assert values[0] == pytest.approx(values[1], abs=1e-3)


async def test_thoughts_are_the_same_where_rows_come_and_go(make: Make, bold: None) -> None:
    roomy, plain, guessing = [
        [told(thought) for thought in await ask_much(make(most, max_batch=slots, max_thought_tokens=40))]
        for most, slots in ((0, 256), (0, 5), (MOST, 5))
    ]
    assert plain == roomy
    assert guessing == roomy


async def test_wide_guesses_have_room(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far ahead is guessed, all that is fed lies within the rows' slots."""
    monkeypatch.setattr(Drafts, "_worth", lambda self, rows: self.most)
    policy = make(200, max_thought_tokens=12)
    trunk, past, widths = policy.decoder.scheduler.trunk, [], []
    forward = trunk.forward

    def watched(tokens: Any, starts: Any, offsets: Any = None, *args: Any, **more: Any) -> Any:
        own = starts if offsets is None else starts - offsets
        widths.append(tokens.shape[1])
        past.append(int(own.max()) + tokens.shape[1] - trunk.kv.buffer.shape[4])
        return forward(tokens, starts, offsets, *args, **more)

    trunk.forward = watched  # type: ignore[method-assign]
    await ask(policy, STATES[0], 3, Sampling.INDEPENDENT)
    assert len(past) > 1 and max(past) <= 0, past
    assert max(widths) == 201


@pytest.mark.parametrize("sampling", [Sampling.INDEPENDENT, Sampling.DISTINCT])
async def test_frequencies_are_those_without_guesses(sampling: Sampling, make: Make, bold: None) -> None:
    """Pearson's chi-square of two samples of other seeds: thoughts with guesses and without them."""
    draws, counts = 2000, []
    for most, seed in ((0, 0), (MOST, draws)):
        policy = make(most, max_thought_tokens=4)
        if sampling is Sampling.INDEPENDENT:
            thoughts = await ask(policy, STATES[3], draws, sampling, seed)
        else:
            found = await asyncio.gather(*(ask(policy, STATES[3], 1, sampling, seed + i) for i in range(draws)))
            thoughts = [first for (first,) in found]
        counts.append(Counter(told(thought) for thought in thoughts))
    plain, guessing = counts
    often = [name for name in plain | guessing if plain[name] + guessing[name] >= 10]
    cells = [(plain[name], guessing[name]) for name in often]
    cells.append((draws - sum(a for a, _ in cells), draws - sum(b for _, b in cells)))
    statistic, freedom = sum((a - b) ** 2 / (a + b) for a, b in cells), len(cells) - 1
    assert freedom > 20
    assert statistic < freedom + 4 * math.sqrt(2 * freedom)


async def test_right_guesses_save_forward_passes(make: Make) -> None:
    passes = []
    for most in (0, MOST):
        policy = make(most, max_thought_tokens=100, temperature=0.05)
        trunk = policy.decoder.scheduler.trunk
        forward, count = trunk.forward, [0]

        def counted(*args: Any, forward: Any = forward, count: list[int] = count, **more: Any) -> Any:
            count[0] += 1
            return forward(*args, **more)

        trunk.forward = counted  # type: ignore[method-assign]
        await ask(policy, STATES[2], 2, Sampling.INDEPENDENT)
        passes.append(count[0])
    assert passes[1] < 0.8 * passes[0]


def test_what_followed_the_longest_context_is_guessed(bold: None) -> None:
    drafts = Drafts(4, MOST)
    drafts.read([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    drafts.read([20, 3, 4, 30])
    drafts.seat(0, [9, 2, 3, 4])  # the last three are known, and the last two since then otherwise
    drafts.seat(1, [8, 20, 3, 4])
    drafts.seat(2, [40, 41])
    assert drafts.guess(3)[:, 0].tolist() == [5, 30, 0]
    drafts.move(2, 3)
    drafts.drew(np.array([3]), np.array([42]))
    drafts.seat(2, [7, 40, 41])
    assert drafts.guess(3)[2, 0] == 42


def test_guesses_that_do_not_pay_are_left() -> None:
    drafts, tokens = Drafts(256, MOST), np.random.default_rng(0).integers(3, 1000, 400)
    one = np.zeros(1, dtype=np.intp)
    for _ in range(40):
        drafts.drew(one, np.array([7]))
    assert drafts.guess(1).shape == (1, MOST)
    for _ in range(100):  # tokens cost much, and a step little
        drafts.took(1, 1, 0.11)
        drafts.took(4, 1, 0.8)
    assert drafts.guess(1).shape == (1, 0)
    for _ in range(200):  # and now it is the other way round
        drafts.took(1, 1, 0.11)
        drafts.took(4, 1, 0.12)
    assert drafts.guess(1).shape == (1, MOST)
    for token in tokens:  # nobody could guess these
        drafts.drew(one, np.array([token]))
    assert drafts.guess(1).shape == (1, 0)
    assert Drafts(4, 0).guess(1).shape == (1, 0)


def test_costs_are_learnt_from_steps() -> None:
    costs, rng = Costs(), np.random.default_rng(0)
    for _ in range(400):
        tokens, draws = int(rng.integers(1, 60)), int(rng.integers(1, 6))
        seconds = (2e-3 + 3e-4 * tokens + 5e-4 * draws) * rng.uniform(0.9, 1.1)
        costs.took(tokens, draws, seconds)
    assert costs.each == pytest.approx([2e-3, 3e-4, 5e-4], rel=0.3)
    found = costs.of(np.array([1, 50]), np.array([1.0, 1.0]))
    assert found == pytest.approx([2.8e-3, 17.5e-3], rel=0.3)
