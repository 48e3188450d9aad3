"""Lines are written anew from their first doubtful thought."""

from __future__ import annotations

import pytest

from policy.base import Sampling, Thought
from policy.scripted import Scripted, evenly
from search.revise import confidence
from search.tree import Outcome, Step
from tests.search.riddles import SECRET, RiddleJudge, Script, riddle, searcher, solve
from verifiers.base import State

SCRIPT: Script = {
    (): [("a", -0.1, 0.9), ("z", -3.0, 0.9)], ("a",): [("b", -0.1, 0.9), ("c", -0.4, 0.8)],
    ("a", "b"): [("=1", -0.1, 0.2), ("=2", -0.4, 0.1)], ("a", "c"): evenly(f"={SECRET}", value=0.9),
    ("z",): evenly("=3", value=0.3),
}  # fmt: skip


def starts(policy: Scripted) -> list[tuple[str, ...]]:
    """Where lines were written anew: the first call of each, for lines one at a time."""
    calls = [call for call in policy.calls if call.sampling is Sampling.INDEPENDENT]
    return [call.state.thoughts for i, call in enumerate(calls) if i == 0 or call.first != calls[i - 1].first]


async def test_the_first_doubtful_thought_is_written_anew_then_what_is_before_it() -> None:
    policy = Scripted(SCRIPT)
    await solve("revise", SCRIPT, "8sims", policy=policy, judge=RiddleJudge(False), width=1, patience=2)
    assert starts(policy)[:3] == [("a", "b"), ("a", "b"), ("a",)]  # the end alone is doubtful; patience ends
    assert all(call.sampling is not Sampling.INDEPENDENT or call.k == 1 for call in policy.calls)


async def test_what_is_kept_costs_nothing_again_and_the_proof_is_found() -> None:
    policy = Scripted(SCRIPT)
    found = await solve("revise", SCRIPT, "400tok", policy=policy, width=1, patience=2)
    assert found[-1].verified and found[-1].thoughts == ("a", "c", f"={SECRET}")
    tokens = sum(len(text) + 1 for text in found[-1].thoughts)
    assert found[-1].tokens < tokens * len(policy.calls)


async def test_without_a_doubtful_thought_the_least_sure_one_goes() -> None:
    script: Script = {(): evenly("a", value=0.9), ("a",): evenly("b", value=0.6), ("a", "b"): evenly("=1", value=0.8)}
    policy = Scripted(script)
    await solve("revise", script, "4sims", policy=policy, judge=RiddleJudge(False), width=1, patience=9)
    assert set(starts(policy)) == {("a",)}


async def test_no_sample_is_drawn_twice() -> None:
    policy = Scripted(SCRIPT)
    await solve("revise", SCRIPT, "30sims", policy=policy, judge=RiddleJudge(False), width=3)
    drawn = [(call.state.thoughts, call.first) for call in policy.calls if call.sampling is Sampling.INDEPENDENT]
    assert len(drawn) == len(set(drawn)) > 30


async def test_a_good_line_gives_way_only_to_one_that_is_no_worse() -> None:
    script: Script = {(): [("=1", -0.1, 0.7), ("=2", -0.5, 0.1)]}
    found = await solve("revise", script, "40sims", judge=RiddleJudge(False), weighted=True, doubt=1.0)
    assert found[-1].text == "1"


@pytest.mark.parametrize(("thought", "outcome", "expected"), [
    (Thought("a", -2.0, 2), Outcome.OPEN, 0.3679), (Thought("a", -2.0, 2, 0.6), Outcome.OPEN, 0.6),
    (Thought("a", -2.0, 2, 0.6), Outcome.DEAD, 0.0), (Thought("", 0.1, 1), Outcome.FINISHED, 1.0),
])  # fmt: skip
def test_confidence(thought: Thought, outcome: Outcome, expected: float) -> None:
    assert confidence(Step(thought, State(riddle()), outcome)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("option", "value"), [("doubt", 1.5), ("patience", 0), ("width", True), ("weighted", 1)])
def test_what_cannot_be_is_refused(option: str, value: object) -> None:
    with pytest.raises(Exception, match=option):
        searcher("revise", **{option: value})
