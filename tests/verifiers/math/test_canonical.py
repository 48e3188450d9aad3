"""Spellings of one answer share a text, and other answers do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.base import Canonical, Judge
from verifiers.datasets.text_judge import JUDGES
from verifiers.domains.arithmetic import ArithmeticJudge
from verifiers.math.canonical import canonical

SUITE = Path(__file__).resolve().parents[2] / "adversarial" / "math.jsonl"
# Equal to nothing when graded, but one answer for all that; and what is counted goes without saying.
LENIENT = {"undef_nan2", "undef_zero", "undef_sym", "undef_space", "undef_dots", "unit_28"}

SAME = [
    ["18", "18.0", "$18", r"\$18.00", "18 dollars", "1800 cents", "18 eggs", r"\frac{36}{2}", "36/2", r"\boxed{18}",
     "+18", "18.", r"1.8 \times 10^1", r"\sqrt{324}", "{18}"],
    ["1/2", "0.5", ".5", r"\frac12", "50%", "2:4"], ["-1/3", r"-\frac{1}{3}", r"\frac{-2}{6}"], ["1,234", "1234"],
    ["2, 3", "3, 2", "{3, 2}", "{2, 3, 2}", "2 or 3", "3 and 4/2"], ["2, 2, 3", "3, 2, 4/2"], ["(2, 3)", "(2.0, 6/2)"],
    ["2x+1", "1+x*2", r"\frac{4}{2}x+1.0"], [r"3\pm1", "2, 4", "{4, 2}"], ["x = 5", "x=5.0"], ["5 km", "5000 meters"],
    ["east", "East.", r"\text{east}"], ["(B)", "B", "B. 7"], [r"90^\circ", r"90.0^\circ"], ["1:2:3", "2:4:6"],
    ["no answer is\n known ?!", "no answer is known ?!"], ["9" * 900, "9" * 900 + ".0"],
]
APART = ["18", "18.1", "-18", "18 hours", "18 m", "18 cm", "18%", "x = 18", "y = 18", "101_2", "(18, 18)", "18, 18",
         "(18)x", "x", "X", "[18, 19]", "(18, 19)", "(18, 19]", "18, 20", "west", "(C)", "18^2", r"18^\circ", "1/0",
         "2/0", "", "?!"]


@pytest.mark.parametrize("spellings", SAME, ids=lambda spellings: spellings[0][:20])
def test_spellings_share_a_text(spellings: list[str]) -> None:
    assert len(set(map(canonical, spellings))) == 1


def test_answers_do_not_share_one() -> None:
    texts = [canonical(answer) for answer in [*APART, *(spellings[0] for spellings in SAME[1:])]]
    assert len(set(texts)) == len(texts)


def test_what_shares_a_text_is_graded_as_the_same() -> None:
    rows = [json.loads(line) for line in SUITE.read_text(encoding="utf-8").splitlines()]
    shared = [row for row in rows if canonical(row["prediction"]) == canonical(row["gold"])]
    assert len(shared) > 120 and {row["id"] for row in shared if not row["equivalent"]} == LENIENT


@given(st.fractions())
def test_a_number_is_known_however_it_is_written(value) -> None:  # type: ignore[no-untyped-def]
    n, d = value.numerator, value.denominator
    spelled = {canonical(text) for text in (f"{n}/{d}", rf"\frac{{{n}}}{{{d}}}", f"{3 * n}/{3 * d}", f"${n}/{d}$")}
    assert len(spelled) == 1 and canonical(f"{n}/{d + 1}" if n else "1") not in spelled


@given(st.text(max_size=60) | st.text("0123456789+-*/^().,{}\\%$ xpi=:", max_size=30))
def test_any_text_has_one(text: str) -> None:
    assert canonical(text) == canonical(f" {text} ") or text != text.strip()


def test_judges_of_mathematics_and_numbers_know_spellings_and_others_do_not() -> None:
    committed, tagged, arithmetic = JUDGES["committed"], JUDGES["tagged"], ArithmeticJudge(4)
    assert all(isinstance(judge, Judge) and isinstance(judge, Canonical) for judge in (committed, tagged, arithmetic))
    assert committed.canonical("$18") == committed.canonical("18.0")
    assert tagged.canonical("18") != tagged.canonical("18.0")
    assert arithmetic.canonical("3.50") == arithmetic.canonical("7/2") != arithmetic.canonical("7")
