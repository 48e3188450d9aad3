from __future__ import annotations

import re
import subprocess
import sys
import time
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.algebra.elementary import Element, Reading, added, differentiated, vanishes
from verifiers.base import BadProblem, Domain, Evidence, Judge, Problem, State, Status, split_of
from verifiers.domains.integral_text import read
from verifiers.domains.integrals import MAX_THOUGHT_CHARS, Integrals
from verifiers.domains.splits import SPLITS

DOMAIN = Integrals()
SEEDS = st.integers(0, 2**63 - 1)


def problem(text: str) -> Problem:
    found = DOMAIN.parse(text)
    assert found is not None
    return found


def test_it_is_a_domain_with_a_judge() -> None:
    assert isinstance(DOMAIN, Domain)
    assert isinstance(DOMAIN.judge(), Judge)


@pytest.mark.parametrize(
    ("text", "prompt", "answer"),
    [("int 3x^2+2x dx", "int 3x^2+2x dx", "x^3+x^2"), ("integrate 3x^2 + 2x", "int 3x^2+2x dx", "x^3+x^2+C"),
     ("\\int 3x^2\\,dx", "int 3x^2 dx", "x^{3} + C"),
     ("What is the integral of cos(2x)?", "int cos(2x) dx", "sin(2x)/2"),
     ("$\\int \\frac{x^{3}}{3} + e^{-x} \\, dx$", "int x^3/3+e^(-x) dx", "\\frac{x^4}{12} - e^{-x} + C"),
     ("\u222b e^{2t} dt", "int e^(2x) dx", "exp(2t)/2"),
     ("antiderivative of 1/(2x+1)", "int 1/(2x+1) dx", "ln|2x+1|/2"),
     ("integrate ln x", "int ln(x) dx", "x ln x - x"), ("int x*sin(x)dx", "int x*sin(x) dx", "sin(x)-x*cos(x)"),
     ("find the integral of sin x cos x with respect to x", "int sin(x)*cos(x) dx", "sin(x)^2/2"),
     ("\\int \\left(2x+1\\right)^3 \\mathrm{d}x", "int (2x+1)^3 dx", "(2x+1)^4/8"), ("int 5", "int 5 dx", "5x"),
     ("int 0.5y dy", "int 1/2x dx", "y^2/4"), ("Integrate (x+1)/x", "int (x+1)/x dx", "x+ln(x)"),
     ("int sin^2(x) dx", "int sin(x)^2 dx", "x/2-sin(2x)/4"), ("compute the integral of x**2", "int x^2 dx", "x^3/3"),
     ("int \\frac12 x dx", "int 1/2x dx", "x^2/4"), ("int 4x\u00b3 dx", "int 4x^3 dx", "x^4")],
)
async def test_parse(text: str, prompt: str, answer: str) -> None:
    found = problem(text)
    assert found.prompt == prompt and problem(prompt).id == found.id and problem(prompt).prompt == prompt
    verdict = await DOMAIN.judge().self_check(found.sealed(), answer)
    assert verdict == DOMAIN.check(found, answer)
    assert verdict is not None and verdict.evidence is Evidence.PROVED, verdict


@pytest.mark.parametrize(
    "text",
    ["", "17*24", "2x+3=7", "4 9 10 13 -> 24", "f(3)=7 f(5)=11", "integer", "interest of 3x", "3x^2 dx", "x", "int",
     "the integral", "print(1)", "def f(x): return int(x)", "\x00", "int " + "x" * 1_000_000],
    ids=lambda text: ascii(text[:16]),
)
def test_parse_leaves_other_texts_alone(text: str) -> None:
    started = time.process_time()
    assert DOMAIN.parse(text) is None
    assert time.process_time() - started < 0.05


