"""Values and generators of thoughts, through the command line and in a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from commands.engine import load

Run = Callable[..., Any]
ASK = ("solve", "4 9 10 13 -> 24", "domain=countdown", "policy=uniform", "policy.max_thought_tokens=32", "output=json")


@pytest.mark.parametrize(("options", "version"), [
    (["values=hidden"], "uniform+hidden"),
    (["values=agreement", "values.rollouts=2", "values.max_tokens=64"], "uniform+agreement-2x64"),
    (["tools=calculator", "generator=propose", "values=asking", "search=tot_bfs"], "uniform+calculator+propose-"),
])  # fmt: skip
def test_a_policy_is_wrapped_in_what_is_asked_for(run: Run, options: list[str], version: str) -> None:
    [told] = run(*ASK, "budget=1500tok", *options).objects
    assert told["policy"].startswith(version) and told["tokens"] <= 1500


def test_an_evaluation_is_done_with_the_same_values(run: Run) -> None:
    *problems, summary = run("evaluate", "domain=game24", "policy=uniform", "search=mcts", "limit=2", "budget=900tok",
                      "values=agreement", "values.rollouts=2", "output=json").objects
    assert summary["errors"] == 0 and all(0 < problem["tokens"] <= 900 for problem in problems)


@pytest.mark.parametrize(("options", "said"), [
    (["values=oracle"], "allowed: agreement, asking, hidden, none, reward_model"),
    (["generator=dream"], "allowed: propose, sample"), (["values=agreement", "values.rollouts=1"], "rollouts"),
    (["values=reward_model"], "path"), (["values=reward_model", "values.path=./nowhere"], "no reward model folder"),
    (["values=agreement", "budget=100tok"], "holds no thought"),
    (["values=asking", "values.max_tokens=8"], "allowed: 32"),
    (["generator=propose", "generator.prompt=nowhere.txt"], "cannot read the prompt"),
])  # fmt: skip
def test_what_cannot_be_is_refused(run: Run, options: list[str], said: str) -> None:
    assert said in run(*ASK, *options).complaint


@pytest.mark.parametrize("search", ["revise", "budget_forcing"])
def test_sequential_thinking_in_a_program(search: str) -> None:
    with load("policy=uniform", f"search={search}", "values=hidden") as engine:
        result = engine.think("3 3 8 8", budget="400tok")
    assert result.policy == "uniform+hidden" and result.tokens <= 400
