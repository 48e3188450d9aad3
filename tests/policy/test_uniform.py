"""The control: random legal steps, without repeats where asked, at the cost of their text."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from policy import uniform
from policy.base import Policy, Sampling, Thought
from policy.budget import Budget
from policy.uniform import Uniform
from verifiers.base import Problem, State

START = State(Problem("p", "d", "p", {}))


class Letters:
    """Seven legal steps, unequally likely, until three are taken."""

    def __init__(self) -> None:
        self.draws = 0

    def random_thought(self, state: State, rng: np.random.Generator) -> str | None:
        self.draws += 1
        if len(state.thoughts) == 3:
            return None
        return "abcdefg"[int(7 * rng.random() ** 2)] * 3


async def propose(
    policy: Uniform, k: int, sampling: Sampling = Sampling.DISTINCT, first: int = 0, seed: int = 1, state: State = START
) -> list[Thought]:
    meter = Budget(tokens=10**6).start()
    return await policy.propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)


def texts(thoughts: list[Thought]) -> list[str]:
    return [thought.text for thought in thoughts]


async def test_distinct_thoughts_are_the_whole_support_once() -> None:
    policy = Uniform(Letters())
    assert isinstance(policy, Policy)
    thoughts = await propose(policy, 50)
    assert sorted(texts(thoughts)) == [letter * 3 for letter in "abcdefg"]
    assert {(t.tokens, t.value, t.complete) for t in thoughts} == {(4, None, True)}
    assert len({t.logprob for t in thoughts}) == 1 and thoughts[0].logprob == pytest.approx(-math.log(7))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9), st.integers(1, 5), st.integers(0, 7), st.sampled_from(["distinct", "independent"]))
def test_calls_continue_one_another(seed: int, k: int, first: int, kind: str) -> None:
    sampling = Sampling(kind)

    async def run() -> None:
        whole = await propose(Uniform(Letters()), first + k, sampling, seed=seed)
        warm = Uniform(Letters())
        await propose(warm, 2, sampling, seed=seed)
        assert await propose(warm, k, sampling, first, seed) == whole[first : first + k]
        assert await propose(Uniform(Letters()), k, sampling, first, seed) == whole[first : first + k]

    asyncio.run(run())


async def test_forgetting_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uniform, "CACHED_STATES", 1)
    policy = Uniform(Letters())
    before = texts(await propose(policy, 3))
    await propose(policy, 3, state=START.then("a"))
    assert before + texts(await propose(policy, 3, first=3)) == texts(await propose(Uniform(Letters()), 6))


async def test_going_on_is_cheap() -> None:
    rules = Letters()
    policy = Uniform(rules)
    await propose(policy, 50)
    drawn = rules.draws
    await propose(policy, 50)
    assert rules.draws == drawn


async def test_seeds_and_states_differ() -> None:
    policy = Uniform(Letters())
    draws = [
        texts(await propose(policy, 20, Sampling.INDEPENDENT, seed=seed, state=state))
        for seed in (1, 2)
        for state in (START, START.then("a"))
    ]
    assert all(draws[i] != draws[j] for i in range(4) for j in range(i))
    assert len(set(draws[0])) < 20  # with replacement


async def test_greedy_is_one_draw() -> None:
    [thought] = await propose(Uniform(Letters()), 5, Sampling.GREEDY)
    assert [thought] == await propose(Uniform(Letters()), 1, Sampling.INDEPENDENT)


@pytest.mark.parametrize("sampling", list(Sampling))
async def test_a_finished_line_has_no_next_thought(sampling: Sampling) -> None:
    assert await propose(Uniform(Letters()), 4, sampling, state=State(START.problem, ("a", "b", "c"))) == []


@pytest.mark.parametrize("sampling", list(Sampling))
async def test_nothing_comes_after_the_deadline(sampling: Sampling) -> None:
    meter = Budget(tokens=9).start()
    meter.cancel()
    assert await Uniform(Letters()).propose(START, 4, sampling=sampling, seed=1, meter=meter) == []


async def test_long_steps_are_cut_off() -> None:
    [thought] = await propose(Uniform(Letters(), max_thought_tokens=3), 1)
    assert len(thought.text) == thought.tokens == 3 and not thought.complete


async def test_on_the_real_rules_every_thought_is_legal() -> None:
    domain = instantiate(OmegaConf.load("conf/domain/game24.yaml"))
    problem = domain.parse("4 9 10 13")
    thoughts = await propose(Uniform(domain), 100, state=State(problem))
    assert len(thoughts) > 20 and len(set(texts(thoughts))) == len(thoughts)
    for thought in thoughts:
        assert (await domain.judge().check_thought(State(problem), thought.text)).ok


def test_no_torch_is_imported() -> None:
    code = "import sys, search.mcts, policy.uniform, policy.scripted; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