@pytest.mark.parametrize(
    ("text", "reason"),
    [("int tan(x) dx", "unexpected"), ("int 2^x dx", "exponent"), ("int x^99 dx", "exponent"),
     ("int sqrt(x) dx", "sqrt"),
     ("int x dy", "not the variable"), ("int x*y dx", "unexpected"), ("int 1/0 dx", "division by zero"),
     ("int dx", "empty"),
     ("int ln(x)+ln(-x) dx", "defined nowhere"), ("int sin(x^2) dx", "ax\\+b"), ("int 1/sin(x) dx", "denominator"),
     ("int 9^9^9 dx", "exponent"), ("int " + "(" * 40 + "x" + ")" * 40, "deeper"), ("int x" + "+x" * 40, "too many"),
     ("int x" + "+x" * 90, "characters"), ("int e de", "cannot be the variable"), ("int \u0663x dx", "unexpected"),
     ("int x from 0 to 1", "unexpected"), ("integrate eval(x)", "unexpected")],
)
def test_parse_refuses_the_impossible(text: str, reason: str) -> None:
    with pytest.raises(BadProblem, match=reason) as caught:
        DOMAIN.parse(text)
    assert "\n" not in str(caught.value) and "allowed" in str(caught.value) and str(caught.value).isascii()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("int 3x^2+2x dx", "integrate 2t+3t^2", True), ("int x(x+1) dx", "int x^2+x dx", True),
     ("int e^x dx", "int exp(x) dx", True), ("int sin(2x) dx", "int 2cos(x)sin(x) dx", True),
     ("int 2x dx", "int 4x dx", False), ("int sin(x) dx", "int cos(x) dx", False)],
)
def test_equal_problems_share_the_id(one: str, other: str, same: bool) -> None:
    assert (problem(one).id == problem(other).id) is same


@pytest.mark.parametrize(
    ("answer", "status"),
    [("x^3+x^2", Status.CORRECT), ("x^2+x^3+5", Status.CORRECT), ("x^2(x+1) + c", Status.CORRECT),
     ("x^3+x^2+ln(2)", Status.CORRECT), ("x^3+x^2+sin(x)^2+cos(x)^2", Status.CORRECT), ("x^3+x^2+e", Status.CORRECT),
     ("3x^3/3+2x^2/2", Status.CORRECT), ("x^3", Status.WRONG), ("x^3+x^2+x/1000000", Status.WRONG), ("0", Status.WRONG),
     ("6x+2", Status.WRONG), ("3x^2+2x", Status.WRONG), ("x^3+x^2+sin(x)^2", Status.WRONG),
     ("x^3+x^2+ln(x)-ln|x|", Status.CORRECT), ("x^3+x^2+ln(x)-ln(2x)", Status.CORRECT),
     ("x^3+x^2+0ln(x)+0ln(-x)", Status.WRONG), ("x^3+x^2+0/0", Status.UNPARSABLE), ("", Status.UNPARSABLE),
     ("C", Status.UNPARSABLE), ("t^3+t^2", Status.UNPARSABLE), ("x^3+x^2 or x^3", Status.UNPARSABLE),
     ("int(3x^2+2x)", Status.UNPARSABLE), ("x^3+x^2+x^2^9", Status.UNPARSABLE), ("x**3+x**2", Status.CORRECT),
     ("\\boxed{x^3+x^2}", Status.UNPARSABLE), ("x\u00b3+x\u00b2", Status.CORRECT), ("x^\u0663+x^2", Status.UNPARSABLE),
     ("9^9^9", Status.UNPARSABLE), ("(" * 100_000, Status.UNPARSABLE), ("x" * 1_000_000, Status.UNPARSABLE),
     ("\ud800", Status.UNPARSABLE), ("\x00x^3", Status.UNPARSABLE), ("__import__('os')", Status.UNPARSABLE),
     ("x^3+x^2+1/(exp(x)+1)", Status.UNPARSABLE), ("(sin(x)+cos(2x)+exp(x)+x)^12", Status.UNPARSABLE),
     ("{" * 200, Status.UNPARSABLE), ("\\frac" * 40, Status.UNPARSABLE), ("|" * 99, Status.UNPARSABLE)],
    ids=lambda text: ascii(str(text)[:24]),
)
async def test_answers_are_differentiated_exactly(answer: str, status: Status) -> None:
    posed = problem("int 3x^2+2x dx")
    started = time.process_time()
    verdict = await DOMAIN.judge().self_check(posed.sealed(), answer)
    assert time.process_time() - started < 1
    assert verdict is not None and verdict.status is status and "\n" not in verdict.detail, verdict
    assert verdict.evidence is (Evidence.PROVED if status is Status.CORRECT else Evidence.NONE)
    assert DOMAIN.check(posed, answer) == verdict


