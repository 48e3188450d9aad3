"""Possible next thoughts as a list."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.base import BadPolicy, Policy, Sampling, Thought
from policy.budget import Budget, Meter
from policy.proposing import Proposing
from search.mcts import MCTS
from search.tot_bfs import TotBFS
from tests.search.riddles import SECRET, RiddleJudge, answers, riddle
from verifiers.base import State


class Lists:
    """Lists what may follow the last thought, one line each; what it would think by itself is another thing."""

    version, max_thought_tokens = "lists", 16

    def __init__(self, lists: dict[str, list[str]], alone: str = "alone") -> None:
        self.lists, self.alone, self.asked = lists, alone, 0

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        if not state.problem.prompt.startswith("List"):
            return [Thought(self.alone, -1.0, len(self.alone) + 1)] if not state.thoughts else []
        assert k == 1 and sampling is Sampling.INDEPENDENT
        self.asked += 1
        lines = self.lists.get(state.problem.prompt.partition("|")[2].split("\n")[-1], [])
        if len(state.thoughts) >= len(lines):
            return []
        text = lines[len(state.thoughts)]
        return [Thought(text.rstrip("\x04"), -1.0, len(text) + 1, 0.5, last=text.endswith("\x04"))]


@pytest.fixture
def prompt(tmp_path: Path) -> str:
    path = tmp_path / "propose.txt"
    path.write_text("List: {problem}|{thoughts}")
    return str(path)


async def said(policy: Policy, k: int, first: int, meter: Meter, state: State | None = None) -> list[tuple[str, int]]:
    thoughts = await policy.propose(
        state or State(riddle()), k, sampling=Sampling.DISTINCT, seed=1, meter=meter, first=first)
    return [(thought.text, thought.tokens) for thought in thoughts]


async def test_lines_of_one_list_become_thoughts(prompt: str) -> None:
    inner = Lists({"": ["1. one", "", "- two", "2) one", "-3 + 5", "* four\x04", "never"]})
    policy, meter = Proposing(inner, prompt), Budget(tokens=999).start()
    assert isinstance(policy, Policy) and policy.max_thought_tokens == inner.max_thought_tokens
    assert await said(policy, 1, 0, meter) == [("one", 7)] and inner.asked == 1  # no more than is asked for
    assert await said(policy, 3, 1, meter) == [("", 1), ("two", 6), ("", 7)]  # charged, and dead
    assert await said(policy, 9, 4, meter) == [("-3 + 5", 7), ("four", 8)]
    assert await said(policy, 9, 6, meter) == [] and inner.asked == 6
    again = Budget(tokens=999).start()  # the same for another search
    assert [text for text, _ in await said(policy, 9, 0, again)] == ["one", "", "two", "", "-3 + 5", "four"]


async def test_a_list_that_goes_round_ends(prompt: str) -> None:
    inner = Lists({"": ["a"] * 50})
    assert len(await said(Proposing(inner, prompt, barren=4), 40, 0, Budget(tokens=999).start())) == 5


async def test_chains_are_written_as_ever(prompt: str) -> None:
    policy = Proposing(Lists({"": ["listed"]}), prompt)
    for sampling in (Sampling.GREEDY, Sampling.INDEPENDENT):
        [thought] = await policy.propose(
            State(riddle()), 1, sampling=sampling, seed=1, meter=Budget(tokens=99).start())
        assert thought.text == "alone"


async def test_lists_are_forgotten_with_their_search(prompt: str) -> None:
    policy, meter = Proposing(Lists({"": ["a", "b"]}), prompt), Budget(tokens=99).start()
    await said(policy, 1, 0, meter)
    assert len(policy._lists) == 1
    del meter
    assert len(policy._lists) == 0


@pytest.mark.parametrize("search", [TotBFS(k=3, width=2), MCTS()], ids=["tot_bfs", "mcts"])
@pytest.mark.parametrize("tokens", [40, 100, 400])
async def test_a_search_over_lists(prompt: str, search: TotBFS | MCTS, tokens: int) -> None:
    lists = {"": ["1. x", "2. y", "", "3. x", "4. z"], "x": ["=1", "=2"], "y": ["- =3", f"- ={SECRET}"]}
    meter = Budget(tokens=tokens).start()
    found = await answers(search.search(riddle(), Proposing(Lists(lists, "=0"), prompt), RiddleJudge(), meter, 1))
    assert meter.tokens <= tokens
    assert found[-1].text == (SECRET if tokens == 400 else found[-1].text) and found[0].text == "0"
    assert found[-1].verified or tokens < 400


def test_what_cannot_be_is_refused(prompt: str) -> None:
    with pytest.raises(BadPolicy, match="barren"):
        Proposing(Lists({}), prompt, barren=0)
