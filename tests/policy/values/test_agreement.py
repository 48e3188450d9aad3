"""Rollouts that agree, and values that are hidden."""

from __future__ import annotations

import pytest

from policy.base import BadPolicy, Policy, Sampling, Thought
from policy.budget import Budget, Meter
from policy.scripted import Scripted, evenly
from policy.values.agreement import Agreement
from policy.values.hidden import Hidden
from search.mcts import MCTS
from tests.search.riddles import RiddleJudge, answers, forest, riddle
from verifiers.base import State

STATE = State(riddle().sealed())


class Ends:
    """After a thought every rollout ends as told; sample i takes the i-th end."""

    version, max_thought_tokens = "ends", 16

    def __init__(self, ends: dict[str, list[str]]) -> None:
        self._ends = ends

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        if not state.thoughts:
            return [Thought(text, -1.0, len(text) + 1, 0.5) for text in self._ends][first : first + k]
        ends = self._ends[state.thoughts[0]]
        if len(state.thoughts) > 1 or not ends:
            return [Thought("", -0.1, 1, last=True)]
        text = ends[first]
        return [Thought(text, -0.1, len(text) + 1, complete=text != "cut")]


async def values(policy: Policy, k: int = 9, meter: Meter | None = None) -> dict[str, tuple[float | None, int]]:
    meter = meter or Budget(tokens=999).start()
    thoughts = await policy.propose(STATE, k, sampling=Sampling.DISTINCT, seed=1, meter=meter)
    return {thought.text: (thought.value, thought.tokens) for thought in thoughts}


async def test_the_share_of_the_most_frequent_end() -> None:
    policy = Agreement(Ends({
        "a": ["x = 4", "X  = 4.", "x = 5", "x = 4"], "b": ["1", "2", "3", "4"], "c": ["cut", "cut", "7", "7"], "d": [],
    }), rollouts=4, max_tokens=32)  # fmt: skip
    assert policy.max_thought_tokens == 16 + 4 * 32 and policy.version == "ends+agreement-4x32"
    found = await values(policy)
    assert [value for value, _ in found.values()] == [0.75, 0.25, 0.5, None]  # after d there is nothing to write
    assert [tokens for _, tokens in found.values()] == [2 + 3 * 6 + 8 + 4, 2 + 4 * 3, 2 + 2 * 4 + 2 * 3, 2 + 4]


async def test_a_rollout_that_does_not_fit_its_tokens_agrees_with_nobody() -> None:
    found = await values(Agreement(Ends({"a": ["4", "4"]}), rollouts=2, max_tokens=16))
    assert found == {"a": (0.0, 2 + 4)}  # the second thought, the end, might not have fitted


async def test_what_is_not_found_in_time_is_no_value() -> None:
    now = 0.0

    class Late(Ends):
        async def propose(self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0,
                          ) -> list[Thought]:  # fmt: skip
            nonlocal now
            if state.thoughts:
                now = 2.0
                return []
            return await super().propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)

    assert await values(Agreement(Late({"a": ["4"]})), meter=Budget(seconds=1).start(lambda: now)) == {"a": (None, 2)}


async def test_values_do_not_depend_on_what_is_asked_for_together() -> None:
    policy = Agreement(Scripted(forest(3, (1, 2, 0))), rollouts=3, max_tokens=48)
    assert await values(policy, 3) == {**await values(policy, 2), **await values(policy)}


@pytest.mark.parametrize("tokens", [70, 150, 400])
async def test_a_search_without_values_keeps_to_its_tokens(tokens: int) -> None:
    for seed in range(3):
        policy = Agreement(Hidden(Scripted(forest(seed, (1, 2, 0), branching=4))), rollouts=2, max_tokens=24)
        meter = Budget(tokens=tokens).start()
        await answers(MCTS(ramp=1).search(riddle(), policy, RiddleJudge(), meter, seed))
        assert meter.tokens <= tokens and meter.tokens_left == tokens - meter.tokens


async def test_hidden_values_are_not_there() -> None:
    policy = Hidden(Ends({"a": []}))
    assert (policy.version, policy.max_thought_tokens) == ("ends+hidden", 16)
    assert await values(policy) == {"a": (None, 2)}
    [thought] = await policy.propose(STATE, 1, sampling=Sampling.GREEDY, seed=1, meter=Budget(tokens=9).start())
    assert thought.value is None


async def test_without_values_a_judge_rolls_out_in_the_search() -> None:
    """What `rollouts` of mcts is for: the policy says nothing about values, a proof on the way ends the search."""
    found = await answers(MCTS(rollouts=True).search(
        riddle(), Hidden(Scripted({(): evenly("a"), ("a",): evenly("=1", "=42")})), RiddleJudge(),
        Budget(tokens=200).start(), 1))
    assert found[-1].verified


@pytest.mark.parametrize(("options", "said"), [({"rollouts": 1}, "rollouts"), ({"max_tokens": 9}, "holds no thought")])
def test_what_cannot_be_is_refused(options: dict[str, int], said: str) -> None:
    with pytest.raises(BadPolicy, match=said):
        Agreement(Ends({}), **options)
