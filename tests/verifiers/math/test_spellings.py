"""Other spellings are rewritten to what they mean, and nothing else is touched."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.math.spellings import respelled
from verifiers.math_answer import Relation, compare


@pytest.mark.parametrize(("text", "written"), [
    ("**42**", "42"), (r"\text{5 cm}", "5 cm"), (r"x_\text{3}", "x_{3}"), ("1.234.567,89", "1234567.89"),
    ("1'234'567", "1234567"), ("2.(3)", r"2.\overline{3}"), ("]3,4]", "(3,4]"), (r"x\in]0,1[", r"x\in(0,1)"),
    ("x^2_1", "x_1^2"), (r"\int x\,\mathrm{d}x", r"\int x\, dx"), ("15 sq. cm", r"15\text{ sq cm}"),
])
def test_is_rewritten(text: str, written: str) -> None:
    assert respelled(text) == written


@pytest.mark.parametrize("text", [
    "42", "1.234", "1.234,5", "0.1(6)", "**", "2**3**2", r"\text{east}", r"5\text{ cm}", "[1,2]", "(1,2]", "x(3)", "xU",
    "f'", r"\frac{1}{2}", "12,34,567",
])
def test_is_left_alone(text: str) -> None:
    assert respelled(text) == text


@pytest.mark.parametrize(("prediction", "gold", "relation"), [
    ("12,34,567", "1234567", Relation.EQUIVALENT), ("12,34,567", "12, 34, 567", Relation.EQUIVALENT),
    ("~5", "5", Relation.UNKNOWN), ("4{2}", "8", Relation.UNKNOWN), ("2.(3)", "6", Relation.DIFFERENT),
    (r"\{1,\{2\}\}", r"\{1,2\}", Relation.DIFFERENT), (r"32^\circ F", r"0^\circ C", Relation.EQUIVALENT),
    ("9.8 m/s", r"9.8\text{ m/s}^2", Relation.DIFFERENT),
])
def test_means_what_it_says(prediction: str, gold: str, relation: Relation) -> None:
    assert compare(prediction, gold).relation is relation


@given(st.text(alphabet="*\\{}[]()^_.,'xdUR0159 textcolor", max_size=80))
def test_any_text_will_do(text: str) -> None:
    assert isinstance(respelled(text), str)


@pytest.mark.parametrize("piece", ["**", r"\text{1", "1.000", "1'000", "x^", "]", "2.(", r"\color{", "1,2["])
def test_is_linear(piece: str) -> None:
    started = time.perf_counter()
    respelled(piece * (4000 // len(piece)))
    assert time.perf_counter() - started < 1