@pytest.mark.parametrize(
    ("integrand", "answer", "status"),
    [("ln(x)", "x*ln(x)-x", Status.CORRECT), ("ln(x)", "x ln(2x)-x-x*ln(2)", Status.CORRECT),
     ("ln(x)", "x*ln|x|-x", Status.CORRECT), ("ln(x)", "x*ln(-x)-x", Status.WRONG), ("1/x", "ln(-x)", Status.CORRECT),
     ("ln(1-x)", "(x-1)ln(1-x)-x", Status.CORRECT), ("ln(1-x)", "(x-1)ln(x-1)-x", Status.WRONG),
     ("2/x", "ln(x)+ln(-x)", Status.WRONG), ("1/(2x+1)", "ln(4x+2)/2", Status.CORRECT),
     ("1/x", "log(x)", Status.CORRECT),
     ("exp(x)*sin(x)", "exp(x)*(sin(x)-cos(x))/2", Status.CORRECT), ("exp(x)/x", "exp(x)", Status.WRONG),
     ("(x^2-1)/(x-1)", "x^2/2+x", Status.CORRECT), ("sin(x)cos(x)", "-cos(2x)/4", Status.CORRECT)],
)
def test_other_integrals(integrand: str, answer: str, status: Status) -> None:
    assert DOMAIN.check(problem(f"int {integrand} dx"), answer).status is status


@given(SEEDS)
async def test_demonstrations_are_legal_and_right(seed: int) -> None:
    posed, thoughts = DOMAIN.demonstrate(np.random.default_rng(seed))
    judge, state = DOMAIN.judge(), State(posed.sealed())
    again = problem(posed.prompt)
    assert (again.id, again.prompt, again.facts) == (posed.id, posed.prompt, posed.facts)
    assert split_of(posed.id) == "train" and 1 <= len(thoughts) <= 8
    for thought in thoughts:
        assert await judge.answer(state) is None, state
        assert (await judge.check_thought(state, thought)).ok, (state, thought)
        assert len(thought) <= 44 and thought.isascii() and thought.isprintable()
        state = state.then(thought)
    answer = await judge.answer(state)
    assert answer is not None and DOMAIN.check(posed, answer).ok, state


def slope(line: str, inner: str = "x") -> Element:
    """The derivative of a line: every int(g) in it counts as something whose derivative is g (times that of u)."""
    holes = re.findall(r"int\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)", line)
    bare = line
    for hole in holes:
        bare = bare.replace(f"int({hole})", "(0)", 1)

    def element(text: str) -> Element:
        text = re.sub("u", f"({inner})", text) if inner != "x" else text
        return Reading().element(read(text, max_operands=40))

    total = differentiated(element(bare))
    for i, hole in enumerate(holes):
        alone = line
        for j, other in enumerate(holes):
            alone = alone.replace(f"int({other})", f"({hole if i == j else 0})", 1)
        part = added(element(alone), element(bare), -1)
        if inner != "x":
            part = Reading()._product(part, differentiated(element(inner)))
        total = added(total, part)
    return total


@given(SEEDS)
def test_every_demonstrated_line_is_true(seed: int) -> None:
    posed, thoughts = DOMAIN.demonstrate(np.random.default_rng(seed))
    integrand = Reading().element(read(str(posed.facts["integrand"])))
    for line in thoughts:
        if ", v=" in line:
            u, v = line[2:].split(", v=")
            found = Reading()._product(Reading().element(read(u)), slope(v))
        elif line.startswith("u="):
            inner, _, rest = line[2:].partition(": ")
            found = slope(rest, inner)
        else:
            found = slope(line)
        assert vanishes(added(found, integrand, -1)), (posed.prompt, line)


def test_lines_of_thought_differ() -> None:
    """The same problem is worked on in several ways."""
    ways: dict[str, set[tuple[str, ...]]] = {}
    rng = np.random.default_rng(0)
    for _ in range(1500):
        posed, thoughts = DOMAIN.demonstrate(rng)
        ways.setdefault(posed.prompt, set()).add(tuple(thoughts))
    assert sum(len(found) > 1 for found in ways.values()) > 50


@given(SEEDS)
async def test_random_thoughts_are_legal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    state, judge = State(DOMAIN.demonstrate(rng)[0].sealed()), DOMAIN.judge()
    while len(state.thoughts) < 20 and (thought := DOMAIN.random_thought(state, rng)) is not None:
        assert (await judge.check_thought(state, thought)).ok, (state, thought)
        state = state.then(thought)


async def test_random_thoughts_finish_and_are_sometimes_right() -> None:
    rng, right, finished = np.random.default_rng(1), 0, 0
    for posed in [p for p in islice(DOMAIN.problems("validation", 0), 250) for _ in range(2)]:
        state = State(posed.sealed())
        while len(state.thoughts) < 12 and (thought := DOMAIN.random_thought(state, rng)) is not None:
            state = state.then(thought)
        answer = await DOMAIN.judge().answer(state)
        finished += answer is not None
        right += answer is not None and DOMAIN.check(posed, answer).ok
    assert finished > 400 and 1 < right < 100


