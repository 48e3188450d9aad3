from __future__ import annotations

import asyncio
import importlib.util
import time
from pathlib import Path

import pytest

from commands.think import Attempt, Observed, attempt, think
from policy.budget import Budget

_spec = importlib.util.spec_from_file_location("guessing", Path(__file__).parent / "fakes.py")
assert _spec is not None and _spec.loader is not None
fakes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fakes)


def start(searcher, budget: str, number: int = 5, proves: bool = True):
    domain = fakes.Guess(proves=proves)
    answers = []
    policy, meter = Observed(fakes.Counting()), Budget.parse(budget).start()
    problem = domain.parse(f"guess {number}")
    return think(problem, policy, domain.judge(), searcher, meter, 0, answers.append), answers, policy


async def test_the_last_answer_stands_and_the_problem_is_sealed():
    thinking, answers, policy = start(fakes.Sweep(), "100tok")
    best = await thinking  # the searcher itself asserts that it sees no reference
    assert best is answers[-1] and best.verified and [a.text for a in answers] == list("012345")
    assert policy.thoughts_at == [6] and policy.greedy_line == ("0",)


async def test_a_deaf_searcher_is_cut_off_at_the_deadline_and_its_answer_kept():
    thinking, _, _ = start(fakes.Sweep(deaf=30.0), "300ms")
    started = time.monotonic()
    best = await thinking
    assert 0.29 < time.monotonic() - started < 10  # not the 30 s of its deaf part, however busy the machine is
    assert best is not None and best.text == "0"


async def test_cancelling_keeps_what_was_handed_on():
    thinking, answers, _ = start(fakes.Sweep(deaf=30.0), "100s")
    task = asyncio.create_task(thinking)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [a.text for a in answers] == ["0"]


async def test_a_failure_is_raised_by_think_and_recorded_by_attempt():
    thinking, _, _ = start(fakes.Sweep(fails_at=2), "100tok")
    with pytest.raises(RuntimeError, match="out of fingers"):
        await thinking
    domain, record, policy = fakes.Guess(), Attempt(), Observed(fakes.Counting())
    meter = Budget.parse("100tok").start()
    await attempt(domain.parse("guess 5"), policy, domain.judge(), fakes.Sweep(fails_at=2), meter, 0, record)
    assert record.error == "RuntimeError: out of fingers" and [a.text for a in record.answers] == ["0", "1"]
    assert (record.tokens, record.simulations) == (4, 2) and record.greedy is record.answers[0]


def test_the_greedy_answer_is_the_first_one_only_if_the_greedy_line_gave_it():
    answer = fakes.Answer("3", 0.5, False, 0.1, 2, 1, ("a", "b"))
    assert Attempt([answer], ("a", "b")).greedy is answer
    assert Attempt([answer], ("a", "c")).greedy is None and Attempt([], ("a",)).greedy is None
