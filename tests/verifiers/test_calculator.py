"""A calculator in the notation of GSM8K: exact, and deaf to anything else."""

from __future__ import annotations

import asyncio
import json
import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.base import Problem, State
from verifiers.calculator import Calculator, decimal_text

START = State(Problem("i", "d", "p", {}))
GSM8K = Path(__file__).resolve().parents[3] / "shared" / "data" / "gsm8k_test.jsonl"


def completed(thought: str) -> str | None:
    calculator = Calculator()
    done = asyncio.run(calculator.complete(START, thought))
    if done is None:
        return None
    assert len(done.written) <= calculator.max_chars and "\n" not in done.written
    return thought[: done.kept] + done.written


@pytest.mark.parametrize(("thought", "said"), [
    ("So 17*24=<<17*24=", "So 17*24=<<17*24=408>>408"), ("<<2/3=", "<<2/3=2/3>>2/3"), ("<<7/8=", "<<7/8=0.875>>0.875"),
    ("<<.5*4=", "<<.5*4=2>>2"), ("<<1,000*20%=", "<<1,000*20%=200>>200"), ("<<$3-$5=", "<<$3-$5=-2>>-2"),
    ("<<2**10=", "<<2**10=1024>>1024"), ("<<3\u00d72=", "<<3\u00d72=6>>6"), ("<< (1+2) * 3 =", "<< (1+2) * 3 =9>>9"),
    ("<<1/100000000000000=", "<<1/100000000000000=1/100000000000000>>1/100000000000000"),
])
def test_an_open_call_is_worked_out(thought: str, said: str) -> None:
    assert completed(thought) == said


@pytest.mark.parametrize(("thought", "said"), [
    ("<<2+2=5>>5 apples", "<<2+2=4>>4"), ("<<1+1=2>>2, <<2*2=5>>5, <<3*3=1>>", "<<1+1=2>>2, <<2*2=4>>4"),
    ("<<2+2=>>", "<<2+2=4>>4"), ("<<2+2=4", "<<2+2=4>>4"), ("<<2+2=four>>", "<<2+2=4>>4"),
])
def test_a_wrong_result_is_put_right_and_ends_the_thought(thought: str, said: str) -> None:
    assert completed(thought) == said


@pytest.mark.parametrize("thought", [
    "", "no call", "<<2+2=4>>4 apples", "<<1.5*2=3.0>>3", "<<1,000+1=1,001>>", "2+2=", "<<2+2", "<2+2=", "<<=", "<<\n=",
    "<<1/4=0.25>> <<1/4=1/4>>", "<<" + "1" * 201 + "=",
])
def test_what_calls_nothing_stays_as_it_is(thought: str) -> None:
    assert completed(thought) is None


@pytest.mark.parametrize("call", [
    "1/0", "9^9^9^9", "9**9**9", "2^99999", "10^64", "__import__('os').system('id')", "x", "()", "0x18", "1_000",
    "(" * 150, "\u0661+1", "\udcff", "\x00", "1" * 150, "eval", "1 2", "1,00+1", "5%%", "..5", "1e999",
])
def test_a_call_that_fails_writes_a_short_text(call: str) -> None:
    said = completed(f"then <<{call}=")
    assert said is not None and said.startswith(f"then <<{call}=error: ") and said.endswith(">>")


@pytest.mark.parametrize("thought", ["<<" * 500_000, "<<1=" * 200_000, "<<1=1>>" * 20_000 + "<<2=", "=" * 1_000_000,
                                     "<<" + "1+" * 500_000 + "1=", "<<1" * 300_000 + "="])
@pytest.mark.timeout(30)
def test_long_thoughts_take_no_time(thought: str) -> None:
    completed(thought)


@given(st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=10**6))
def test_results_are_exact(value: Fraction) -> None:
    text = decimal_text(value, 40)
    assert Fraction(text) == value and len(text) <= 40
    assert completed(f"<<{abs(value.numerator)}/{value.denominator}=") == (
        f"<<{abs(value.numerator)}/{value.denominator}={text.lstrip('-')}>>{text.lstrip('-')}")


def test_results_are_bounded() -> None:
    short = asyncio.run(Calculator(max_result=8).complete(START, "<<10^9="))
    assert short is not None and short.written == "error: the result takes more than 8 digits>>"
    with pytest.raises(ValueError, match="max_result"):
        Calculator(max_result=7)


@given(st.text(max_size=60), st.text(alphabet="0123456789+-*/().,%$^=<> x", max_size=60))
def test_any_thought_will_do(before: str, call: str) -> None:
    thought = f"{before}<<{call}"
    said = completed(thought)
    assert said is None or (said != thought and said[: said.rindex("=")] in said)


@pytest.mark.heavy
def test_the_annotations_of_gsm8k_are_nearly_all_true() -> None:
    if not GSM8K.exists():
        pytest.skip(f"no {GSM8K.name} in ../shared/data")
    answers = [json.loads(line)["answer"] for line in GSM8K.read_text().splitlines()]
    calls = [call for answer in answers for call in re.findall(r"<<[^<>]*>>", answer)]
    changed = [(call, said) for call in calls if (said := completed(call)) is not None]
    assert len(calls) > 4000 and len(changed) < 0.1 * len(calls), changed[:20]  # people round
