"""Files of problems and tools inside thoughts, through the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
ROWS = [{"question": "17*24?", "answer": "#### 408"}, {"question": "18*24?", "answer": "#### 432"},
        {"question": "no answer?"}, {"answer": "#### 1"}]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return f"domain.path={path}"


def test_a_calculator_works_inside_thoughts_where_it_is_asked_for(run: Run) -> None:
    ask = ("solve", "What is 17 times 24?", "domain=gsm8k", "policy=telling", "search=greedy", "budget=500tok",
           "output=json")
    [told] = run(*ask, "tools=calculator").objects
    assert (told["answer"], told["policy"]) == ("408", "telling+calculator")
    assert told["thoughts"] == ["17*24=<<17*24=408>>408", "#### 408"]
    [untold] = run(*ask).objects
    assert (untold["answer"], untold["policy"], untold["thoughts"][0]) == ("None", "telling", "17*24=<<17*24=")


def test_rows_without_their_field_are_errors_and_counted_apart(run: Run, file: str) -> None:
    result = run("evaluate", "domain=gsm8k", file, "split=all", "policy=telling", "search=greedy", "budget=500tok",
                 "tools=calculator", "output=json")
    *problems, summary = result.objects
    assert (summary["problems"], summary["solved"], summary["errors"], summary["unparsable"]) == (4, 1, 2, 0)
    broken = [problem for problem in problems if problem["error"] is not None]
    assert sorted(problem["error"] for problem in broken) == [
        "rows.jsonl, row 3 has no text in its field 'answer'", "rows.jsonl, row 4 has no text in its field 'question'"]
    assert all(problem["tokens"] == 0 and not problem["correct"] and problem["answer"] is None for problem in broken)


@pytest.mark.parametrize(("options", "said"), [
    (["domain=gsm8k"], "domain.path"), (["domain=gsm8k", "domain.path=missing.jsonl"], "missing.jsonl"),
    (["domain=gsm8k", "split=dev"], "train, validation, test, all"),
    (["tools=abacus"], "allowed: calculator, none, python"),
    (["domain=custom"], "domain.score is missing"), (["domain=reasoning_gym"], "domain.task is missing"),
    (["domain=reasoning_gym", "domain.task=simple_integration"], "refused: its scorer runs the answer"),
    (["domain=gsm8k", "domain.prompt=nowhere.txt"], "nowhere.txt"),
    (["tools=calculator", "tools.max_result=2", "limit=1"], "max_result"),
])
def test_what_cannot_be_is_refused_in_one_line(run: Run, options: list[str], said: str) -> None:
    assert said in run("evaluate", "policy=telling", "search=greedy", "budget=99tok", *options).complaint


def test_data_sets_need_their_package(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    options = ("domain=humaneval", "domain.path='datasets:no/such:test'")
    said = run("evaluate", "policy=telling", "search=greedy", "budget=99tok", *options).complaint
    assert "needs the package datasets" in said
