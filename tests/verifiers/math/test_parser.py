"""Any text is a small tree or one clear refusal, at once; numbers are read exactly."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.math.exact import rational
from verifiers.math.expressions import ExpressionParser
from verifiers.math.parser import read
from verifiers.math.tokens import tokens
from verifiers.math.tree import (
    Builder,
    Choice,
    ListOf,
    Matrix,
    Num,
    Quantity,
    Ratio,
    Relation,
    Seq,
    SetOf,
    Sym,
    Text,
    TooLarge,
    Undefined,
    Unparsable,
)


@pytest.mark.parametrize(("text", "value"), [
    ("42", 42), ("-42", -42), ("+5", 5), ("007", 7), (".5", Fraction(1, 2)), ("3.", 3), ("1,234,567", 1234567),
    (r"1{,}234", 1234), (r"10,\!080", 10080), (r"1\,234\,567", 1234567), ("1 234", 1234), ("1 1/2", Fraction(3, 2)),
    (r"1\frac12", Fraction(3, 2)), (r"137 \frac{1}{2}", Fraction(275, 2)), (r"-1\frac12", Fraction(-3, 2)),
    (r"\frac12", Fraction(1, 2)), (r"\frac 34", Fraction(3, 4)), (r"\frac9{19}", Fraction(9, 19)),
    (r"\frac{270}7", Fraction(270, 7)), (r"\frac{1}{-2}", Fraction(-1, 2)), ("50\\%", Fraction(1, 2)),
    ("1e-5", Fraction(1, 100_000)), ("2e-05", Fraction(1, 50_000)), ("1.5e-3", Fraction(3, 2000)),
    (r"2^3\frac12", 4), (r"\sqrt16\frac12", 2), (r"16^{1\frac12}", 64), (r"2^-3\frac12", Fraction(1, 16)),
    ("0{,}5", Fraction(1, 2)),
    ("1.5e3", 1500), (r"1.5\times10^{-3}", Fraction(3, 2000)), (r"0.1\overline{6}", Fraction(1, 6)),
    ("2^10", 1024), ("2^{-1}", Fraction(1, 2)), ("-2^2", -4), ("2^3^2", 512), ("5!", 120), (r"\binom52", 10),
    (r"\sqrt{4}", 2), (r"\sqrt[3]{-8}", -2), ("8^{1/3}", 2), (r"\lfloor -2.5 \rfloor", -3), ("|-5|", 5),
    (r"2\cdot 3+4", 10), ("2(3+4)", 14), ("(2)(3)", 6), ("6/2/3", 1), ("2--3", 5), ("\uff14\uff12", 42),
    ("\u00bd", Fraction(1, 2)), (r"\gcd(12,18)", 6), ("$42$", 42), (r"\(42\)", 42), ("42.", 42), ("((((7))))", 7),
])
def test_rational_numbers_are_read_exactly(text: str, value: int | Fraction) -> None:
    assert rational(read(text)) == value


@pytest.mark.parametrize(("text", "kind"), [
    ("1, 2", ListOf), ("1,5", ListOf), ("(1,2)", Seq), ("[1,2)", Seq), (r"\{1,2\}", SetOf), (r"\emptyset", SetOf),
    ("x=5", Relation), ("1<x<2", Relation), (r"\{x\mid x>0\}", Builder), ("6:8", Ratio), ("5 cm", Quantity),
    (r"\$5", Quantity), (r"\text{(B) }7", Choice), ("(B)", Choice), ("B", Sym), (r"\text{Evelyn}", Text),
    ("no solution", Text), (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", Matrix), ("n", Sym), ("N", Sym),
])
def test_structures(text: str, kind: type) -> None:
    assert isinstance(read(text), kind)


@pytest.mark.parametrize("text", [
    "", " ", "$$", "nan", "NaN", r"\text{nan}", "1<<10", "'a'*3", "(1,)", "x.__class__", "0x2a", "4_2", "f(", "1 2",
    "x2", "1+", "*", "(1", "1)", r"\frac{1}", r"\foo", "2\\frac32", "1=", "a==b", "x:=5", "5 or", "{", "\x00",
    "\ud800", "\u0664", r"\begin{pmatrix}1&2\\3\end{pmatrix}", r"\sum_{k=1} k", r"\int_0^1 x", "5!!", "lambda: 1+",
    "5 because x", "12_2", "x^2 1/2", "x^-2 1/2", "10^2 000", "x_2 1/2", r"\sqrt[3]2 1/2", "sqrt3 1/2", r"\ln2\frac12",
])
def test_what_is_no_mathematics_is_refused(text: str) -> None:
    with pytest.raises(Unparsable):
        read(text)


@pytest.mark.parametrize("text", [
    "9" * 1001, "1" * 5000, "1e1001", "(" * 50 + "1+2" + "+3)" * 50, r"\sqrt{1+" * 60 + "1" + "}" * 60, "-" * 100 + "1",
    "1+" * 1900 + "1", "x" * 30_000,
])
def test_caps_on_the_text(text: str) -> None:
    with pytest.raises(TooLarge):
        read(text)


@pytest.mark.parametrize("text", [
    "9^{9^{9}}", "(10^9)!", "((9!)!)!", r"\binom{10^9}{5\cdot10^8}", "10^{20000}", "x^{10^9}", "2^{100000}+x",
    r"\sqrt{2^{10^9}}", "2^{-100000}", r"\operatorname{lcm}(2^{9000},3^{9000})",
])
def test_numbers_are_measured_before_they_are_computed(text: str) -> None:
    started = time.process_time()
    with pytest.raises(TooLarge):
        rational(read(text))
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("text", ["1/0", r"\frac{0}{0}", "0^{-1}", "0^0", r"\frac{x}{1-1}", "(-1)!", r"\binom{-1}{2}"])
def test_what_has_no_value_says_so(text: str) -> None:
    with pytest.raises(Undefined):
        rational(read(text))


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read(text)
    except (Unparsable, TooLarge) as error:
        assert "\n" not in str(error)


MATHEMATICS = st.lists(st.sampled_from([
    "1", "2", "x", "+", "-", "*", "/", "^", "(", ")", "{", "}", "[", "]", ",", "=", "<", "|", "!", "%", " ", r"\frac",
    r"\sqrt", r"\pm", r"\{", r"\}", r"\cup", r"\text{ or }", r"\text{ cm}", r"^\circ", r"\sin", r"\sum_{k=1}^{3}", "_2",
    r"\int_0^1", "dx", r"\begin{pmatrix}", r"\end{pmatrix}", "&", r"\\", ":", "f(", r"\$", "."]), max_size=25)


@given(MATHEMATICS.map("".join))
def test_any_mixture_of_notations_is_read_or_refused(text: str) -> None:
    try:
        rational(read(text))
    except (Unparsable, TooLarge, Undefined) as error:
        assert "\n" not in str(error)


@given(st.integers(-10**30, 10**30), st.integers(1, 10**30))
def test_fractions_survive_being_written(above: int, below: int) -> None:
    value = Fraction(above, below)
    for text in (f"{above}/{below}", rf"\frac{{{above}}}{{{below}}}", f"{above:,}/({below})"):
        assert rational(read(text)) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-10**9, max_value=10**9))
def test_decimals_are_exact(value: object) -> None:
    assert rational(read(f"{value:f}")) == Fraction(str(value))


def test_a_number_is_no_float() -> None:
    assert read("0.1") == Num(Fraction(1, 10))


def test_a_grammar_with_a_level_missing_cannot_be_used() -> None:
    with pytest.raises(TypeError, match="bracket"):
        ExpressionParser(tokens("1"))  # type: ignore[abstract]
