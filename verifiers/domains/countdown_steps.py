"""Steps of countdown: how one is drawn, written and read back, and how a line of them spells an expression."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from verifiers.base import State

Number = int | Fraction
# (a, operator, b, result, numbers left after it)
Combination = tuple[Number, str, Number, Number, list[Number]]

# Numbers a line of thought may write: far beyond any useful intermediate result, small enough to stay instant.
MAX_WRITTEN_DIGITS = 15
MAX_THOUGHT_CHARS = 200


_DIGITS = rf"\d{{1,{MAX_WRITTEN_DIGITS}}}"
_NUMBER = rf"(?:{_DIGITS}|\(-?{_DIGITS}(?:/{_DIGITS})?\))"
STEP = re.compile(rf"({_NUMBER})([-+*/])({_NUMBER})=({_NUMBER})(?:, ({_NUMBER}(?: {_NUMBER})*))?", re.ASCII)
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
# How often a random step keeps a division that does not come out even: people avoid fractions, but know them.
_KEEP_FRACTION = 0.125


def random_step(numbers: Sequence[Number], draw: Callable[[], float]) -> Combination:
    """One random legal step from ascending numbers."""
    count = len(numbers)
    while True:
        i = int(draw() * count)
        j = int(draw() * (count - 1))
        if j >= i:
            j += 1
        op = "+-*/"[int(draw() * 4)]
        small, large = (numbers[i], numbers[j]) if i < j else (numbers[j], numbers[i])
        a, b = large, small
        if op == "/":
            if b == 0:
                continue
            if a % b != 0:
                if draw() >= _KEEP_FRACTION:
                    continue
                if draw() < 0.5:
                    a, b = b, a
        result = apply(a, op, b)
        rest = [numbers[k] for k in range(count) if k != i and k != j]
        rest.append(result)
        rest.sort()
        return a, op, b, result, rest


def apply(a: Number, op: str, b: Number) -> Number:
    """The exact result; an int where it is whole. Raises ZeroDivisionError."""
    if op == "+":
        value = a + b
    elif op == "-":
        value = a - b
    elif op == "*":
        value = a * b
    else:
        value = Fraction(a) / b
    return value.numerator if isinstance(value, Fraction) and value.denominator == 1 else value


def _show(value: Number) -> str:
    return str(value) if isinstance(value, int) and value >= 0 else f"({value})"


def write(a: Number, op: str, b: Number, result: Number, rest: Sequence[Number]) -> str:
    """The thought that says so; of a single number left, nothing is written."""
    step = f"{_show(a)}{op}{_show(b)}={_show(result)}"
    return f"{step}, {' '.join(map(_show, rest))}" if len(rest) > 1 else step


def read(word: str) -> Number | None:
    """A written number: `7`, `(-3)`, `(8/3)`; None for a zero denominator."""
    numerator, _, denominator = word.strip("()").partition("/")
    if not denominator:
        return int(numerator)
    if int(denominator) == 0:
        return None
    value = Fraction(int(numerator), int(denominator))
    return value.numerator if value.denominator == 1 else value


def left(state: State) -> list[Number] | None:
    """The numbers a line of thought says are left; None if its last line cannot be read."""
    if not state.thoughts:
        return list(state.problem.facts["numbers"])
    match = STEP.fullmatch(state.thoughts[-1])
    if match is None:
        return None
    values = [read(word) for word in (match[5].split(" ") if match[5] else [match[4]])]
    return None if None in values else [value for value in values if value is not None]


def compose(state: State) -> str:
    """The expression that the steps of a line spell, or its last line if they do not fit together."""
    pool: list[tuple[Number, str, int]] = [(number, str(number), 3) for number in state.problem.facts["numbers"]]
    for thought in state.thoughts:
        match = STEP.fullmatch(thought)
        taken = [_take(pool, match[i]) for i in (1, 3)] if match else [None]
        result = read(match[4]) if match else None
        if match is None or result is None or None in taken:
            return state.thoughts[-1]
        (a, a_level), (b, b_level) = (pair for pair in taken if pair is not None)
        op, level = match[2], _PRECEDENCE[match[2]]
        a = f"({a})" if a_level < level else a
        b = f"({b})" if b_level < level or (b_level == level and op in "-/") else b
        pool.append((result, f"{a}{op}{b}", level))
    return pool[0][1] if len(pool) == 1 else state.thoughts[-1]


def _take(pool: list[tuple[Number, str, int]], word: str) -> tuple[str, int] | None:
    """Remove one number from the pool: its expression and the precedence of its outermost operator."""
    value = read(word)
    for index, (number, text, level) in enumerate(pool):
        if number == value:
            del pool[index]
            return text, level
    return None
