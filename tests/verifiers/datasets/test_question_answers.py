"""Questions from files: GSM8K and MATH, split by content, graded as mathematics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verifiers.base import BadProblem, Problem, State, Status, split_of
from verifiers.datasets.question_answers import QuestionAnswers

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def gsm8k(path: Path | str | None = SAMPLES / "gsm8k.jsonl", **options: Any) -> QuestionAnswers:
    return QuestionAnswers("gsm8k", None if path is None else str(path), marker="####", **options)


def math(path: Path | str = SAMPLES / "math.jsonl", **options: Any) -> QuestionAnswers:
    return QuestionAnswers("math", str(path), question="problem", **options)


def rows_file(folder: Path, *rows: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_all_is_the_file_in_its_order() -> None:
    problems = list(gsm8k().problems("all", 0))
    assert [problem.reference for problem in problems[:4]] == ["60", "1,080", "21", "4.50"]
    assert problems[0].prompt.splitlines()[-2].endswith("How many rolls are left?")
    assert problems[0].facts == {"row": "gsm8k.jsonl, row 1"}
    assert problems[0].prompt.endswith("Solution:")


def test_splits_are_disjoint_shuffled_and_by_content() -> None:
    domain = gsm8k()
    every = [problem.id for problem in domain.problems("all", 0)]
    parts = {split: [p.id for p in domain.problems(split, 3)] for split in ("train", "validation", "test")}
    assert sorted(every) == sorted(id for part in parts.values() for id in part)
    assert all(split_of(id) == split for split, ids in parts.items() for id in ids)
    again = [problem.id for problem in domain.problems("train", 4)]
    assert again != parts["train"] and sorted(again) == sorted(parts["train"])
    with pytest.raises(BadProblem, match="train, validation, test, all"):
        domain.problems("dev", 0)


def test_a_question_is_the_same_in_other_spacing_and_in_other_data_sets(tmp_path: Path) -> None:
    path = rows_file(tmp_path, {"question": "How  many?", "answer": "1"}, {"question": "how many?\n", "answer": "1"})
    [problem] = QuestionAnswers("a", str(path)).problems("all", 0)
    [other] = QuestionAnswers("b", str(path), prompt="conf/prompts/math_chatml.txt").problems("all", 0)
    assert problem.id == other.id and problem.prompt != other.prompt


def test_a_row_without_its_field_is_an_error_and_never_a_reward(tmp_path: Path) -> None:
    path = rows_file(tmp_path, {"question": "fine?", "answer": "#### 1"}, {"question": "no answer?"}, {"answer": "x"},
                     "{broken", {"question": "no marker?", "answer": "7"}, {"question": "?", "answer": "a ####  "})
    domain = gsm8k(path)
    problems = list(domain.problems("all", 0))
    assert [problem.fault for problem in problems] == [
        "", "rows.jsonl, row 2 has no text in its field 'answer'", "rows.jsonl, row 3 has no text in its field "
        "'question'", "rows.jsonl, row 4: not JSON", "rows.jsonl, row 5 has no answer after '####' in its field "
        "'answer'", "rows.jsonl, row 6 has no answer after '####' in its field 'answer'"]
    for problem in problems[1:]:
        for answer in ("", "7", "1", problem.prompt):
            verdict = domain.check(problem, answer)
            assert (verdict.status, verdict.reward, verdict.detail) == (Status.ERROR, 0.0, problem.fault)
        assert problem.sealed().fault == problem.fault
    assert len({problem.id for problem in problems}) == len(problems)


@pytest.mark.parametrize(("answer", "status"), [
    ("1080", Status.CORRECT), ("1,080", Status.CORRECT), ("1080.0", Status.CORRECT), ("#### 1080", Status.CORRECT),
    ("first 7.\nThe answer is 1080.", Status.CORRECT), (r"so \boxed{1080}", Status.CORRECT),
    ("1081", Status.WRONG), ("10801080", Status.WRONG), (r"\boxed{1080} no: \boxed{1081}", Status.WRONG),
    ("1080 or 1081", Status.UNPARSABLE), (r"\boxed{1080} or \boxed{1081}", Status.UNPARSABLE),
    ("", Status.UNPARSABLE), ("x" * 1_000_001, Status.UNPARSABLE), ("\udcff\x00", None), ("9" * 100_000, None),
    ("((((" * 10_000, None), ("9^9^9^9", None),
])
def test_grading(answer: str, status: Status | None) -> None:
    domain = gsm8k()
    problem = list(domain.problems("all", 0))[1]
    verdict = domain.check(problem, answer)
    if status is None:
        assert verdict.status in (Status.WRONG, Status.UNPARSABLE)
    else:
        assert verdict.status is status, verdict
    assert verdict.reward == (status is Status.CORRECT)


def test_a_reference_that_nobody_can_read_is_an_error_of_its_row(tmp_path: Path) -> None:
    [problem] = gsm8k(rows_file(tmp_path, {"question": "?", "answer": "#### ((("})).problems("all", 0)
    verdict = gsm8k().check(problem, "4")
    assert verdict.status is Status.ERROR and verdict.detail.startswith("rows.jsonl, row 1: the reference"), verdict


def test_tolerance_is_the_problems_policy(tmp_path: Path) -> None:
    path = rows_file(tmp_path, {"question": "pi?", "answer": "3.14159"})
    cases: list[tuple[dict[str, Any], str, bool]] = [
        ({}, "3.1416", False), ({"digits": 5}, "3.1416", True), ({"relative": 0.01}, "3.15", True),
        ({"relative": 0.01}, "3.2", False),
    ]
    for options, answer, fits in cases:
        domain = QuestionAnswers("math", str(path), **options)
        [problem] = domain.problems("all", 0)
        assert domain.check(problem, answer).ok is fits, (options, answer)


@pytest.mark.parametrize(("answer", "fits"), [
    ("9 eggs", True), ("9 egg", True), ("9 duck eggs", True), ("9 dollars", True), ("$9", True), ("9", True),
    ("9 zonks", False), ("9 duck zonks", False), ("9 dozens", False), ("9 eggses", False), ("9 unrelated", False),
    ("9 eggs per duck", True), ("9 eggs per zonk", False), ("8 eggs", False), ("x = 9 zonks", False), ("9 km", True),
])
def test_what_is_counted_is_what_the_problem_speaks_of(answer: str, fits: bool, tmp_path: Path) -> None:
    path = rows_file(tmp_path, {"question": "A duck lays 3 Eggs a day. How many eggs in 3 days?", "answer": "#### 9"})
    domain = gsm8k(path)
    [problem] = domain.problems("all", 0)
    assert domain.check(problem, answer).ok is fits


@pytest.mark.parametrize(("gold", "answer", "fits"), [
    ("26000", "513^2 - 487^2", False), ("26000", "26,000", True), ("26000", "x = 513^2-487^2 = 26000", True),
    ("26000", "26000 = 513^2-487^2", False), ("1024", "2^{10}", False), ("120", "5!", False), ("2", r"\sqrt4", False),
    ("77", "462/6", False), ("77", "-(-77)", True), ("12", r"3\cdot4", False), (r"\frac34", "6/8", True),
    (r"\frac34", "0.75", True), (r"\frac34", r"75\%", True), (r"\frac34", r"\frac{1}{2}+\frac{1}{4}", False),
    ("-5", "-5", True), ("-5", "2-7", False), ("602000", r"6.02\times10^5", True), ("0.05", r"5\cdot 10^{-2}", True),
    ("600", r"60\cdot 10", False), ("600", r"60\cdot 10^1", False),
    (r"2\sqrt3", r"\sqrt{12}", True), ("2^{10}", "1024", True), ("2^{10}", "2^{10}", True), (r"\{5\}", "5", True),
    ("5", r"\{2+3\}", False), (r"5^\circ", "5", True), ("3", "9/3", False), ("50", r"5000\%", True),
])
def test_a_number_is_worked_out(gold: str, answer: str, fits: bool, tmp_path: Path) -> None:
    path = rows_file(tmp_path, {"question": "How much is it?", "answer": gold})
    domain = QuestionAnswers("math", str(path), bare_numbers=True)
    [problem] = domain.problems("all", 0)
    assert domain.check(problem, answer).ok is fits


@pytest.mark.parametrize("field", ["question", "answer"])
def test_half_a_character_is_a_fault_of_its_row_alone(field: str, tmp_path: Path) -> None:
    fine = {"question": "fine?", "answer": "1"}
    path = rows_file(tmp_path, fine, {"question": "b?", "answer": "2", field: "\ud800 2"})
    domain = QuestionAnswers("math", str(path))
    assert [bool(problem.fault) for problem in domain.problems("all", 0)] == [False, True]
    with pytest.raises(BadProblem, match="surrogate"):
        domain.parse("b \udcff?")


def test_a_sealed_problem_cannot_be_graded_and_an_asked_one_has_no_reference() -> None:
    domain = gsm8k(None)
    problem = domain.parse("How many legs has a cat?")
    assert problem is not None and problem.reference is None and "legs has a cat?" in problem.prompt
    with pytest.raises(ValueError, match="reference"):
        domain.check(problem, "4")
    assert domain.parse(" \n") is None
    with pytest.raises(BadProblem, match=r"domain\.path"):
        domain.problems("all", 0)


def test_there_are_no_thoughts_to_draw_or_to_show() -> None:
    domain, rng = gsm8k(), np.random.default_rng(0)
    problem = next(domain.problems("all", 0))
    assert domain.random_thought(State(problem), rng) is None
    with pytest.raises(BadProblem, match="no demonstrations"):
        domain.demonstrate(rng)


@pytest.mark.parametrize("prompt", ["missing.txt", "README.md", "tests/samples", "\x00"])
def test_a_prompt_that_is_none_is_refused(prompt: str) -> None:
    with pytest.raises(BadProblem):
        gsm8k(prompt=prompt)


def test_braces_in_questions_are_text(tmp_path: Path) -> None:
    question = r"Is $\{question\} {question} {tests} {0} {entry_point}$ a set?"
    [problem] = gsm8k(rows_file(tmp_path, {"question": question, "answer": "#### 1"})).problems("all", 0)
    assert f"Problem: {question}\n" in problem.prompt


async def test_a_line_of_thought_ends_with_its_answer() -> None:
    judge = gsm8k().judge()
    state = State(Problem("i", "gsm8k", "p", {}))
    for thought in ("12*20=240 rolls.", "240-180=60 are left."):
        assert (await judge.check_thought(state, thought)).ok
        state = state.then(thought)
        assert await judge.answer(state) is None
    assert await judge.answer(state.then("#### 60")) == "60"
    assert await judge.answer(state.then("So the answer is 60.")) == "60"
    assert await judge.answer(state.then(r"\boxed{\begin{pmatrix} 1 \\").then(r"2 \end{pmatrix}}")) is not None
    assert await judge.self_check(state.problem, "60") is None
    assert (await judge.check_thought(state, "240-180=60 are left.")).status is Status.WRONG
    assert (await judge.check_thought(state, "x" * 5000)).status is Status.UNPARSABLE


@pytest.mark.parametrize("domain", [gsm8k(), math()], ids=lambda domain: domain.name)
def test_every_sample_equals_itself_and_no_other(domain: QuestionAnswers) -> None:
    problems = list(domain.problems("all", 0))
    answers = [problem.reference or "" for problem in problems]
    assert len(set(answers)) >= len(answers) - 1 >= 9
    for problem in problems:
        for answer in answers:
            assert domain.check(problem, answer).ok == (answer == problem.reference), (problem.prompt, answer)


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "count"), [("gsm8k_test.jsonl", 1319), ("math500.jsonl", 500)])
def test_every_row_of_the_real_files(name: str, count: int) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"there is no {name} beside the project")
    domain = gsm8k(DATA / name) if "gsm8k" in name else math(DATA / name)
    problems = list(domain.problems("all", 0))
    assert len(problems) == count and not any(problem.fault for problem in problems)
    assert [p.prompt for p in problems if not domain.check(p, p.reference or "").ok] == []
    parts = [list(domain.problems(split, 0)) for split in ("train", "validation", "test")]
    assert sum(map(len, parts)) == count and all(parts)
