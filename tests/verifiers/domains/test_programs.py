from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers import sandboxes
from verifiers.base import BadProblem, Domain, Evidence, Judge, Problem, State, Status, split_of
from verifiers.domains.program_expression import outputs, read_program
from verifiers.domains.program_steps import ONE, TWO, behaviour, sample
from verifiers.domains.programs import Programs
from verifiers.domains.splits import SPLITS
from verifiers.sandbox import SandboxRefused

DOMAIN = Programs()
LINE = "f(3)=7 f(5)=11 f(0)=1"
CHOICE = "f(4)=2 f(7)=22 f(10)=5 f(3)=10"
SEEDS = st.integers(0, 2**63 - 1)


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    sandboxes.close_sandboxes()


def problem(text: str) -> Problem:
    found = DOMAIN.parse(text)
    assert found is not None
    return found


def test_it_is_a_domain_with_a_judge() -> None:
    assert isinstance(DOMAIN, Domain)
    assert isinstance(DOMAIN.judge(), Judge)


@pytest.mark.parametrize(
    ("text", "prompt"),
    [(LINE, LINE), ("Find f with g(1,2)=3, g(2,2)=4", "f(1,2)=3 f(2,2)=4"), ("f(3) = 7; f( 5 )=11 and f(0)==1.", LINE),
     ("What is f if f(3)=7 and f(5)=11?", "f(3)=7 f(5)=11"), ("the function f(x): f(1)=2, f(2)=-4", "f(1)=2 f(2)=-4"),
     ("f(-1)=\u22122 f(2)=4", "f(-1)=-2 f(2)=4"), ("f(1)=2 f(1)=2 f(2)=3", "f(1)=2 f(2)=3"),
     ("F(1)=01\nF(2)=2", "f(1)=1 f(2)=2")],
)
def test_parse(text: str, prompt: str) -> None:
    found = problem(text)
    assert (found.prompt, found.id, found.facts) == (prompt, problem(prompt).id, problem(prompt).facts)
    assert json.loads(json.dumps(found.facts)) == found.facts


@pytest.mark.parametrize(
    "text",
    ["", "17*24", "2x+3=7", "2x+y=7; x-y=2", "4 9 10 13 -> 24", "int 3x^2 dx", "f(3)=7", "3x(x+1)=4", "print(1)",
     "x=1, y=2",
     "def f(x): return x", "\x00", "f(1)=" + "9" * 1000 + " f(2)=1", "f(1)=1 " * 200_000],
    ids=lambda text: ascii(text[:16]),
)
def test_parse_leaves_other_texts_alone(text: str) -> None:
    started = time.process_time()
    assert DOMAIN.parse(text) is None
    assert time.process_time() - started < 0.05


@pytest.mark.parametrize(
    "text",
    ["f(3)=7 g(5)=11", "f(3)=7 f(3)=8", "f(3)=7 f(1,2)=8", "f(x)=2x f(1)=2", "f(1)=1.5 f(2)=3", "f('a')='b' f('c')='d'",
     "f(1,2,3)=4 f(1,2,4)=5", "f(1)=2 f(2)=3 and so on", "f(9999999)=1 f(2)=2", "f(1)=99999999 f(2)=2", "f()=1 f()=2",
     "f(\u0663)=7 f(5)=11", "f(1)=1 " + " ".join(f"f({i + 100000})={i}" for i in range(12)), "f(1)=2 f(1)=2"],
    ids=lambda text: ascii(text[:24]),
)
def test_parse_refuses_the_impossible(text: str) -> None:
    with pytest.raises(BadProblem, match="allowed") as caught:
        DOMAIN.parse(text)
    assert "\n" not in str(caught.value) and str(caught.value).isascii()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [(LINE, "f(0)=1 f(3)=7 f(5)=11", True), ("f(1,2)=3 f(2,2)=5", "f(2,2)=5 f(2,1)=3", True),
     (LINE, "g(3)=7 g(5)=11 g(0)=1", True),
     (LINE, "f(3)=7 f(5)=11", False), ("f(1,2)=3 f(2,2)=5", "f(1,2)=3 f(2,2)=4", False)],
)
def test_equal_problems_share_the_id(one: str, other: str, same: bool) -> None:
    assert (problem(one).id == problem(other).id) is same


