"""Functions from files: the head or the sentence is put, public examples self-check, hidden tests grade."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from verifiers.base import BadProblem, Evidence, Problem, State, Status
from verifiers.datasets.code_problems import CodeProblems, docstring_tests

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
HUMANEVAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "HumanEval.jsonl.gz"


def humaneval(path: Path | None = SAMPLES / "humaneval.jsonl") -> CodeProblems:
    return CodeProblems("humaneval", None if path is None else str(path))


def mbpp(path: Path = SAMPLES / "mbpp.jsonl") -> CodeProblems:
    return CodeProblems("mbpp", str(path), question="text", tests="test_list", entry_point=None, solution="code",
                        setup="test_setup_code", public=1, prompt="conf/prompts/mbpp.txt")


def rows(path: Path) -> list[dict[str, Any]]:
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return [json.loads(line) for line in text.splitlines()]


def solution(row: dict[str, Any]) -> str:
    return str(row.get("canonical_solution") or row["code"])


@pytest.mark.parametrize("domain", [humaneval(), mbpp()], ids=lambda domain: domain.name)
def test_solutions_pass_and_the_solutions_of_others_fail(domain: CodeProblems) -> None:
    problems = list(domain.problems("all", 0))
    solutions = [solution(row) for row in rows(Path(domain.path or ""))]
    assert len(problems) == len(solutions) >= 10
    for index, problem in enumerate(problems):
        verdict = domain.check(problem, solutions[index])
        assert verdict.ok and verdict.evidence is Evidence.NONE, (problem.prompt, verdict)
        for wrong in ("    return None\n", f"def {problem.facts['entry_point']}(*a):\n    return None\n",
                      solutions[index - 1]):
            assert domain.check(problem, wrong).status in (Status.WRONG, Status.UNPARSABLE), (problem.prompt, wrong)


def test_hidden_tests_are_in_the_reference_only() -> None:
    for domain in (humaneval(), mbpp()):
        for problem, row in zip(domain.problems("all", 0), rows(Path(domain.path or "")), strict=True):
            hidden = row["test"] if "test" in row else row["test_list"][1]
            sealed = problem.sealed()
            assert hidden in json.loads(problem.reference or "")[-1 if "test" in row else 1]["code"]
            assert hidden not in sealed.prompt and hidden not in json.dumps(dict(sealed.facts))


async def test_public_examples_check_but_never_prove() -> None:
    problem = next(humaneval().problems("all", 0))
    judge = humaneval().judge()
    good = await judge.self_check(problem.sealed(), "    return 2 * n\n")
    fits_only = await judge.self_check(problem.sealed(), "    return 8\n")
    bad = await judge.self_check(problem.sealed(), "    return n\n")
    assert good is not None and fits_only is not None and bad is not None
    assert good.ok and good.evidence is Evidence.PUBLIC_TESTS and fits_only.ok and bad.status is Status.WRONG
    assert humaneval().check(problem, "    return 8\n").status is Status.WRONG
    unshout = list(humaneval().problems("all", 0))[2]
    assert await judge.self_check(unshout.sealed(), "    return s") is None


async def test_the_judge_reads_lines() -> None:
    problem = list(humaneval().problems("all", 0))[1].sealed()
    judge, state = humaneval().judge(), State(problem)
    for line in ("    kept = []", "    for n in numbers:", "        if n % 2 == 0:", "            kept.append(n)"):
        assert (await judge.check_thought(state, line)).ok
        state = state.then(line)
        assert await judge.answer(state) is None
    answer = await judge.answer(state.then("    return kept"))
    assert answer is not None and answer.startswith("from typing import List") and answer.endswith("return kept")
    assert humaneval().check(list(humaneval().problems("all", 0))[1], answer).ok
    stuck = State(problem, ("x", "x"))
    assert (await judge.check_thought(stuck, "x")).status is Status.WRONG
    assert (await judge.check_thought(State(problem, ("x",)), "x")).ok
    assert (await judge.check_thought(state, "x" * 5000)).status is Status.UNPARSABLE


def test_prompts() -> None:
    head = rows(SAMPLES / "humaneval.jsonl")[0]["prompt"]
    assert next(humaneval().problems("all", 0)).prompt + "\n" == head
    shown = next(mbpp().problems("all", 0))
    assert shown.prompt.split("\n")[:3] == [
        "Write a Python function add. Write a function to add two numbers.", "It must pass this test:",
        "assert add(1, 2) == 3"]
    assert "assert add(-1, 1)" not in shown.prompt
    assert [problem.facts["entry_point"] for problem in mbpp().problems("all", 0)][:4] == [
        "add", "flip", "circle_area", "shared"]


def test_a_person_can_ask_with_a_head() -> None:
    problem = humaneval(None).parse("def f(x):\n    ''' Twice.\n    >>> f(2)\n    4\n    '''")
    assert problem is not None and problem.facts["entry_point"] == "f" and len(problem.facts["public"]) == 1
    with pytest.raises(BadProblem, match="reads the head of a function"):
        humaneval(None).parse("Write a program")


@pytest.mark.parametrize(("row", "fault"), [
    ({"test": "def check(c): pass", "entry_point": "f"}, "has no text in its field 'prompt'"),
    ({"prompt": "def f():\n", "entry_point": "f"}, "has no tests in its field 'test'"),
    ({"prompt": "def f():\n", "entry_point": "f", "test": []}, "has no tests in its field 'test'"),
    ({"prompt": "def f():\n", "entry_point": "f", "test": [1]}, "has no tests in its field 'test'"),
    ({"prompt": "def f():\n", "test": "def check(c): pass"}, "has no text in its field 'entry_point'"),
])
def test_a_row_without_its_field_is_an_error(row: dict[str, Any], fault: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    domain = humaneval(path)
    [problem] = domain.problems("all", 0)
    verdict = domain.check(problem, "    return 1")
    assert problem.fault == f"rows.jsonl, row 1 {fault}" == verdict.detail
    assert verdict.status is Status.ERROR and verdict.reward == 0


def test_a_name_that_no_test_calls_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "Do.", "code": "def f():\n    pass", "test_list": ["assert g() is None"]}))
    [problem] = mbpp(path).problems("all", 0)
    assert problem.fault == "rows.jsonl, row 1: its tests call no function that it defines"


@pytest.mark.parametrize(("answer", "status"), [
    ("    return 2 *", Status.UNPARSABLE), ("", None), ("\x00", None), ("\udcff", None), ("(" * 100_000, None),
    ("    while True: pass", Status.TIMEOUT), ("    raise ValueError(n)", Status.WRONG), ("x" * 2_000_000, None),
    ("    import os\n    os._exit(0)", Status.WRONG), ("```python\ndef double(n):\n    return 2 * n\n```", None),
])
def test_hostile_answers(answer: str, status: Status | None) -> None:
    domain = humaneval()
    verdict = domain.check(next(domain.problems("all", 0)), answer)
    assert verdict.status is status if status else verdict.status in (Status.WRONG, Status.UNPARSABLE), verdict
    assert verdict.reward == 0


def test_examples_of_docstrings() -> None:
    head = ('def f(x):\n    """ A.\n    >>> f(1)\n    2\n    >>> f(\n    ...   2)\n    [3,\n     4]\n'
            '    >>> x = f(3)\n    >>> f(4)\n    an error\n    >>> len(f(5))\n    6\n'
            '    >>> f("a")\n    \'b\'\n    """\n')
    assert docstring_tests(head, "f") == ["assert (f(1)) == (2)", "assert (f(\n  2)) == ([3,\n 4])",
                                          "assert (f(\"a\")) == ('b')"]
    plain = ('def f(x):\n    """ A.\n    f(1) == 2\n    * f([3]) => "a"\n    f(x) -> 5\n    f(6) ==> g\n'
             '    g(7) == 8\n    """')
    assert docstring_tests(plain, "f") == ["assert (f(1)) == (2)", 'assert (f([3])) == ("a")']
    assert docstring_tests("    >>> f(1)\n  2", "f") == [] == docstring_tests("", "f")
    assert docstring_tests(f"    >>> f(1)\n    {'[' * 400}{']' * 400}", "f") == []


