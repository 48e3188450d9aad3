from __future__ import annotations

import ast
import json
import time
from collections.abc import Iterator

import numpy as np
import pytest

from verifiers.domains.chance import chance, draw
from verifiers.domains.program_expression import (
    BadProgram,
    NotPython,
    names,
    outputs,
    read_condition,
    read_program,
    truths,
)
from verifiers.domains.program_steps import sample
from verifiers.sandbox import Kind, Sandbox, Script

ROWS = [(x, y) for x in (-7, -1, 0, 1, 2, 5, 12) for y in (-3, 0, 4)]
COLUMNS = {"x": [x for x, _ in ROWS], "y": [y for _, y in ROWS]}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


@pytest.mark.parametrize(
    ("text", "at_7_3"),
    [("2*x+1", 15), ("x*x-y", 46), ("max(x,y)", 7), ("min(x, y, 2)", 2), ("abs(y-x)", 4), ("-x//2", -4), ("-7%3", 2),
     ("x//2 if x%2==0 else 3*x+1", 22), ("x**2", 49), ("-x**2", -49), ("+x", 7), ("x if y<x<9 else y", 7), ("- - x", 7),
     ("1 if x>1 and y>1 and not x==y else 0", 1), ("1 if x<1 or y<1 else 0", 0),
     ("x if x!=y else 0", 7), ("(x)", 7), ("0x18+1_0", 34),
     (" x ", 7), ("1 if x//y>=2 else 1//0", 1), ("1 if y==3 or x//0>1 else 2", 1)],
)
def test_values(text: str, at_7_3: int) -> None:
    assert outputs(read_program(text), {"x": [7], "y": [3]}) == [at_7_3]


@pytest.mark.parametrize(
    "text",
    ["x/2", "x>1", "x^2", "x<<1", "~x", "1.5", "'a'", "[x]", "x,", "lambda x: x", "f(x)", "z", "x.y",
     "x if x else 1", "max(x)", "abs(x,y)", "max(x,y,key=abs)", "max(*x)", "x**9", "x**-1", "x**y", "1if x>1 else 2",
     "x and y", "not x", "True", "sum(x)", "__import__('os')", "x:=1", "(x:=1)", "eval(x)", "x@y", "1 if x in y else 2",
     "1 if x is y else 2", "x\n", "x;y", "#", "\u0663", "\uff58", "x\x00", "9" * 17, "x" * 121, "x" * 1_000_000,
     "(" * 50 + "x" + ")" * 50 + "/2", "max", "if", "1 if (x>1)+1 else 2"],
    ids=lambda text: ascii(text[:16]),
)
def test_everything_else_is_refused_quickly(text: str) -> None:
    started = time.process_time()
    with pytest.raises(BadProgram) as caught:
        read_program(text)
    assert time.process_time() - started < 0.05
    assert "\n" not in str(caught.value) and str(caught.value).isascii() and len(str(caught.value)) < 160


@pytest.mark.parametrize("text", ["2x+1", "x+", "", "x y", "(x", "x)", "if x", "07", "x = 1", "max(x", "x else y",
"*x"])
def test_what_is_not_python_is_told_apart(text: str) -> None:
    with pytest.raises(NotPython):
        read_program(text)


def test_errors_are_those_of_the_inputs_that_are_reached() -> None:
    node = read_program("1//x if x!=0 else 9")
    assert outputs(node, {"x": [0, 2, -2]}) == [9, 0, -1]
    with pytest.raises(ZeroDivisionError):
        outputs(read_program("1//x"), {"x": [1, 0]})
    with pytest.raises(BadProgram, match="too large"):
        outputs(read_program("((x**8)**8)**8"), {"x": [9]})
    assert outputs(read_program("((x**8)**8)**8"), {"x": [1, 0, -1]}) == [1, 0, 1]
    with pytest.raises(BadProgram):
        read_condition("x")
    assert truths(read_condition("x%2==0"), {"x": [1, 2]}) == [False, True]
    assert names(read_program("max(x,1) if y>1 else 2")) == {"x", "y"}


def random_number(rng: np.random.Generator, depth: int) -> str:
    kind = rng.random()
    if depth == 0 or kind < 0.15:
        return ("x", "y", str(draw(rng, 0, 12)))[draw(rng, 0, 2)]
    a, b = random_number(rng, depth - 1), random_number(rng, depth - 1)
    if kind < 0.6:
        op = ("+", "-", "*", "//", "%")[draw(rng, 0, 4)]
        return f"{a}{op}{b}" if chance(rng, 0.5) else f"({a}){op}({b})"
    if kind < 0.7:
        return f"{('max', 'min')[draw(rng, 0, 1)]}({a},{b})"
    if kind < 0.8:
        return f"abs({a})" if chance(rng, 0.5) else f"-{a}"
    if kind < 0.85:
        return f"({a})**{draw(rng, 0, 4)}"
    return f"({a} if {random_truth(rng, depth - 1)} else {b})"


def random_truth(rng: np.random.Generator, depth: int) -> str:
    ops = ("<", "<=", ">", ">=", "==", "!=")
    parts = [random_number(rng, depth) for _ in range(3)]
    kind = rng.random()
    if depth and kind < 0.2:
        return f"({random_truth(rng, depth - 1)}) {'and' if chance(rng, 0.5) else 'or'} {random_truth(rng, depth - 1)}"
    if depth and kind < 0.3:
        return f"not {random_truth(rng, depth - 1)}"
    text = f"{parts[0]}{ops[draw(rng, 0, 5)]}{parts[1]}"
    return f"{text}{ops[draw(rng, 0, 5)]}{parts[2]}" if kind > 0.8 else text


def told(text: str) -> list[int] | str | None:
    """What the evaluator says: values, that an input divides by zero, or nothing."""
    try:
        return outputs(read_program(text), COLUMNS)
    except ZeroDivisionError:
        return "zero"
    except BadProgram:
        return None


def test_the_sandbox_gives_the_very_same_outputs(sandbox: Sandbox) -> None:
    """Thousands of random programs, of the whole language and of the generator's, against Python itself."""
    rng = np.random.default_rng(20)
    texts = [text for _ in range(3500) if len(text := random_number(rng, draw(rng, 1, 3))) <= 120]
    texts += [sample(rng).text for _ in range(500)]
    known = {text: found for text in dict.fromkeys(texts) if (found := told(text)) is not None}
    assert len(known) > 2000 and sum(found == "zero" for found in known.values()) > 50
    lines = ["import json, sys", f"rows = {ROWS!r}", "def run(f):", "    try:",
    "        return [f(x, y) for x, y in rows]",
             "    except ZeroDivisionError:", "        return 'zero'", "found = []"]
    lines += [f"found.append(run(lambda x, y: {text}))" for text in known]
    outcome = sandbox.run(Script("\n".join([*lines, "print(json.dumps(found))"])))
    assert outcome.kind is Kind.DONE, outcome
    python = json.loads(outcome.stdout)
    assert [t for t, mine, its in zip(known, known.values(), python, strict=True) if mine != its] == []


def test_reading_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(ast, "parse", lambda text, mode: seen.append((text, mode)) or ast.Expression(ast.Name("x")))
    read_program.__wrapped__("x")
    assert seen == [("x", "eval")]
