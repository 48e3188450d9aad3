"""Comparison of answers: exact, strict on structure, three-valued, the same from threads and from asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers.base import Status
from verifiers.math.tolerance import Tolerance
from verifiers.math.workers import close_workers
from verifiers.math_answer import Comparison, Reason, Relation, acheck, acompare, check, compare, verdict


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    yield
    close_workers()


@pytest.mark.parametrize(("prediction", "gold"), [
    ("1 1/2", "3/2"), ("1,234", "1234"), (r"\$1{,}000.50", "1000.5"), ("2,1", "1,2"), ("x=5", "5"),
    ("y=2,x=1", "x=1,y=2"),
    ("90^\\circ", "90"), ("5 km", "5000 m"), ("6:8", "3:4"), ("(B)", "B"), (r"\text{Evelyn}", "Evelyn"), ("yes", "Yes"),
    (r"\frac{1}{\sqrt2}", r"\frac{\sqrt2}{2}"), ("(x+1)^2", "x^2+2x+1"), ("4x-2y+6=0", "2x-y+3=0"),
    ("x<2", r"(-\infty,2)"),
    (r"1\pm\sqrt2", r"1-\sqrt2,1+\sqrt2"), (r"\sqrt{5+2\sqrt6}", r"\sqrt2+\sqrt3"), (r"e^{i\pi}", "-1"),
    (r"4\arctan\frac15-\arctan\frac1{239}", r"\frac\pi4"), (r"\int_0^1 x\,dx", r"\frac12"),
])
def test_the_same_answer_in_other_words(prediction: str, gold: str) -> None:
    assert compare(prediction, gold) == Comparison(Relation.EQUIVALENT)


@pytest.mark.parametrize(("prediction", "gold"), [
    ("101", "100"), ("n", "N"), ("1,2", "(1,2)"), ("[1,2]", "(1,2)"), ("1,1,2", "1,2,2"), ("1.5", "1,5"),
    ("4200", "42"),
    (r"\frac{355}{113}", r"\pi"), ("0.333333", r"\frac13"), (r"e^{\pi\sqrt{163}}", "640320^3+744"), 
    ("x=1=2=3=42", "42"),
    (r"\sqrt{10^{40}+2}", r"\sqrt{10^{40}+1}"), ("e^{-60}", "e^{-50}"), (r"\sqrt{x^2}", "x"),
    (r"3\text{ minutes}", r"3\text{ hours}"), ("1011_2", "11"), ("(a+b+c+d)^{40}", "(a+b+c+d)^{41}"), ("5", "5 hours"),
])
def test_different_answers_are_refuted(prediction: str, gold: str) -> None:
    assert compare(prediction, gold).relation is Relation.DIFFERENT


@pytest.mark.parametrize(("prediction", "gold", "reason"), [
    ("__import__(1)", "1", Reason.UNPARSABLE), ("", "1", Reason.UNPARSABLE), ("\ud800", "1", Reason.UNPARSABLE),
    ("x" * 10_000_000, "1", Reason.TOO_LARGE), ("9^{9^{9}}", "1", Reason.TOO_LARGE), ("1/0", "1", Reason.UNDEFINED),
    ("1", "", Reason.BAD_GOLD), ("nan", "nan", Reason.BAD_GOLD), ("1", "1/0", Reason.BAD_GOLD),
    (r"\frac{1}{x-x}", "x", Reason.UNDECIDED),
])
def test_unknown_has_a_reason(prediction: str, gold: str, reason: Reason) -> None:
    comparison = compare(prediction, gold)
    assert (comparison.relation, comparison.reason) == (Relation.UNKNOWN, reason)


@pytest.mark.parametrize(("prediction", "gold", "status"), [
    ("4/2", "2", Status.CORRECT), ("3", "2", Status.WRONG), ("a b_", "2", Status.UNPARSABLE),
    ("9^{9^9}", "2", Status.UNPARSABLE), (r"\frac{1}{x-x}", "x", Status.TIMEOUT), ("2", "?", Status.ERROR),
])
def test_verdicts(prediction: str, gold: str, status: Status) -> None:
    found = check(prediction, gold)
    assert (found.status, found.reward) == (status, float(status is Status.CORRECT))
    assert asyncio.run(acheck(prediction, gold)) == found


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.NONE])
def test_what_is_unknown_is_never_rewarded(reason: Reason) -> None:
    found = verdict(Comparison(Relation.UNKNOWN, reason))
    assert found.reward == 0 and found.status not in (Status.CORRECT, Status.WRONG) and found.detail


@pytest.mark.parametrize(("prediction", "gold", "policy", "ok"), [
    ("3.14", r"\pi", Tolerance(digits=3), True), ("3.15", r"\pi", Tolerance(digits=3), False),
    ("3.14", r"\pi", Tolerance(), False), ("0.33", "1/3", Tolerance(digits=2), True),
    ("0.3", "1/3", Tolerance(digits=2), False), ("101", "100", Tolerance(relative=Fraction(1, 100)), True),
    ("102", "100", Tolerance(relative=Fraction(1, 100)), False),
    ("(1.41, 2)", r"(\sqrt2, 2)", Tolerance(digits=3), True),
    ("1", "0", Tolerance(digits=1), False), ("5", "5 hours", Tolerance(bare_numbers=True), True),
    ("5", r"\$5", Tolerance(bare_numbers=True), True), ("45", r"45^\circ", Tolerance(bare_numbers=True), True),
    ("5 minutes", "5 hours", Tolerance(bare_numbers=True), False),
])
def test_tolerance_is_a_policy(prediction: str, gold: str, policy: Tolerance, ok: bool) -> None:
    assert compare(prediction, gold, policy).ok is ok


@pytest.mark.parametrize("arguments", [{"relative": Fraction(-1)}, {"relative": Fraction(1)}, {"digits": 0}])
def test_a_tolerance_that_accepts_anything_is_refused(arguments: dict[str, Fraction | int]) -> None:
    with pytest.raises(ValueError, match="must be in"):
        Tolerance(**arguments)  # type: ignore[arg-type]


@given(st.fractions(max_denominator=10**6), st.fractions(max_denominator=10**6))
def test_rational_numbers_are_told_apart(mine: Fraction, other: Fraction) -> None:
    written = rf"\frac{{{mine.numerator}}}{{{mine.denominator}}}"
    assert compare(written, str(other)).ok == (mine == other)
    assert compare(written, str(mine)).ok


@settings(max_examples=40)
@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(2, 30), st.integers(1, 9))
def test_surds_are_told_apart(a: int, b: int, radicand: int, by: int) -> None:
    """(a + b sqrt(r)) expanded by a square, and one off it."""
    gold = rf"{a}+{b}\sqrt{{{radicand}}}"
    assert compare(rf"\frac{{{a * by}+{b}\sqrt{{{radicand * by * by}}}}}{{{by}}}", gold).ok
    assert compare(rf"{a}+{b}\sqrt{{{radicand}}}+\frac{{1}}{{10^{{30}}}}", gold).relation is Relation.DIFFERENT


@settings(max_examples=25)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=4), st.integers(-4, 4))
def test_polynomials_in_factors(roots: list[int], off: int) -> None:
    product = "".join(f"(x-({root}))" for root in roots)
    coefficients = [1]
    for root in roots:
        coefficients = [a - root * b for a, b in zip([*coefficients, 0], [0, *coefficients], strict=True)]
    written = "+".join(f"({c})x^{{{len(roots) - i}}}" for i, c in enumerate(coefficients))
    assert compare(product, f"{written}+({off})").ok == (off == 0)


CASES = [(r"\sqrt{8}", r"2\sqrt2", True), (r"\sqrt{8}", r"3\sqrt2", False), ("(x+1)^2", "x^2+2x+1", True),
         (r"\sin 2x", r"2\sin x\cos x", True), ("2x+y=3", "4x+2y=6", True), ("x<2", "x>2", False), ("1/2", "0.5", True)]


def test_eight_threads_at_once() -> None:
    wrong: list[str] = []

    def many() -> None:
        for prediction, gold, ok in CASES * 3:
            if compare(prediction, gold).ok is not ok:
                wrong.append(prediction)

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


async def test_many_at_once_in_asyncio() -> None:
    found = await asyncio.gather(*(acompare(prediction, gold) for prediction, gold, _ in CASES * 10))
    assert [comparison.ok for comparison in found] == [ok for _, _, ok in CASES * 10]