def test_a_problem_can_be_sealed_only_once_it_is_posed() -> None:
    problem = next(humaneval().problems("all", 0))
    assert isinstance(problem, Problem) and problem.sealed().reference is None
    with pytest.raises(ValueError, match="reference"):
        humaneval().check(problem.sealed(), "")


# The examples in these docstrings are not what their tests demand: another number, and ("Venus") for ("Venus",).
WRONG_EXAMPLES = {"median", "bf"}


@pytest.mark.heavy
async def test_all_of_humaneval() -> None:
    if not HUMANEVAL.exists():
        pytest.skip(f"no {HUMANEVAL.name} in ../shared/data")
    domain = humaneval(HUMANEVAL)
    judge, problems, failed, refuted, checked = domain.judge(), list(domain.problems("all", 0)), [], set(), 0
    assert len(problems) == 164 and not any(problem.fault for problem in problems)
    for problem, row in zip(problems, rows(HUMANEVAL), strict=True):
        if not domain.check(problem, row["canonical_solution"]).ok:
            failed.append(row["task_id"])
        verdict = await judge.self_check(problem.sealed(), row["canonical_solution"])
        checked += verdict is not None
        if verdict is not None and not verdict.ok:
            refuted.add(row["entry_point"])
    assert failed == [] and refuted == WRONG_EXAMPLES and checked >= 110
