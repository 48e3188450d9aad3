from __future__ import annotations

import subprocess
import sys
import time
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.algebra.expression import evaluate, parse_expression
from verifiers.base import BadProblem, Domain, Evidence, Judge, Problem, State, Status, split_of
from verifiers.domains import arithmetic as module
from verifiers.domains.arithmetic import Arithmetic
from verifiers.domains.splits import SPLITS

DOMAIN = Arithmetic()


def problem(text: str) -> Problem:
    found = DOMAIN.parse(text)
    assert found is not None
    return found


def test_it_is_a_domain_with_a_judge() -> None:
    assert isinstance(DOMAIN, Domain)
    assert isinstance(DOMAIN.judge(), Judge)


@pytest.mark.parametrize(
    ("text", "prompt", "reference"),
    [("What is 17 * 24?", "17*24", "408"), ("17*24", "17*24", "408"), ("Compute (3+4)*12", "(3+4)*12", "84"),
     ("17 x 24", "17*24", "408"), ("17 \u00d7 24 = ?", "17*24", "408"), ("1428 \u00f7 17", "1428/17", "84"),
     ("what's 5 \u2212 8", "5-8", "-3"), ("7/2", "7/2", "7/2"), ("Calculate: ((12))*(3)=", "12*3", "36"),
     ("How much is -3*4 ?", "-3*4", "-12"), ("10 x 5", "10*5", "50"), ("0 x 5", "0*5", "0"),
     ("2*-3", "2*(-3)", "-6")],
)
def test_parse(text: str, prompt: str, reference: str) -> None:
    found = problem(text)
    assert (found.prompt, found.reference, found.facts["expression"]) == (prompt, reference, prompt)


@pytest.mark.parametrize(
    "text",
    ["", "   ", "5", "-5", "(5)", "1 2 3 4", "4 9 10 13", "4 9 10 13 -> 24", "1,2,3", "2x+3=7", "x=3*4-2", "3+4=7",
     "2x", "hello", "4!", "2^9", "0x18", "1_000+1", "\u0663+\u0664", "${oc.env:HOME}", "\\frac{1}{2}", "1+" * 500_000],
    ids=lambda text: ascii(text[:16]),
)
def test_parse_leaves_other_texts_alone(text: str) -> None:
    assert DOMAIN.parse(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [("1/0", "division by zero"), ("5/(3-3)", "division by zero"), ("17**24", "unexpected"), ("7//2", "unexpected"),
     ("1.5*4", "whole numbers"), ("(1+2", "missing"), ("1+", "breaks off"), ("+".join("1" * 20), "too many"),
     ("9" * 13 + "+1", "digits"), ("*".join(["999999999999"] * 4), "digits")],
)
def test_parse_refuses_the_impossible(text: str, reason: str) -> None:
    with pytest.raises(BadProblem, match=reason) as caught:
        DOMAIN.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [("17*24", "24*17"), ("1+2+3", "3+1+2"), ("(3+4)*12", "12*(4+3)"), ("5-3", "-3+5"), ("(17)*24", "17*24"),
     ("8/2*3", "3*8/2"), ("1-(2-3)", "1+3-2"), ("-3*4", "4*-3")],
)
def test_order_does_not_change_the_id(one: str, other: str) -> None:
    assert problem(one).id == problem(other).id


@pytest.mark.parametrize(("one", "other"), [("17*24", "17*25"), ("5-3", "3-5"), ("8/2", "2/8"), ("2*3+4", "2*(3+4)"),
                                            ("12*3", "1*23"), ("8/(2*3)", "8/2*3"), ("1+12", "11+2")])
def test_different_problems_have_different_ids(one: str, other: str) -> None:
    assert problem(one).id != problem(other).id


@given(st.integers(0, 2**63 - 1))
async def test_demonstrations_are_legal_and_right(seed: int) -> None:
    posed, thoughts = DOMAIN.demonstrate(np.random.default_rng(seed))
    judge, state = DOMAIN.judge(), State(posed)
    value = evaluate(parse_expression(posed.prompt))
    assert value.denominator == 1 and len(posed.prompt) <= 20 and 1 <= len(thoughts) <= 8
    assert split_of(posed.id) == "train"
    assert problem(posed.prompt) == posed and problem(posed.prompt).reference == posed.reference
    for thought in thoughts:
        assert await judge.answer(state) is None
        assert (await judge.check_thought(state, thought)).ok
        assert evaluate(parse_expression(thought[1:])) == value and len(thought) <= 40
        state = state.then(thought)
    answer = await judge.answer(state)
    assert answer is not None
    assert DOMAIN.check(posed, answer).ok


def test_lines_of_thought_differ() -> None:
    lines = {DOMAIN.demonstrate(np.random.default_rng(seed))[1][0] for seed in range(200)}
    assert len(lines) > 190
    from verifiers.domains.arithmetic_steps import work_out

    rng = np.random.default_rng(0)
    assert len({tuple(work_out([(1, ("*", 17, 24))], rng)) for _ in range(200)}) >= 8


@given(st.integers(0, 2**63 - 1))
async def test_random_thoughts_are_legal_and_finish(seed: int) -> None:
    rng = np.random.default_rng(seed)
    state, judge = State(DOMAIN.demonstrate(rng)[0].sealed()), DOMAIN.judge()
    while (thought := DOMAIN.random_thought(state, rng)) is not None:
        assert (await judge.check_thought(state, thought)).ok
        state = state.then(thought)
    assert len(state.thoughts) < 12 and await judge.answer(state) is not None


async def test_random_thoughts_cannot_calculate() -> None:
    rng = np.random.default_rng(0)
    right = 0
    for posed in islice(DOMAIN.problems("validation", 0), 300):
        state = State(posed.sealed())
        while (thought := DOMAIN.random_thought(state, rng)) is not None:
            state = state.then(thought)
        right += DOMAIN.check(posed, state.thoughts[-1][1:]).ok
    assert right < 15


