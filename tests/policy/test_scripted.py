"""The fake keeps the promises of a policy."""

from __future__ import annotations

import math

from policy.base import Policy, Sampling
from policy.budget import Budget, Meter
from policy.scripted import Scripted, evenly
from verifiers.base import Problem, State

START = State(Problem("p", "d", "p", {}))
SCRIPT = {(): [("a", -2.0, 0.1), ("bb", -0.1, None), ("cut\x1b", -3.0, 0.5)], ("a",): evenly("x", "y", value=0.3)}


def meter() -> Meter:
    return Budget(tokens=100).start()


async def say(policy: Scripted, state: State, k: int, sampling: Sampling, first: int = 0, seed: int = 1) -> list[str]:
    thoughts = await policy.propose(state, k, sampling=sampling, seed=seed, meter=meter(), first=first)
    return [thought.text for thought in thoughts]


async def test_the_three_samplings() -> None:
    policy = Scripted(SCRIPT)
    assert isinstance(policy, Policy)
    assert await say(policy, START, 1, Sampling.GREEDY) == ["bb"]
    assert await say(policy, START, 2, Sampling.DISTINCT) == ["a", "bb"]
    assert await say(policy, START, 2, Sampling.DISTINCT, first=2) == ["cut"]
    assert await say(policy, START.then("z"), 3, Sampling.INDEPENDENT) == []
    draws = await say(policy, START, 60, Sampling.INDEPENDENT)
    assert len(draws) == 60 and set(draws) == {"a", "bb", "cut"}
    assert await say(policy, START, 9, Sampling.INDEPENDENT, first=20) == draws[20:29]
    assert await say(policy, START, 60, Sampling.INDEPENDENT, seed=2) != draws
    assert [(call.k, call.first) for call in policy.calls[:3]] == [(1, 0), (2, 0), (2, 2)]


async def test_thoughts_say_what_the_script_says() -> None:
    policy = Scripted(SCRIPT)
    thoughts = await policy.propose(START, 9, sampling=Sampling.DISTINCT, seed=0, meter=meter())
    assert [(t.text, t.logprob, t.value, t.tokens, t.complete) for t in thoughts] == [
        ("a", -2.0, 0.1, 2, True), ("bb", -0.1, None, 3, True), ("cut", -3.0, 0.5, 5, False),
    ]  # fmt: skip
    assert evenly("x", "y")[0][1] == -math.log(2)


async def test_it_stops_at_the_token_at_which_the_time_is_over() -> None:
    now = 0.0

    def tick() -> None:
        nonlocal now
        now += 1.0

    policy = Scripted(SCRIPT, tick=tick)
    late = Budget(seconds=3).start(lambda: now)
    thoughts = await policy.propose(START, 3, sampling=Sampling.DISTINCT, seed=0, meter=late)
    assert [thought.text for thought in thoughts] == ["a"] and now == 3.0
