"""Small programs by random sampling, examples of what they give, and human-like lines of thought that find them.

A line of thought takes a part of the program out of what is left of the outputs (`take 2*x: 6 10 0`, `left 1 1 1`)
until only a constant is left, or sorts the examples by a condition and treats both sides so; it ends in `f=...`.
Values of parts on all inputs are kept, so that a demonstration is sums of columns: the hot path of pretraining.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from verifiers.domains.chance import chance, draw
from verifiers.domains.equation_steps import nonzero
from verifiers.domains.program_expression import Columns, outputs, read_condition, read_program, truths

MAX_THOUGHTS = 8
MAX_CHARS = 44
MAX_OUTPUT = 130  # of a public example
HIDDEN = 12  # examples of two inputs; of one input, all others of the grid are hidden ones

Row = tuple[int, ...]  # the inputs of one example


class Grid(NamedTuple):
    """All inputs that examples are drawn from, for one number of arguments; `near` are those that people try first."""

    rows: Sequence[Row]
    columns: Columns
    near: Sequence[int]


def _grid(rows: Sequence[Row]) -> Grid:
    columns = {name: [row[k] for row in rows] for k, name in enumerate("xy"[: len(rows[0])])}
    return Grid(rows, columns, [i for i, row in enumerate(rows) if min(row) >= 0 and max(row) < 10])


ONE = _grid([(x,) for x in range(-5, 13)])
TWO = _grid([(x, y) for x in range(-2, 10) for y in range(-2, 10)])


class Program(NamedTuple):
    """A sampled program: the sum of its parts and its constant, or a choice between two such sums.

    Attributes:
        parts: texts of the summands but the constant.
        condition, other: empty, or what decides, and the parts and the constant where it does not hold.
        column: the value at every row of the grid.
    """

    grid: Grid
    parts: Sequence[str]
    constant: int
    condition: str
    other: tuple[Sequence[str], int]
    column: Sequence[int]

    @property
    def text(self) -> str:
        first = sum_text(self.parts, self.constant)
        return f"{first} if {self.condition} else {sum_text(*self.other)}" if self.condition else first


@lru_cache(maxsize=2**14)
def column(part: str, two: bool) -> Sequence[int]:
    """The values of a part on the whole grid. Not to be changed."""
    return outputs(read_program(part), (TWO if two else ONE).columns)


@lru_cache(maxsize=2**10)
def condition_column(condition: str, two: bool) -> Sequence[bool]:
    return truths(read_condition(condition), (TWO if two else ONE).columns)


def sum_text(parts: Sequence[str], constant: int) -> str:
    """`2*x-y+3`; `0` for nothing."""
    text = ""
    for part in (*parts, *([str(constant)] if constant or not parts else [])):
        text += part if not text or part[0] == "-" else f"+{part}"
    return text


def multiple(factor: int, body: str) -> str:
    """`2*x`, `-x*y`."""
    size = abs(factor)
    return ("-" if factor < 0 else "") + (body if size == 1 else f"{size}*{body}")


def is_linear(part: str) -> bool:
    return part.lstrip("-0123456789*") in ("x", "y")


def _total(parts: Sequence[str], constant: int, two: bool) -> list[int]:
    if not parts:
        return [constant] * len((TWO if two else ONE).rows)
    total = [value + constant for value in column(parts[0], two)]
    for part in parts[1:]:
        total = [value + other for value, other in zip(total, column(part, two), strict=True)]
    return total


def sample(rng: np.random.Generator) -> Program:
    """A random program of one or two inputs; never a constant one."""
    while True:
        two = chance(rng, 0.4)
        if chance(rng, 0.2):
            found = _choice(rng, two)
        else:
            parts, constant = _summands(rng, two)
            found = Program(TWO if two else ONE, parts, constant, "", ((), 0), _total(parts, constant, two))
        if min(found.column) != max(found.column):
            return found


def _constant(rng: np.random.Generator) -> int:
    return nonzero(rng, 9 if chance(rng, 0.7) else 4) if chance(rng, 0.8) else 0


def _slope(rng: np.random.Generator) -> int:
    return nonzero(rng, 3 if chance(rng, 0.6) else 5)


def random_part(rng: np.random.Generator, two: bool) -> str:
    """One summand that is not linear: a square or product, a quotient or remainder, a maximum, a distance."""
    kind = rng.random()
    if two:
        if kind < 0.35:
            return multiple(1 if chance(rng, 0.8) else -1 if chance(rng, 0.5) else 2, "x*y")
        if kind < 0.7:
            return "max(x,y)" if chance(rng, 0.5) else "min(x,y)"
        return "abs(x-y)" if chance(rng, 0.5) else "x*x" if chance(rng, 0.5) else "y*y"
    if kind < 0.45:
        return multiple(1 if chance(rng, 0.8) else -1 if chance(rng, 0.5) else 2, "x*x")
    if kind < 0.6:
        return f"x//{draw(rng, 2, 4)}"
    if kind < 0.8:
        return f"x%{draw(rng, 2, 5)}"
    if kind < 0.9:
        return f"max(x,{draw(rng, 1, 6)})" if chance(rng, 0.5) else f"min(x,{draw(rng, 1, 6)})"
    return "abs(x)" if chance(rng, 0.5) else f"abs(x-{draw(rng, 1, 6)})"


def linear_part(rng: np.random.Generator, two: bool) -> str:
    return multiple(_slope(rng), "y" if two and chance(rng, 0.5) else "x")


def _summands(rng: np.random.Generator, two: bool) -> tuple[Sequence[str], int]:
    if chance(rng, 0.5):
        parts = [multiple(_slope(rng), "x")]
        if two:
            parts.append(multiple(_slope(rng), "y"))
    else:
        parts = [random_part(rng, two)]
        if chance(rng, 0.45):
            parts.append(linear_part(rng, two))
    return parts, _constant(rng)


def random_condition(rng: np.random.Generator, two: bool) -> str:
    if two:
        return "x<y" if chance(rng, 0.5) else "x>y"
    if chance(rng, 0.5):
        return f"x%{2 if chance(rng, 0.7) else 3}==0"
    return f"x{'<' if chance(rng, 0.5) else '>'}{draw(rng, 1, 6)}"


def random_branch(rng: np.random.Generator, two: bool) -> tuple[Sequence[str], int]:
    """One side of a choice: a number, an input or two, or a linear function."""
    kind = rng.random()
    if kind < 0.15:
        return (), draw(rng, 0, 9)
    if two:
        return (("x",), ("y",), ("x", "-y"), ("y", "-x"), ("x", "y"))[draw(rng, 0, 4)], 0
    if kind < 0.45:
        return (multiple(_slope(rng), "x"),), 0
    if kind < 0.7:
        return ("x",) if chance(rng, 0.8) else ("-x",), nonzero(rng, 6)
    if kind < 0.85:
        return (multiple(_slope(rng), "x"),), nonzero(rng, 5)
    return ("x//2",) if chance(rng, 0.6) else ("x*x",), 0


def _choice(rng: np.random.Generator, two: bool) -> Program:
    condition, one, other = random_condition(rng, two), random_branch(rng, two), random_branch(rng, two)
    a, b = _total(*one, two), _total(*other, two)
    values = [p if yes else q for yes, p, q in zip(condition_column(condition, two), a, b, strict=True)]
    if a == b:
        values = [0] * len(a)  # no choice at all: refused by the caller as a constant
    return Program(TWO if two else ONE, *one, condition, other, values)


def pick(program: Program, rng: np.random.Generator) -> tuple[list[int], list[int]] | None:
    """Rows of the grid for the public and the hidden examples; None if the outputs are too large or one-sided."""
    grid, two = program.grid, program.grid is TWO
    count = 6 if program.condition else 5 if two or len(program.parts) > 1 else draw(rng, 3, 5)
    if count == 3 and not is_linear(program.parts[0]):
        count = 4
    public: list[int] = []
    while len(public) < count:
        row = grid.near[draw(rng, 0, len(grid.near) - 1)] if chance(rng, 0.85) else draw(rng, 0, len(grid.rows) - 1)
        if row not in public:
            public.append(row)
    if any(abs(program.column[row]) > MAX_OUTPUT for row in public):
        return None
    if program.condition:
        side = condition_column(program.condition, two)
        if not 1 < sum(side[row] for row in public) < count - 1:
            return None
    order = rng.permutation(len(grid.rows)).tolist() if two else range(len(grid.rows))
    hidden = [row for row in order if row not in public]
    return public, hidden[:HIDDEN] if two else hidden


def think(program: Program, public: Sequence[int], rng: np.random.Generator) -> Sequence[str] | None:
    """One random line of thoughts that finds the program from its examples; None if it becomes too long."""
    rest = [program.column[row] for row in public]
    if program.condition:
        lines = _sorted_lines(program, public, rest, rng)
    else:
        lines = _difference(program, public, rest, rng)
        lines += _taken(program.parts, program.constant, public, rest, ("take", "take"), program.grid is TWO, rng)
    lines.append(f"f={program.text}")
    return lines if len(lines) <= MAX_THOUGHTS and max(map(len, lines)) <= MAX_CHARS else None


def _difference(program: Program, public: Sequence[int], rest: Sequence[int], rng: np.random.Generator) -> list[str]:
    """Of a linear function of one input, every other time, how two inputs and their outputs differ."""
    if program.grid is TWO or chance(rng, 0.5) or not all(map(is_linear, program.parts)):
        return []
    first = draw(rng, 0, len(public) - 2)
    (a, fa), (b, fb) = sorted((program.grid.rows[public[k]][0], rest[k]) for k in (first, first + 1))
    return [difference(a, fa, b, fb)] if a >= 0 else []


def difference(a: int, fa: int, b: int, fb: int) -> str:
    """`5-3=2, 11-7=4`, for a not below 0."""
    return f"{b}-{a}={b - a}, {fb}{'-' if fa >= 0 else '+'}{abs(fa)}={fb - fa}"


def _taken(
    parts: Sequence[str], constant: int, rows: Sequence[int], rest: list[int], words: tuple[str, str], two: bool,
    rng: np.random.Generator,
) -> list[str]:
    """Take the parts out one by one, in place, until the constant is left; a slope sometimes in two goes."""
    lines = []
    steps = [part for text in parts for part in _in_two(text, rng)] if len(parts) == 1 else list(parts)
    if len(steps) > 1 and chance(rng, 0.25):
        steps.reverse()
    for part in steps:
        values = column(part, two)
        taken = [values[row] for row in rows]
        lines.append(f"{words[0]} {part}: {shown(taken)}")
        rest[:] = [value - known for value, known in zip(rest, taken, strict=True)]
        lines.append(f"left {shown(rest)}")
    return lines


def _in_two(part: str, rng: np.random.Generator) -> Sequence[str]:
    """`3*x` as `2*x` and `x`, one time in six: a first guess and what mends it."""
    head, _, body = part.rpartition("*")
    if not head.lstrip("-").isdigit() or chance(rng, 0.83):
        return (part,)
    guess = int(head) + (1 if chance(rng, 0.5) else -1)
    return multiple(guess, body), multiple(int(head) - guess, body)


def shown(values: Sequence[int]) -> str:
    return " ".join(map(str, values))


def _sorted_lines(
    program: Program, public: Sequence[int], rest: Sequence[int], rng: np.random.Generator
) -> list[str]:
    """The examples by the condition, and a formula for each side."""
    two = program.grid is TWO
    side = condition_column(program.condition, two)
    inputs = [program.grid.rows[row] for row in public]
    lines = [sorting(program.condition, inputs, rest, [side[row] for row in public])]
    for word, wanted, (parts, constant) in (
        ("then", True, (program.parts, program.constant)), ("else", False, program.other)
    ):
        rows = [row for row in public if side[row] is wanted]
        if parts and constant and chance(rng, 0.3):
            left = [program.column[row] for row in rows]
            lines += _taken(parts, constant, rows, left, (word, word), two, rng)
        elif parts or chance(rng, 0.5):
            lines.append(f"{word} {sum_text(parts, constant)}: {shown([program.column[row] for row in rows])}")
    return lines


def sorting(condition: str, rows: Sequence[Row], values: Sequence[int], side: Sequence[bool]) -> str:
    """`if x%2==0: 4>2 10>5 else 7>22 3>10`: the examples, inputs and outputs, by a condition."""
    def listed(wanted: bool) -> str:
        return " ".join(f"{','.join(map(str, row))}>{value}"
                        for row, value, yes in zip(rows, values, side, strict=True) if yes is wanted)

    return f"if {condition}: {listed(True)} else {listed(False)}"


def examples_text(program: Program, rows: Sequence[int]) -> str:
    """`f(3)=7 f(5)=11`."""
    inputs, values = program.grid.rows, program.column
    return " ".join(f"f({','.join(map(str, inputs[row]))})={values[row]}" for row in rows)


def behaviour(program: Program) -> bytes:
    """The same for programs that give the same outputs, be it with x and y exchanged."""
    values = array("q", program.column)
    if program.grid is ONE:
        return b"1" + values.tobytes()
    side = math.isqrt(len(values))
    exchanged = array("q", [value for y in range(side) for value in program.column[y::side]])
    return b"2" + min(values.tobytes(), exchanged.tobytes())