@pytest.mark.parametrize("line", ["=408", "gibberish", "=1+", "=(408)", ""])
def test_random_thought_gives_up_where_there_is_nothing_to_do(line: str) -> None:
    state = State(problem("17*24"), (line,))
    assert DOMAIN.random_thought(state, np.random.default_rng(0)) is None


async def test_check_thought_never_evaluates_and_there_is_no_self_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> Fraction:
        raise AssertionError("evaluated")

    posed = problem("17*24").sealed()
    judge = DOMAIN.judge()
    monkeypatch.setattr(module, "evaluate", forbidden)
    for thought in ("=999999", "=17*20+17*4", "=1+1", "=1/0", "=-3", "=7/2", "=1/(2-2)"):
        assert (await judge.check_thought(State(posed), thought)).status is Status.CORRECT
    assert await judge.self_check(posed, "408") is None
    assert await judge.self_check(posed, "999") is None


@pytest.mark.parametrize(
    ("thoughts", "thought", "status"),
    [((), "=17*24", Status.WRONG), (("=340+68",), "=340+68", Status.WRONG), (("=408",), "=409", Status.WRONG),
     ((), "408", Status.UNPARSABLE), ((), "=", Status.UNPARSABLE), ((), "=4**4", Status.UNPARSABLE),
     ((), "=0x18", Status.UNPARSABLE), ((), "=2x", Status.UNPARSABLE), ((), "==3", Status.UNPARSABLE),
     ((), "=" + "1+" * 29 + "1", Status.UNPARSABLE), ((), "=" + "(" * 30 + "1" + ")" * 29, Status.UNPARSABLE),
     ((), "=" + "9" * 1_000_000, Status.UNPARSABLE), ((), "=\u0664", Status.UNPARSABLE)],
)
async def test_check_thought_refuses(thoughts: tuple[str, ...], thought: str, status: Status) -> None:
    verdict = await DOMAIN.judge().check_thought(State(problem("17*24"), thoughts), thought)
    assert verdict.status is status and verdict.reward == 0


async def test_a_fraction_is_an_answer_only_when_reduced() -> None:
    """Otherwise `1428/17`, or twice both, would be its own answer."""
    posed, judge = problem("1428/17"), DOMAIN.judge()
    for thought in ("=1428/17", "=2856/34", "=84/1"):
        assert await judge.answer(State(posed, (thought,))) is None
        assert DOMAIN.check(posed, thought[1:]).status is Status.UNPARSABLE
    assert await judge.answer(State(problem("7/2"), ("=7/2",))) == "7/2"
    assert (await judge.check_thought(State(problem("7/2")), "=7/2")).ok


@pytest.mark.parametrize(
    ("answer", "status"),
    [("408", Status.CORRECT), (" 408 ", Status.CORRECT), ("408.0", Status.CORRECT), ("409", Status.WRONG),
     ("-408", Status.WRONG), ("408.0000001", Status.WRONG), ("4080", Status.WRONG), ("1/2", Status.WRONG),
     ("17*24", Status.UNPARSABLE), ("816/2", Status.UNPARSABLE), ("408 409", Status.UNPARSABLE),
     ("the answer is 408", Status.UNPARSABLE), ("", Status.UNPARSABLE), ("0x198", Status.UNPARSABLE),
     ("4e2", Status.UNPARSABLE), ("408/0", Status.UNPARSABLE), ("\u0664\u0660\u0668", Status.UNPARSABLE),
     ("nan", Status.UNPARSABLE), ("9" * 1_000_000, Status.UNPARSABLE), ("408\n", Status.UNPARSABLE)],
    ids=lambda text: ascii(str(text)[:16]),
)
def test_check(answer: str, status: Status) -> None:
    started = time.process_time()
    verdict = DOMAIN.check(problem("17*24"), answer)
    assert verdict.status is status and verdict.reward == (status is Status.CORRECT)
    assert verdict.evidence is Evidence.NONE
    assert time.process_time() - started < 0.05


def test_check_of_fractions_is_exact() -> None:
    assert DOMAIN.check(problem("7/2"), "3.5").ok
    assert DOMAIN.check(problem("1/3"), "1/3").ok
    assert DOMAIN.check(problem("1/3"), "0.33333333").status is Status.WRONG


def test_a_sealed_problem_is_not_graded() -> None:
    with pytest.raises(ValueError, match="sealed"):
        DOMAIN.check(problem("17*24").sealed(), "408")


def test_splits_are_disjoint_distinct_and_repeatable() -> None:
    ids = {split: [p.id for p in islice(DOMAIN.problems(split, 7), 300)] for split in SPLITS}
    assert all(len(set(found)) == 300 for found in ids.values())
    assert len(set().union(*ids.values())) == 900
    assert ids["test"] == [p.id for p in islice(DOMAIN.problems("test", 7), 300)]
    assert ids["test"] != [p.id for p in islice(DOMAIN.problems("test", 8), 300)]
    with pytest.raises(BadProblem, match="train, validation, test"):
        DOMAIN.problems("tot100", 0)


def test_sympy_is_never_loaded() -> None:
    """Cold start: reading a problem must not load heavy libraries."""
    code = ("import sys; from verifiers.domains.arithmetic import Arithmetic; Arithmetic().parse('17*24'); "
            "assert 'sympy' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("bad", [{"max_digits": 1}, {"max_digits": 7}, {"max_terms": 1}, {"max_operands": 3}])
def test_arguments_are_checked(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="arithmetic needs"):
        Arithmetic(**bad)  # type: ignore[arg-type]
