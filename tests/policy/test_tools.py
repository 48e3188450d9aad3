"""Thoughts are completed by a tool before a searcher sees them, and charged for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from policy.base import Policy, Sampling
from policy.budget import Budget, Meter
from policy.scripted import Scripted, evenly
from policy.tools import Tool, Tooled
from search.base import Answer
from tests.search.riddles import CONF
from verifiers.base import Completion, Problem, State
from verifiers.calculator import Calculator
from verifiers.datasets.question_answers import QuestionAnswers
from verifiers.python_tool import PythonTool

START = State(Problem("p", "d", "p", {}))


async def say(policy: Policy, state: State = START, k: int = 9, meter: Meter | None = None,
              sampling: Sampling = Sampling.DISTINCT) -> list[tuple[str, int, bool]]:
    meter = meter or Budget(tokens=1000).start()
    thoughts = await policy.propose(state, k, sampling=sampling, seed=1, meter=meter)
    return [(thought.text, thought.tokens, thought.complete) for thought in thoughts]


async def test_thoughts_are_completed_and_charged() -> None:
    scripted = Scripted({(): [("<<2*3=", -1.0, 0.4), ("plain", -2.0, 0.5), ("cut <<2*3=\x1b", -3.0, 0.1)]})
    policy = Tooled(scripted, Calculator())
    assert isinstance(policy, Policy) and isinstance(Calculator(), Tool)
    assert policy.version == "scripted+calculator"
    assert await say(policy) == [("<<2*3=6>>6", 7 + 4, True), ("plain", 6, True), ("cut <<2*3=", 12, False)]
    thoughts = await policy.propose(START, 2, sampling=Sampling.DISTINCT, seed=1, meter=Budget(tokens=99).start())
    assert [(thought.logprob, thought.value) for thought in thoughts] == [(-1.0, 0.4), (-2.0, 0.5)]
    assert await say(policy, sampling=Sampling.GREEDY) == [("<<2*3=6>>6", 11, True)]
    assert await say(policy, START.then("nothing")) == []


async def test_nothing_is_charged_more_than_was_promised() -> None:
    thoughts = [f"<<{call}=" for call in ("1/0", "10^39", "x" * 190, "2/3", "1" * 150, "10^50")]
    inner = Scripted({(): evenly(*thoughts)}, max_thought_tokens=200)
    policy = Tooled(inner, Calculator())
    assert policy.max_thought_tokens == 200 + Calculator().max_chars
    said = await say(policy)
    assert len(said) == 6 and all(tokens <= policy.max_thought_tokens for _, tokens, _ in said)


@dataclass
class Slow:
    """A tool that takes its time."""

    version: str = "slow"
    max_chars: int = 4

    async def complete(self, state: State, thought: str) -> Completion | None:
        await asyncio.sleep(60)
        return Completion(len(thought), "late")


async def test_a_call_that_outlasts_the_deadline_leaves_a_dead_thought() -> None:
    policy = Tooled(Scripted({(): evenly("a", "b")}), Slow())
    async with asyncio.timeout(5):
        assert await say(policy, meter=Budget(seconds=0.2).start()) == [("a", 2, False), ("b", 2, False)]


class Closing(Scripted):
    closed = False

    def close(self) -> None:
        self.closed = True


def test_closing_closes_the_policy() -> None:
    inner = Closing({})
    Tooled(inner, Calculator()).close()
    assert inner.closed
    Tooled(Scripted({}), Calculator()).close()


async def found(name: str, script: dict[tuple[str, ...], object], policy_of: object, budget: str) -> Answer:
    domain = QuestionAnswers("gsm8k", marker="####", prompt="conf/prompts/gsm8k.txt")
    problem = domain.ask("What is 17 times 24?")
    searcher = instantiate(OmegaConf.load(CONF / f"{name}.yaml"))
    meter = Budget.parse(budget).start()
    answers = [answer async for answer in searcher.search(problem, policy_of, domain.judge(), meter, 0)]
    assert meter.tokens <= (meter.budget.tokens or 0)
    return answers[-1]


@pytest.mark.parametrize("name", ["greedy", "self_consistency", "mcts", "beam", "tot_bfs", "levin"])
async def test_search_goes_on_from_the_result(name: str) -> None:
    call, done = "17*24=<<17*24=", "17*24=<<17*24=408>>408"
    script = {(): evenly(call, "17*24=<<17*24=400>>400"), (done,): evenly("#### 408")}
    policy = Tooled(Scripted(script, max_thought_tokens=40), Calculator())
    answer = await found(name, script, policy, "2000tok")
    assert (answer.text, answer.thoughts) == ("408", (done, "#### 408"))


async def test_python_in_a_line_of_thought() -> None:
    closed = "```\n```output\n408\n```"
    script = {(): evenly("```python"), ("```python",): evenly("print(17*24)"),
              ("```python", "print(17*24)"): evenly("```"),
              ("```python", "print(17*24)", closed): evenly("The answer is 408.")}
    policy = Tooled(Scripted(script, max_thought_tokens=40), PythonTool())
    answer = await found("greedy", script, policy, "4000tok")
    assert answer.text == "408" and answer.thoughts[2] == closed