@given(SEEDS)
async def test_demonstrations_are_legal_and_right(seed: int) -> None:
    posed, thoughts = DOMAIN.demonstrate(np.random.default_rng(seed))
    judge, state = DOMAIN.judge(), State(posed.sealed())
    again = problem(posed.prompt)
    assert (again.id, again.prompt, again.facts) == (posed.id, posed.prompt, posed.facts)
    assert split_of(posed.id) == "train" and 1 <= len(thoughts) <= 8
    for thought in thoughts:
        assert await judge.answer(state) is None, state
        verdict = await judge.check_thought(state, thought)
        assert verdict.ok, (state, thought, verdict)
        assert len(thought) <= 44 and thought.isascii() and thought.isprintable()
        state = state.then(thought)
    answer = await judge.answer(state)
    assert answer is not None and DOMAIN.check(posed, answer).ok, state
    verdict = await judge.self_check(posed.sealed(), answer)
    assert verdict is not None and verdict.ok and verdict.evidence is Evidence.PUBLIC_TESTS


@given(SEEDS)
def test_a_program_is_its_text(seed: int) -> None:
    program = sample(np.random.default_rng(seed))
    assert outputs(read_program(program.text), program.grid.columns) == list(program.column)


def test_programs_that_do_the_same_are_one_behaviour() -> None:
    def of(text: str, two: bool = True) -> bytes:
        grid = TWO if two else ONE
        column = outputs(read_program(text), grid.columns)
        return behaviour(sample(np.random.default_rng(0))._replace(grid=grid, column=column))

    assert of("x-y") == of("y-x") == of("-1*y+x") != of("x+y")
    assert of("max(x,3)", False) == of("x if x>3 else 3", False) != of("min(x,3)", False)
    assert of("2*x", False) == of("x+x", False) != of("2*x")


def test_splits_are_disjoint_distinct_and_repeatable() -> None:
    ids = {split: [p.id for p in islice(DOMAIN.problems(split, 7), 150)] for split in SPLITS}
    assert all(len(set(found)) == 150 for found in ids.values())
    assert len(set().union(*ids.values())) == 450
    assert ids["test"] == [p.id for p in islice(DOMAIN.problems("test", 7), 150)]
    assert ids["test"] != [p.id for p in islice(DOMAIN.problems("test", 8), 150)]
    with pytest.raises(BadProblem, match="train, validation, test"):
        DOMAIN.problems("tot100", 0)


def test_no_function_of_a_held_out_split_is_demonstrated() -> None:
    """Splits differ in what the functions do, not only in the examples of them."""
    def behaviours(answers: list[str], prompts: list[str]) -> set[str]:
        found = set()
        for answer, prompt in zip(answers, prompts, strict=True):
            grid = TWO if re.match(r"f\([^)]*,", prompt) else ONE
            values = outputs(read_program(answer), grid.columns)
            found.add(f"{grid is TWO}{values}")
        return found

    rng = np.random.default_rng(3)
    demonstrated = [DOMAIN.demonstrate(rng) for _ in range(4000)]
    shown = behaviours([thoughts[-1][2:] for _, thoughts in demonstrated], [posed.prompt for posed, _ in demonstrated])
    for split in ("validation", "test"):
        held, prompts = [], []
        for _ in range(40):
            posed, program, _ = DOMAIN._posed(rng, split)
            held.append(program.text)
            prompts.append(posed.prompt)
        assert not behaviours(held, prompts) & shown


async def test_hidden_examples_grade_and_only_the_reference_holds_them() -> None:
    for posed in islice(DOMAIN.problems("validation", 3), 40):
        assert posed.reference is not None and len(re.findall("f[(]", posed.reference)) >= 12
        assert not set(posed.reference.split()) & set(posed.prompt.split())
        cases = " else ".join(f"{value} if x=={row[0]}" + (f" and y=={row[1]}" if len(row) > 1 else "")
                              for row, value in posed.facts["examples"]) + " else 1000"
        if len(cases) <= 120:  # a table of the public examples
            verdict = await DOMAIN.judge().self_check(posed.sealed(), cases)
            assert verdict is not None and verdict.ok and verdict.evidence is Evidence.PUBLIC_TESTS
            assert DOMAIN.check(posed, cases).status is Status.WRONG
    with pytest.raises(ValueError, match="sealed"):
        DOMAIN.check(problem(LINE).sealed(), "2*x+1")
    typed = DOMAIN.check(problem(LINE), "2*x+1")
    assert typed.ok and typed.evidence is Evidence.PUBLIC_TESTS


