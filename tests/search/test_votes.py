from __future__ import annotations

import math

import pytest

from policy.base import Thought
from policy.budget import Budget
from policy.scripted import Scripted
from search.thinking import Thinking
from search.tree import Outcome, Step
from search.votes import TreeVotes, Votes
from tests.search.riddles import SECRET, THINKERS, RiddleJudge, Script, riddle, solve
from verifiers.base import Problem, State, Verdict


class Lenient(RiddleJudge):
    """Proves the right answer, and cannot tell of any other whether it is wrong."""

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        verdict = await super().self_check(problem, answer)
        return verdict if verdict is not None and verdict.ok else None


@pytest.mark.parametrize("name", THINKERS)
async def test_a_proof_outweighs_any_number_of_votes(name: str) -> None:
    likely = [(f"={number}", -2.0 - number / 100, 0.99) for number in range(6)]
    script = {(): [*likely, (f"={SECRET}", -3.0, 0.01)]}
    found = await solve(name, script, "3000tok", judge=Lenient())
    assert not found[0].verified and found[-1].verified and found[-1].text == SECRET


def thinking() -> Thinking:
    return Thinking(riddle(), Scripted({}), RiddleJudge(False), Budget(tokens=9).start(), 0)


def line(answer: str, value: float | None, *thoughts: str, logprob: float = 0.0) -> Step:
    state = State(riddle(), (*thoughts, f"={answer}"))
    return Step(Thought(f"={answer}", logprob, 2, value), state, Outcome.FINISHED, answer)


@pytest.mark.parametrize(("by_value", "leader"), [(False, "1"), (True, "2")])
def test_votes_weighted_by_value_or_not(by_value: bool, leader: str) -> None:
    votes = Votes(by_value)
    for answer, value in (("1", 0.1), ("1", 0.2), ("2", 0.9)):
        votes.add(line(answer, value), 1.0)
    standing = votes.stand(thinking())
    assert standing is not None and standing.text == leader


def test_confidence_is_the_share_and_the_best_value_as_if_independent() -> None:
    plain, valued = Votes(), Votes()
    for answer, value in (("1", 0.5), ("1", 0.8), ("2", 0.9)):
        plain.add(line(answer, None), 1.0)
        valued.add(line(answer, value), 1.0)
    first, second = plain.stand(thinking()), valued.stand(thinking())
    assert first is not None and first.confidence == pytest.approx(3 / 5)  # a vote of each kind is added
    assert second is not None and second.confidence == pytest.approx(1 - 2 / 5 * 0.2)


class Spelled(RiddleJudge):
    """Proves nothing, but knows that 2.0 is 2."""

    def canonical(self, answer: str) -> str:
        return answer.removesuffix(".0")


def test_spellings_of_an_answer_vote_together_and_the_heaviest_is_shown() -> None:
    votes = Votes(canonical=Spelled().canonical)
    standing, current = None, thinking()
    for answer, weight in (("1", 3.0), ("2.0", 1.5), ("2", 1.0), ("1", 0.5), ("2", 1.2)):
        votes.add(line(answer, None, answer), weight)
        standing = votes.stand(current) or standing
    assert standing is not None and standing.text == "2" and standing.thoughts == ("2", "=2")
    average = 7.2 / 5
    assert standing.confidence == pytest.approx((3.7 + average) / (7.2 + 2 * average))


VOTERS = [name for name in THINKERS if name != "best_of_n"]


@pytest.mark.parametrize("name", VOTERS)
async def test_a_search_groups_the_spellings_that_its_judge_knows(name: str) -> None:
    # Trees draw each text once and weigh it; chains draw entries evenly, so that the texts recur in proportion.
    split = [(text, math.log(p), None) for text, p, n in (("=1", 0.44, 3), ("=2", 0.28, 2), ("=2.0", 0.28, 2))
             for _ in range(n)]
    script: Script = {(): [("a", math.log(0.6), None), ("b", math.log(0.4), None)], ("a",): [*split], ("b",): [*split]}
    plain = await solve(name, script, "3000tok", judge=RiddleJudge(False))
    grouped = await solve(name, script, "3000tok", judge=Spelled(False))
    assert plain[-1].text == "1" and grouped[-1].text in ("2", "2.0")


def test_dead_and_refuted_lines_have_no_vote() -> None:
    votes = Votes()
    for outcome in (Outcome.DEAD, Outcome.REFUTED, Outcome.OPEN):
        votes.add(Step(Thought("=1", 0.0, 2, 0.9), State(riddle(), ("=1",)), outcome, "1"), 1.0)
    assert votes.stand(thinking()) is None


def test_two_ways_count_for_more_than_one_likelier_way_and_no_line_votes_twice() -> None:
    current = thinking()
    votes = TreeVotes(current)
    for way, answer, logprob in (("a", "1", -1.0), ("b", "2", -1.5), ("c", "2", -1.5), ("a", "1", -1.0)):
        votes.add([line(answer, 0.5, way, logprob=logprob)])
    standing = votes.stand(current)
    assert standing is not None and standing.text == "2"
