"""The domain of the tutorial keeps what every domain promises."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.change import Change
from verifiers.base import BadProblem, Domain, Judge, Problem, State, split_of

CHANGE = Change()


def test_it_is_a_domain() -> None:
    assert isinstance(CHANGE, Domain) and isinstance(CHANGE.judge(), Judge)
    for split in ("train", "validation", "test"):
        problems = list(islice(CHANGE.problems(split, 0), 20))
        assert len({problem.id for problem in problems}) == 20
        assert all(split_of(problem.id) == split and CHANGE.parse(problem.prompt) == problem for problem in problems)
    with pytest.raises(BadProblem, match="train, validation, test"):
        next(CHANGE.problems("none", 0))


@given(st.integers(0, 2**32))
def test_demonstrations_solve_training_problems(seed: int) -> None:
    problem, thoughts = CHANGE.demonstrate(np.random.default_rng(seed))
    answer = asyncio.run(CHANGE.judge().answer(State(problem, tuple(thoughts))))
    assert split_of(problem.id) == "train" and answer is not None and CHANGE.check(problem, answer).ok


@given(st.integers(0, 2**32))
def test_random_thoughts_are_legal_to_their_end(seed: int) -> None:
    rng, judge = np.random.default_rng(seed), CHANGE.judge()
    state = State(next(CHANGE.problems("train", seed)))
    while (thought := CHANGE.random_thought(state, rng)) is not None:
        assert asyncio.run(judge.check_thought(state, thought)).ok
        state = state.then(thought)
    assert len(state.thoughts) <= state.problem.facts["count"]


@pytest.mark.parametrize(("answer", "status"), [
    ("25 25 10 1 1 1", "correct"), ("25 25 10 1 1 2", "wrong"), ("25 25 10 1 1", "wrong"), ("25 25 5 5 1 1", "wrong"),
    ("50 10 1 1 1 0", "wrong"), ("", "unparsable"), ("25,25", "unparsable"), ("²5 1", "unparsable"),
])
def test_an_answer_is_counted(answer: str, status: str) -> None:
    problem = CHANGE.parse("pay 63 with 25 10 5 1 in 6 coins")
    assert problem is not None and CHANGE.check(problem, answer).status.value == status


@pytest.mark.parametrize("thoughts", [["25, 38 left", "39, 0 left"], ["25, 39 left"], ["25 38"], ["__import__"]])
def test_steps_that_are_not_legal(thoughts: list[str]) -> None:
    problem = CHANGE.parse("pay 63 with 25 10 5 1 in 6 coins")
    assert isinstance(problem, Problem)
    verdict = asyncio.run(CHANGE.judge().check_thought(State(problem, tuple(thoughts[:-1])), thoughts[-1]))
    assert not verdict.ok


def test_what_it_does_not_read() -> None:
    assert CHANGE.parse("4 9 10 13") is None
    with pytest.raises(BadProblem):
        CHANGE.parse("pay 63 with 0 in 6 coins")


@pytest.mark.heavy
def test_its_policy_can_be_trained(tmp_path: Path) -> None:
    """As the tutorial says, for a few steps."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "run_experiment.py", "pretrain", "--config-dir", "examples/conf", "--config-name",
         "pretrain_change", f"run_dir={tmp_path / 'run'}", "imitation.all.schedule.steps=3",
         "imitation.all.schedule.warmup=1", "valuing.schedule.steps=2", "outcomes.change=[4,2]",
         "report={problems: 2, samples: 1}"],
        cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    policy = tmp_path / "run" / "policy"
    assert {"model.safetensors", "value_head.safetensors", "README.md"} <= {path.name for path in policy.iterdir()}
    card = (policy / "README.md").read_text()
    assert "change 100%" in card and "Game of 24" not in card  # it has never seen one