ANSWERS = [
    ("2*x+1", Status.CORRECT), ("x+x+1", Status.CORRECT), ("f(x)=2*x+1", Status.CORRECT),
    ("lambda x: 2*x+1", Status.CORRECT),
    ("f=1+2*x", Status.CORRECT), ("max(2*x+1,1)", Status.CORRECT), ("7 if x==3 else 11 if x==5 else 1", Status.CORRECT),
    ("2*x", Status.WRONG), ("y", Status.WRONG), ("1//x", Status.WRONG), ("2x+1", Status.UNPARSABLE),
    ("", Status.UNPARSABLE), ("2*x+", Status.UNPARSABLE), ("7, 11, 1", Status.WRONG), ("2*x+1; 3", Status.UNPARSABLE),
    ("2*x+1\n", Status.CORRECT), ("2*x\n+1", Status.UNPARSABLE), ("x" * 1_000_000, Status.UNPARSABLE),
    ("\ud800", Status.UNPARSABLE),
    ("2*\u0663", Status.UNPARSABLE), ("(" * 119, Status.UNPARSABLE), ("x" + "*x" * 59, Status.WRONG),
    # beyond the small language, so in the sandbox
    ("2*x+1.0", Status.WRONG), ("2*x+True", Status.CORRECT), ("sum([x,x,1])", Status.CORRECT),
    ("(x<<1)+1", Status.CORRECT),
    ("x^2", Status.WRONG), ("x>2", Status.WRONG), ("eval('2*x+1')", Status.CORRECT), ("9**9**9", Status.TIMEOUT),
    ("__import__('os')._exit(0)", Status.WRONG), ("[0]*10**12", Status.WRONG),
    ("sum(iter(int, 1))", Status.TIMEOUT), ("'\\d'", Status.WRONG),
    ("2*x+1) + (0", Status.UNPARSABLE), ("(yield x)", Status.WRONG), ("(y:=2*x+1)", Status.CORRECT),
    ("x.__class__", Status.WRONG),
    ("type('i',(int,),{'__eq__':lambda s,o:True})(x)", Status.WRONG),
]


@pytest.mark.parametrize(("answer", "status"), ANSWERS, ids=lambda text: ascii(str(text)[:24]))
async def test_answers_are_run_exactly(answer: str, status: Status) -> None:
    verdict = await DOMAIN.judge().self_check(problem(LINE).sealed(), answer)
    assert verdict is not None and verdict.status is status and "\n" not in verdict.detail, verdict
    assert verdict.evidence is (Evidence.PUBLIC_TESTS if status is Status.CORRECT else Evidence.NONE)
    assert verdict.reward == (status is Status.CORRECT)


async def test_many_answers_at_once() -> None:
    judge, sealed = DOMAIN.judge(), problem(LINE).sealed()
    verdicts = await asyncio.gather(*(judge.self_check(sealed, f"2*x+{k}+len('')") for k in range(12)))
    assert [verdict.ok for verdict in verdicts if verdict] == [k == 1 for k in range(12)]


async def test_without_a_sandbox_its_answers_are_errors_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**options: object) -> None:
        raise SandboxRefused("the sandbox lacks seccomp")

    sandboxes.close_sandboxes()
    monkeypatch.setattr(sandboxes, "Sandbox", refused)
    monkeypatch.setattr(sandboxes, "_sandboxes", {})
    for _ in range(2):
        assert DOMAIN.check(problem(LINE), "sum([x,x,1])").status is Status.ERROR
    assert DOMAIN.check(problem(LINE), "2*x+1").ok


