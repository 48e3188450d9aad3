"""A user's score function: what it says counts, and whatever goes wrong in it is never a reward."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from verifiers.base import BadProblem, State, Status
from verifiers.datasets.custom import Custom
from verifiers.datasets.score_workers import Fate, ScoreWorkers

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
GRADER = SAMPLES / "grader.py"


def custom(function: str = "score", path: Path | None = SAMPLES / "custom.jsonl", **options: Any) -> Custom:
    return Custom("custom", f"{GRADER}:{function}", None if path is None else str(path), **options)


def children() -> set[str]:
    """Processes below this one."""
    below, found = {str(os.getpid())}, set[str]()
    for _ in range(4):
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, fields = stat.parent.name, stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[1] in below and fields[0] != "Z":
                found.add(name)
        below |= found
    return found


def test_scores() -> None:
    domain = custom()
    problems = list(domain.problems("all", 0))
    assert len(problems) == 12 and problems[0].facts == {"row": "custom.jsonl, row 1"}
    for problem, answer, status, reward in [
        (problems[0], "Paris", Status.CORRECT, 1.0), (problems[0], "Lyons", Status.WRONG, 0.5),
        (problems[0], "", Status.WRONG, 0.0), (problems[1], "dog", Status.CORRECT, 1.0),
        (problems[1], "\udcff\x00\n", Status.WRONG, 0.5), (problems[1], "x" * 1_000_001, Status.UNPARSABLE, 0.0),
    ]:
        verdict = domain.check(problem, answer)
        assert (verdict.status, verdict.reward) == (status, reward), verdict


@pytest.mark.parametrize(("said", "status", "reward"), [
    ("one", Status.CORRECT, 1.0), ("true", Status.CORRECT, 1.0), ("false", Status.WRONG, 0.0),
    ("third", Status.WRONG, 1 / 3), ("nan", Status.ERROR, 0.0), ("inf", Status.ERROR, 0.0), ("two", Status.ERROR, 0.0),
    ("minus", Status.ERROR, 0.0), ("text", Status.ERROR, 0.0), ("none", Status.ERROR, 0.0), ("list", Status.ERROR, 0.0),
    ("tuple", Status.ERROR, 0.0), ("huge", Status.ERROR, 0.0), ("no such key", Status.ERROR, 0.0),
    ("bytes", Status.ERROR, 0.0), ("just above", Status.ERROR, 0.0),
])
def test_what_is_no_score_is_an_error(said: str, status: Status, reward: float) -> None:
    domain = custom("says")
    verdict = domain.check(next(domain.problems("all", 0)), said)
    assert (verdict.status, verdict.reward) == (status, reward), verdict


@pytest.mark.parametrize(("way", "status"), [
    ("raise", Status.ERROR), ("exit", Status.ERROR), ("die", Status.ERROR), ("hang", Status.TIMEOUT),
    ("spin", Status.TIMEOUT), ("child", Status.TIMEOUT), ("memory", Status.ERROR),
])
def test_failures_end_in_time_and_leave_nothing(way: str, status: Status) -> None:
    before = children()
    domain = custom("fails", timeout=0.5, memory_mb=1024)
    problem = next(domain.problems("all", 0))
    began = time.monotonic()
    verdict = domain.check(problem, way)
    assert (verdict.status, verdict.reward) == (status, 0.0), verdict
    assert verdict.detail.startswith("custom.jsonl, row 1: ")
    assert time.monotonic() - began < 5
    again = domain.check(problem, "raise")
    assert again.status is Status.ERROR and "KeyError" in again.detail
    domain.close()
    assert children() <= before


@pytest.mark.parametrize("way", ["late", "early"])
def test_a_child_does_not_answer(way: str) -> None:
    domain = custom("forks", workers=1)
    problem = next(domain.problems("all", 0))
    assert domain.check(problem, way).reward == 0.0
    time.sleep(0.4)
    assert domain.check(problem, "plain").reward == 0.25
    domain.close()


def test_what_it_prints_is_no_answer() -> None:
    domain = custom("loud")
    assert domain.check(next(domain.problems("all", 0)), "x").reward == 0.0


def test_a_question_of_a_person_is_scored_too() -> None:
    domain = custom(path=None)
    problem = domain.parse("What is it?")
    assert problem is not None
    assert domain.check(problem, "None").reward == 0.5  # as long as the answer that is not there
    with pytest.raises(BadProblem, match="has no problems until"):
        domain.problems("all", 0)


def test_a_row_without_its_field_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"answer": "x"}\n')
    domain = custom(path=path)
    [problem] = domain.problems("all", 0)
    verdict = domain.check(problem, "x")
    assert verdict.status is Status.ERROR and verdict.detail == "rows.jsonl, row 1 has no text in its field 'question'"


@pytest.mark.parametrize("score", [
    "score", "missing.py:score", f"{GRADER}:", f"{GRADER}:a b", ":score", "tests/samples:score",
])
def test_an_address_that_is_none_is_refused(score: str) -> None:
    with pytest.raises(BadProblem, match="allowed"):
        Custom("custom", score)


@pytest.mark.parametrize("score", [f"{GRADER}:missing", "no.such.module", "math.pi", f"{SAMPLES / 'custom.jsonl'}:x"])
def test_a_function_that_cannot_be_loaded_is_an_error(score: str) -> None:
    domain = Custom("custom", score, str(SAMPLES / "custom.jsonl"))
    verdict = domain.check(next(domain.problems("all", 0)), "x")
    assert verdict.status is Status.ERROR and "cannot be loaded" in verdict.detail


@pytest.mark.parametrize("options", [{"timeout": 0.0}, {"timeout": float("nan")}, {"workers": 0}, {"memory_mb": 0},
                                     {"answers": "guessed"}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        custom(**options)


async def test_answers_between_tags() -> None:
    judge = custom(answers="tagged").judge()
    problem = next(custom().problems("all", 0)).sealed()
    for text, answer in [
        ("<answer>Paris</answer>", "Paris"), ("<answer> a\nb\n</answer> so", "a\nb"), ("no tags", None),
        ("<answer>a</answer><answer>b</answer>", "b"), ("<answer></answer>", None), ("</answer><answer>", None),
        ("<answer>a</answer> or <answer>b", "a"), ("<answer>open", None), ("<answer><answer>a</answer>", "a"),
    ]:
        assert await judge.answer(State(problem, tuple(text.split("\n")))) == answer, text
    assert await judge.self_check(problem, "Paris") is None


def test_a_function_of_a_module() -> None:
    workers = ScoreWorkers("math.gcd", 5)
    assert workers.call(12, 18).value == 6
    assert workers.call("a").fate is Fate.RAISED
    workers.close()
    assert workers.call(4, 6).value == 2
    workers.close()


def test_many_threads_at_once() -> None:
    workers = ScoreWorkers("operator.add", 5, size=3)
    before = children()
    with ThreadPoolExecutor(8) as threads:
        assert [reply.value for reply in threads.map(workers.call, range(200), range(200))] == list(range(0, 400, 2))
    assert len(children() - before) <= 3
    workers.close()
    assert children() <= before


def test_who_died_between_two_scores_is_no_fault_of_the_next() -> None:
    domain = custom("forks", workers=1)
    problem = next(domain.problems("all", 0))
    assert domain.check(problem, "plain").reward == 0.25
    [process] = domain._workers._idle
    os.kill(process._process.pid, signal.SIGKILL)
    process._process.wait(5)
    assert domain.check(problem, "plain").reward == 0.25
    domain.close()


def test_a_forked_process_has_workers_of_its_own() -> None:
    domain = custom("forks", workers=1)
    problem = next(domain.problems("all", 0))
    assert domain.check(problem, "plain").reward == 0.25
    [process] = domain._workers._idle
    child = os.fork()
    if not child:
        good = domain.check(problem, "plain").reward == 0.25
        domain.close()
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert process.alive and domain.check(problem, "plain").reward == 0.25
    domain.close()
