from __future__ import annotations

import operator
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.algebra.expression import (
    BadExpression,
    Binary,
    Name,
    Negate,
    Node,
    Number,
    Sqrt,
    evaluate,
    leaves,
    parse_expression,
    render,
)

X = frozenset("x")


@pytest.mark.parametrize(
    ("text", "value"),
    [("17*24", 408), ("(3+4)*12", 84), ("2+3*4", 14), ("20-5-3", 12), ("48/4/3", 4), ("7/2", Fraction(7, 2)),
     ("-3", -3), ("2*-3", -6), ("-(2+3)", -5), ("--4", 4), (" 1 + 2 ", 3), ("1/3+1/6", Fraction(1, 2))],
)
def test_values(text: str, value: int | Fraction) -> None:
    assert evaluate(parse_expression(text)) == value


HOSTILE = [
    "", "   ", "2**9", "0x18", "4!", "7//2", "1_000", "1e5", "1.5", "\u0663+1", "\uff11+1", "2\u00b2", "1,2", "3 4",
    "(1", "1)", "()", "1+", "*2", "+5", "2^3", "2x", "sqrt(4)", "abs(3)", "__import__('os')", "a", "1\n2", "1;2",
    "x if x else y", "[1]", "'a'*9", "\x00", "1" * 13, "+".join(["1"] * 65), "(" * 17 + "1" + ")" * 17, "-" * 17 + "1",
    "(" * 100, "(" * 500_000 + "1", "9" * 1_000_000, "1+" * 500_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_text_is_refused_quickly_in_one_short_line(text: str) -> None:
    started = time.process_time()
    with pytest.raises(BadExpression) as caught:
        parse_expression(text)
    assert time.process_time() - started < 0.05
    message = str(caught.value)
    assert message and message.isascii() and "\n" not in message and len(message) < 120


def test_caps_are_arguments() -> None:
    text = "(" * 40 + "1" + ")" * 40
    assert evaluate(parse_expression(text, max_depth=40)) == 1
    with pytest.raises(BadExpression, match="deeper than 39"):
        parse_expression(text, max_depth=39)
    assert evaluate(parse_expression("1" * 20, max_digits=20)) == int("1" * 20)


@pytest.mark.parametrize("text", ["1/0", "1/(2-2)", "5/(1/2-2/4)"])
def test_division_by_zero_is_typed(text: str) -> None:
    with pytest.raises(BadExpression, match="division by zero"):
        evaluate(parse_expression(text))


def test_power_towers_are_stopped_before_they_are_computed() -> None:
    tower = parse_expression("((((9^9)^9)^9)^9)^9", max_power=9)
    started = time.process_time()
    with pytest.raises(BadExpression, match="too large"):
        evaluate(tower)
    assert time.process_time() - started < 0.05


@pytest.mark.parametrize(
    ("text", "at_3"),
    [("2x", 6), ("3(x+1)", 12), ("(x-2)(x-5)", -2), ("x(x-1)", 6), ("2x^2-x", 15), ("-x^2", -9), ("(x-1)^2", 4),
     ("2x*3", 18), ("x/2", Fraction(3, 2)), ("0.5x", Fraction(3, 2))],
)
def test_algebra(text: str, at_3: int | Fraction) -> None:
    node = parse_expression(text, names=X, implicit=True, max_power=4, decimals=True)
    assert evaluate(node, {"x": Fraction(3)}) == at_3


@pytest.mark.parametrize("text", ["x2", "(x)2", "2 3", "y", "x^x", "x^-1", "x^5", "x^2^2", "x^1.5", "2**x"])
def test_algebra_refuses(text: str) -> None:
    with pytest.raises(BadExpression):
        parse_expression(text, names=X, implicit=True, max_power=4, decimals=True)


def test_roots() -> None:
    node = parse_expression("1+2sqrt(9)", implicit=True, sqrt=True)
    assert evaluate(node) == 7
    assert list(leaves(node)) == [Number(1), Number(2), Sqrt(9)]
    with pytest.raises(BadExpression, match="irrational"):
        evaluate(parse_expression("sqrt(2)", sqrt=True))
    for text in ("sqrt(-4)", "sqrt 4", "sqrt(2+2)", "sqrt(2", "sqrt(1.5)"):
        with pytest.raises(BadExpression):
            parse_expression(text, sqrt=True)


def test_a_name_needs_a_value() -> None:
    with pytest.raises(BadExpression, match="x has no value"):
        evaluate(parse_expression("x", names=X))


_LEAF = st.integers(0, 999).map(Number)
_TREE: st.SearchStrategy[Node] = st.recursive(
    _LEAF,
    lambda part: st.one_of(part.map(Negate), st.builds(Binary, st.sampled_from("+-*/"), part, part)),
    max_leaves=10,
)


@given(_TREE)
def test_rendering_keeps_the_value_and_the_leaves(node: Node) -> None:
    again = parse_expression(render(node), max_depth=64)
    assert list(leaves(again)) == list(leaves(node))
    try:
        value = evaluate(node)
    except BadExpression:
        with pytest.raises(BadExpression):
            evaluate(again)
    else:
        assert evaluate(again) == value


@given(st.lists(st.integers(0, 99), min_size=2, max_size=8), st.data())
def test_chains_agree_with_python(numbers: list[int], data: st.DataObject) -> None:
    operators = {"+": operator.add, "-": operator.sub}
    text, value = str(numbers[0]), numbers[0]
    for number in numbers[1:]:
        op = data.draw(st.sampled_from("+-"))
        text, value = f"{text} {op} {number}", operators[op](value, number)
    assert evaluate(parse_expression(text)) == value


@given(st.text(alphabet="0123456789+-*/()^x. sqrt", max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        node = parse_expression(text, names=X, implicit=True, max_power=3, decimals=True, sqrt=True)
    except BadExpression:
        return
    assert all(isinstance(leaf, Number | Name | Sqrt) for leaf in leaves(node))
    assert parse_expression(render(node, implicit=True), names=X, implicit=True, max_power=3, sqrt=True, max_depth=64,
                            max_chars=400)

_CALLS = frozenset({"sin", "ln", "exp"})


def parse_calls(text: str) -> Node:
    return parse_expression(text, names=frozenset("xe"), implicit=True, max_power=9, functions=_CALLS)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [("sin(2x)", "sin(2x)"), ("sin 2x", "sin(2x)"), ("sin^2(x)", "sin(x)^2"), ("x sin x", "x*sin(x)"),
     ("ln 2", "ln(2)"), ("2sin(x)exp(x)", "2sin(x)*exp(x)"), ("e^(2x)", "e^(2x)"), ("x^-1", "x^(-1)"),
     ("e^-x", "e^(-x)"), ("x^2^3", "x^(2^3)"),
     ("sin x/2", "sin(x)/2"), ("sin(x)^2", "sin(x)^2"), ("-sin(x)", "-sin(x)"), ("sin(ln(x))", "sin(ln(x))")],
)
def test_functions(text: str, rendered: str) -> None:
    node = parse_calls(text)
    assert render(node, implicit=True) == rendered
    assert parse_calls(rendered) == node


@pytest.mark.parametrize("text", ["sin", "sin()", "sin x^2", "sin 3*x", "sin -x", "cos(x)", "sin^x(x)", "sin(x",
                                  "sinx2", "sin^99(x)", "sin " * 40 + "x", "x^" * 40 + "x", "expx^2"])
def test_functions_that_cannot_be_read(text: str) -> None:
    with pytest.raises(BadExpression):
        parse_calls(text)


def test_functions_have_no_rational_value() -> None:
    for text in ("sin(1)", "2^-1", "2^(1/2)"):
        with pytest.raises(BadExpression):
            evaluate(parse_calls(text))
    assert list(leaves(parse_calls("sin(2x)+1"))) == [Number(2), Name("x"), Number(1)]
    with pytest.raises(BadExpression):
        parse_expression("sin(x)", names=X, implicit=True)