@pytest.mark.parametrize(
    ("text", "before", "thought", "status"),
    [(LINE, (), "take 2*x: 6 10 0", Status.CORRECT), (LINE, (), "take 9*x: 27 45 0", Status.CORRECT),
     (LINE, (), "take 2*x: 6 10 1", Status.WRONG), (LINE, (), "take 2*x: 6 10", Status.WRONG),
     (LINE, (), "take y: 1 2 3", Status.UNPARSABLE), (LINE, (), "take x/2: 1 2 0", Status.UNPARSABLE),
     (LINE, (), "take 1//x: 0 0 0", Status.WRONG), (LINE, (), "left 1 1 1", Status.WRONG),
     (LINE, ("take 2*x: 6 10 0",), "left 1 1 1", Status.CORRECT),
     (LINE, ("take 2*x: 6 10 0",), "left 1 1 2", Status.WRONG),
     (LINE, ("take 2*x: 6 10 0",), "take x: 3 5 0", Status.WRONG),
     (LINE, ("take 2*x: 9 9 9",), "left 1 1 1", Status.WRONG),
     (LINE, ("take x: 3 5 0", "left 4 6 1", "take x: 3 5 0"), "left 1 1 1", Status.CORRECT),
     (LINE, (), "5-3=2, 11-7=4", Status.CORRECT), (LINE, (), "5-3=2, 11-7=5", Status.WRONG),
     (LINE, (), "4-3=1, 11-7=4", Status.WRONG), (LINE, (), "f=2*x+1", Status.CORRECT),
     (LINE, (), "f=99", Status.CORRECT),
     (LINE, (), "f=sum([x])", Status.CORRECT), (LINE, (), "f=2x", Status.UNPARSABLE),
     (LINE, (), "f=", Status.UNPARSABLE),
     (LINE, (), "then x: 3 5 0", Status.WRONG), (LINE, ("f=2*x",), "f=2*x+1", Status.WRONG),
     (LINE, (), "", Status.UNPARSABLE),
     (LINE, (), "x" * 1_000_000, Status.UNPARSABLE), (LINE, (), "take \u0663: 3 3 3", Status.UNPARSABLE),
     (CHOICE, (), "if x%2==0: 4>2 10>5 else 7>22 3>10", Status.CORRECT),
     (CHOICE, (), "if x%2==0: 4>2 else 7>22 3>10 10>5", Status.WRONG), (CHOICE, (), "if x>99: else 4>2", Status.WRONG),
     (CHOICE, ("if x%2==0: 4>2 10>5 else 7>22 3>10",), "then x//2: 2 5", Status.CORRECT),
     (CHOICE, ("if x%2==0: 4>2 10>5 else 7>22 3>10",), "else 3*x+1: 22 10", Status.CORRECT),
     (CHOICE, ("if x%2==0: 4>2 10>5 else 7>22 3>10", "else 3*x: 21 9"), "left 1 1", Status.CORRECT),
     (CHOICE, ("if x%2==0: 4>2 10>5 else 7>22 3>10",), "take x: 4 7 10 3", Status.WRONG),
     (CHOICE, ("if x%2==0: 4>2 10>5 else 7>22 3>10",), "if x%2==0: 4>2 10>5 else 7>22 3>10", Status.WRONG),
     ("f(1,2)=3 f(2,2)=4", (), "take y: 2 2", Status.CORRECT), ("f(1,2)=3 f(2,2)=4", (), "2-1=1, 4-3=1", Status.WRONG)],
    ids=lambda text: ascii(str(text)[:24]),
)
async def test_check_thought(text: str, before: tuple[str, ...], thought: str, status: Status) -> None:
    started = time.process_time()
    verdict = await DOMAIN.judge().check_thought(State(problem(text), before), thought)
    assert verdict.status is status, verdict
    assert time.process_time() - started < 0.05


@given(SEEDS)
async def test_random_thoughts_are_legal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    state, judge = State(DOMAIN.demonstrate(rng)[0].sealed()), DOMAIN.judge()
    while len(state.thoughts) < 20 and (thought := DOMAIN.random_thought(state, rng)) is not None:
        verdict = await judge.check_thought(state, thought)
        assert verdict.ok, (state, thought, verdict)
        state = state.then(thought)


async def test_random_thoughts_finish_and_are_sometimes_right() -> None:
    rng, right, finished = np.random.default_rng(1), 0, 0
    for posed in [p for p in islice(DOMAIN.problems("train", 0), 300) for _ in range(3)]:
        state = State(posed.sealed())
        while len(state.thoughts) < 12 and (thought := DOMAIN.random_thought(state, rng)) is not None:
            state = state.then(thought)
        answer = await DOMAIN.judge().answer(state)
        finished += answer is not None
        right += answer is not None and DOMAIN.check(posed, answer).ok
    assert finished > 800 and 1 < right < 150


@pytest.mark.parametrize("line", ["gibberish", "take x: 1 1 1", "left", "if x>99: else 4>2", "then x: 1", "5-3=2",
"take 1//x: 0"])
@pytest.mark.parametrize("text", [LINE, CHOICE, "f(1,2)=3 f(2,2)=4"])
async def test_random_thoughts_recover_from_any_line(line: str, text: str) -> None:
    state, rng = State(problem(text), (line,)), np.random.default_rng(0)
    for _ in range(20):
        thought = DOMAIN.random_thought(state, rng)
        assert thought is not None and (await DOMAIN.judge().check_thought(state, thought)).ok


@pytest.mark.parametrize(
    ("thoughts", "answer"),
    [((), None), (("take 2*x: 6 10 0",), None), (("f=2*x+1",), "2*x+1"), (("left 1 1 1", "f=x"), "x"),
     (("f=" + "x" * 99,), None), (("f=2x",), "2x")],
)
async def test_answer(thoughts: tuple[str, ...], answer: str | None) -> None:
    assert await DOMAIN.judge().answer(State(problem(LINE), thoughts)) == answer
    if answer is not None:
        assert DOMAIN.random_thought(State(problem(LINE), thoughts), np.random.default_rng(0)) is None


def test_lines_of_thought_differ() -> None:
    words = {"take", "left", "if", "then", "else", "f"}
    rng, met, depths = np.random.default_rng(0), set(), set()
    for _ in range(800):
        thoughts = DOMAIN.demonstrate(rng)[1]
        depths.add(len(thoughts))
        met |= {re.split("[ =]", thought)[0] for thought in thoughts}
    assert words <= met and any("-" in word for word in met - words) and {1, 3, 5, 7} & depths >= {3, 5}
