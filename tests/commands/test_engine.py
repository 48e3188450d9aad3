from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from commands import engine as module
from commands.engine import Engine, SearchFailed, composed, load
from commands.errors import BadInput
from policy.base import Policy, Thought
from policy.budget import BadBudget
from search.thinking import Thinking


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with load("policy=uniform") as engine:
        yield engine


def test_three_lines_solve_a_problem(engine: Engine) -> None:
    result = engine.think("1 2 3 4", budget="5000tok")
    assert result.verified and result.domain == "game24" and result.tokens > 0
    assert "=" not in (result.answer or "=") and sorted(re.findall(r"\d+", result.answer or "")) == ["1", "2", "3", "4"]
    again = engine.think("1 2 3 4", budget="5000tok")
    assert replace(again, seconds=0.0) == replace(result, seconds=0.0)


async def test_it_thinks_inside_a_running_loop_too(engine: Engine) -> None:
    found = await asyncio.gather(*(engine.think_async(f"{n} 2 3 4", budget="3000tok") for n in (1, 4, 6)))
    assert [result.problem for result in found] == ["1 2 3 4", "4 2 3 4", "6 2 3 4"]
    assert engine.think("1 2 3 4", budget="300tok").problem == "1 2 3 4"  # as a notebook does


async def test_answers_come_one_by_one_and_the_tree_can_be_looked_at(engine: Engine) -> None:
    trees: list[Thinking] = []
    task = engine.task("1 2 3 4", budget="5000tok")
    answers = [answer async for answer in engine.answers(task, search="mcts", on_thinking=trees.append)]
    assert answers[-1].verified and task.record.final == answers[-1]
    assert trees[0].tree.visits > 0


async def test_leaving_early_ends_the_thinking(engine: Engine) -> None:
    task = engine.task("2*x = 4", budget="1h", domain="equations")
    found = engine.answers(task, search="best_of_n")
    async for _ in found:
        break
    await found.aclose()  # type: ignore[attr-defined]
    assert task.meter.seconds < 60 and len(asyncio.all_tasks()) == 1


def test_refusals_are_one_line(engine: Engine) -> None:
    for text, more in (("", {}), ("what is love", {}), ("1 2 3 4", {"domain": "nothing"}), ("\ud800", {})):
        with pytest.raises(BadInput):
            engine.think(text, **more)
    with pytest.raises(BadInput, match="mcts"):
        engine.think("1 2 3 4", search="none such")
    with pytest.raises(BadBudget):
        engine.think("1 2 3 4", budget="soon")
    with pytest.raises(BadInput):
        load("policy=uniform", "budgett=3s")


async def test_a_search_that_fails_says_so(engine: Engine) -> None:
    class Broken:
        version, max_thought_tokens = "broken", 10

        async def propose(self, *_: object, **__: object) -> list[object]:
            raise OSError("no more\nwater")

    broken: Policy = Broken()  # type: ignore[assignment]
    task = engine.task("1 2 3 4")
    task.policy._policy = broken
    with pytest.raises(SearchFailed, match="OSError: no more water"):
        await engine.run(task)


async def test_a_search_that_fails_late_keeps_the_answer_that_stood(engine: Engine) -> None:
    task = engine.task("What is 17 * 24?", budget="60s")  # no answer is ever proved
    given, calls = task.policy._policy, count()

    class Breaking:
        version, max_thought_tokens = given.version, given.max_thought_tokens

        async def propose(self, *inputs: Any, **more: Any) -> list[Thought]:
            if next(calls) > 40:
                raise OSError("no more water")
            return await given.propose(*inputs, **more)

    task.policy._policy = Breaking()
    result = await engine.run(task, search="best_of_n")
    assert result.answer is not None and result.answer == task.record.answers[-1].text
    assert result.failure == "OSError: no more water" and not result.verified


@pytest.mark.parametrize("policy", ["uniform", "shipped"])
def test_closing_ends_what_somebody_waits_for(policy: str) -> None:
    said: list[str] = []

    def wait() -> None:
        with pytest.raises(SearchFailed) as failed:
            engine.think("1 1 1 1 2 2 -> 9999", budget="60s", domain="countdown", search="best_of_n")
        said.append(str(failed.value))

    engine = load(f"policy={policy}")
    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(1)
    assert waiting.is_alive()
    engine.close()
    waiting.join(10)
    assert said == ["the engine was closed"]


def test_threads_that_come_at_once_load_one_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Policy] = []
    given = module.load_policy

    def slowly(*args: Any, **more: Any) -> Policy:
        time.sleep(0.2)
        made.append(given(*args, **more))
        return made[-1]

    monkeypatch.setattr(module, "load_policy", slowly)
    with load("policy=uniform") as engine, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: engine.task("1 2 3 4", budget="300tok"), range(4)))
        assert len(found) == 4 and len(made) == 1


@pytest.mark.parametrize("problem", [None, 24, b"1 2 3 4", ["1 2 3 4"]])
def test_a_problem_is_a_text(engine: Engine, problem: Any) -> None:
    with pytest.raises(BadInput, match="must be a text"):
        engine.think(problem)


@pytest.mark.parametrize("around", ["values=hidden", "generator=propose"])
def test_a_decoder_is_seen_through_what_is_around_it(around: str) -> None:
    with load("policy=shipped", around) as engine:
        [decoder] = engine._decoders()
        assert engine.alive and engine.rows == 0
        decoder.close()  # type: ignore[attr-defined]
        assert not engine.alive


def test_nothing_is_left_running() -> None:
    before = set(threading.enumerate())
    engine = Engine(composed("solve", ["policy=uniform", "domain=game24"]))
    assert engine.think("1 2 3 4", budget="300tok").domain == "game24"
    engine.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before