@pytest.mark.parametrize("line", ["gibberish", "x^2=", "int(", "u=x: ", "u=x, v=", "int()", "u=u: u", "3int(x)+",
"int(((("])
async def test_random_thoughts_recover_from_any_line(line: str) -> None:
    state, rng = State(problem("int 3x^2+2x dx"), (line,)), np.random.default_rng(0)
    for _ in range(20):
        thought = DOMAIN.random_thought(state, rng)
        assert thought is not None and (await DOMAIN.judge().check_thought(state, thought)).ok


@pytest.mark.parametrize(
    ("thought", "status"),
    [("x^3+int(2x)", Status.CORRECT), ("x^9+int(7x)", Status.CORRECT), ("3int(x^2)+int(2x)", Status.CORRECT),
     ("x^3+x^2", Status.CORRECT), ("u=3x: int(u)/3", Status.CORRECT), ("u=x, v=exp(x)", Status.CORRECT),
     ("int(3x^2+2x)", Status.WRONG), ("3x^2=2", Status.UNPARSABLE), ("u=x", Status.UNPARSABLE),
     ("u=y: int(u)", Status.UNPARSABLE), ("u=x: int(x)", Status.UNPARSABLE), ("", Status.UNPARSABLE),
     ("t^2", Status.UNPARSABLE), ("x" * 1_000_000, Status.UNPARSABLE), ("u=" + "x" * 40 + ": u" * 9, Status.UNPARSABLE),
     ("int(int(x))", Status.CORRECT), ("x^(9^9)", Status.CORRECT), ("x^\u0663", Status.UNPARSABLE)],
    ids=lambda text: ascii(str(text)[:24]),
)
async def test_check_thought_looks_at_form(thought: str, status: Status) -> None:
    started = time.process_time()
    assert (await DOMAIN.judge().check_thought(State(problem("int 3x^2+2x dx")), thought)).status is status
    assert time.process_time() - started < 0.05


@pytest.mark.parametrize(
    ("text", "thoughts", "answer"),
    [("int 3x^2 dx", (), None), ("int 3x^2 dx", ("x^3",), "x^3"), ("int 3x^2 dx", ("3int(x^2)",), None),
     ("int exp(2t) dt", ("exp(2x)/2",), "exp(2t)/2"), ("int cos(2x) dx", ("u=2x: sin(u)/2",), None),
     ("int x*exp(x) dx", ("u=x, v=exp(x)",), None), ("int 3x^2 dx", ("x^3+",), None),
     ("int 3x^2 dx", ("x" * MAX_THOUGHT_CHARS + "x",), None)],
)
async def test_answer(text: str, thoughts: tuple[str, ...], answer: str | None) -> None:
    state = State(problem(text), thoughts)
    assert await DOMAIN.judge().answer(state) == answer
    if answer is not None:
        assert not (await DOMAIN.judge().check_thought(state, "x^4")).ok
        assert DOMAIN.random_thought(state, np.random.default_rng(0)) is None
        assert DOMAIN.check(problem(text), answer).ok


def test_splits_are_disjoint_distinct_and_repeatable() -> None:
    ids = {split: [p.id for p in islice(DOMAIN.problems(split, 7), 250)] for split in SPLITS}
    assert all(len(set(found)) == 250 for found in ids.values())
    assert len(set().union(*ids.values())) == 750
    assert ids["test"] == [p.id for p in islice(DOMAIN.problems("test", 7), 250)]
    assert ids["test"] != [p.id for p in islice(DOMAIN.problems("test", 8), 250)]
    with pytest.raises(BadProblem, match="train, validation, test"):
        DOMAIN.problems("tot100", 0)


def test_generated_references_are_antiderivatives() -> None:
    for posed in islice(DOMAIN.problems("test", 3), 300):
        assert posed.reference is not None and DOMAIN.check(posed, posed.reference).ok


def test_sympy_is_never_loaded() -> None:
    code = ("import sys, numpy; from verifiers.domains.integrals import Integrals; d = Integrals(); "
            "assert d.check(d.parse('int ln(x) dx'), 'x*ln(x)-x').ok; d.demonstrate(numpy.random.default_rng(0)); "
            "assert 'sympy' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="integrals needs"):
        Integrals(max_operands=1)
