"""Random moves on equations, for the control policy: legal in form, with no idea where they lead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from verifiers.algebra.expression import BadExpression, parse_expression
from verifiers.algebra.polynomial import Polynomial, added, degree, polynomial
from verifiers.domains.chance import chance, draw
from verifiers.domains.equation_steps import joined, linear_text, nonzero, quotient, row_text

_FACTORS = re.compile(r"(?:\(x([+-][0-9]{1,4})\)|x)(?:\(x([+-][0-9]{1,4})\)|\^2)=0")
_MOST = 9999  # moves that would write longer numbers are not made


def random_move(line: str, count: int, max_operands: int, rng: np.random.Generator) -> str:
    """A next line after `line`, of a problem of `count` equations; never the same line."""
    for _ in range(20):
        move = _system_move(line, rng) if count == 2 else _single_move(line, rng)
        if move != line:
            return move
    return _guess(count, rng) if count == 2 else f"x={draw(rng, 10, 99)}"


def _sides(text: str) -> tuple[Polynomial, Polynomial] | None:
    left, _, right = text.partition("=")
    try:
        a, b = (polynomial(parse_expression(side, names=frozenset("xy"), max_power=4, implicit=True, decimals=True))
                for side in (left, right))
    except BadExpression:
        return None
    return a, b


def _whole(values: Sequence[int | Fraction]) -> list[int] | None:
    """The values as integers if they are, and short."""
    exact = [Fraction(value) for value in values]
    if any(value.denominator != 1 or abs(value) > _MOST for value in exact):
        return None
    return [int(value) for value in exact]


def _roots_text(first: int, second: int) -> str:
    return ", ".join(f"x={root}" for root in sorted({first, second}))


def _single_move(line: str, rng: np.random.Generator) -> str:
    factors = _FACTORS.fullmatch(line)
    if factors is not None and chance(rng, 0.6):
        first, second = -int(factors[1] or 0), -int(factors[2] or 0)
        return _roots_text(first, first if line.endswith("^2=0") else second)
    sides = _sides(line)
    if sides is None:
        return _roots_text(draw(rng, -12, 12), draw(rng, -12, 12))
    values = _whole([side.get((power, 0), 0) for side in sides for power in (2, 1, 0)])
    if values is None or max(map(degree, sides)) > 2 or any(j for side in sides for _, j in side):
        return f"x={draw(rng, -12, 12)}"
    return _quadratic_move(values, rng) if values[0] or values[3] else _linear_move(values, rng)


def _linear_move(values: list[int], rng: np.random.Generator) -> str:
    _, a, b, _, c, d = values
    if chance(rng, 0.15) or not (a or c):
        return f"x={draw(rng, -12, 12)}"
    if a and not b and not c and chance(rng, 0.7):
        return f"x={quotient(d, a)}"
    if c and not a and not d and chance(rng, 0.7):
        return linear_text(c, 0, 0, b)
    k, m = _both_sides((a, c), (b, d), rng)
    return linear_text(a - k, b - m, c - k, d - m)


def _both_sides(xs: tuple[int, int], numbers: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """A term kx+m to take from both sides: mostly one that stands there, else any."""
    kind = rng.random()
    if kind < 0.4:
        return xs[draw(rng, 0, 1)], 0
    if kind < 0.8:
        return 0, numbers[draw(rng, 0, 1)]
    return (nonzero(rng, 9), 0) if chance(rng, 0.5) else (0, nonzero(rng, 20))


def _quadratic_move(values: list[int], rng: np.random.Generator) -> str:
    a, b, c, e, f, g = values
    kind = rng.random()
    if kind < 0.25:
        return _roots_text(draw(rng, -12, 12), draw(rng, -12, 12))
    if kind < 0.55:
        first, second = (joined((1, "x"), (nonzero(rng, 12), "")) for _ in range(2))
        return f"({first})({second})=0"
    k, m = _both_sides((b, f), (c, g), rng)
    left = joined((a - e, "x^2"), (b - k, "x"), (c - m, ""))
    return f"{left}={joined((f - k, 'x'), (g - m, ''))}"


def _guess(count: int, rng: np.random.Generator) -> str:
    return "; ".join(f"{name}={draw(rng, -9, 9)}" for name in "xy"[:count])


def _system_move(line: str, rng: np.random.Generator) -> str:
    rows = _rows(line)
    if rows is None or chance(rng, 0.1):
        return _guess(2, rng)
    i = draw(rng, 0, 1)
    one, other = rows[i], rows[1 - i]
    known = [v for v in (0, 1) if one[v] == 1 and not one[1 - v]]
    alone = [v for v in (0, 1) if one[v] and not one[1 - v] and one[2] % one[v] == 0]
    if known and other[known[0]] and chance(rng, 0.8):  # put the known value into the other row
        v = known[0]
        new = [other[0], other[1], other[2] - other[v] * one[2]]
        new[v] = 0
        rows[1 - i] = new
    elif alone and not known:
        rows[i] = [value // one[alone[0]] for value in one]
    else:  # add a multiple of one row to the other
        k = nonzero(rng, 3)
        rows[i] = [a + k * b for a, b in zip(one, other, strict=True)]
    if not any(rows[0][:2]) or not any(rows[1][:2]) or _whole(rows[0] + rows[1]) is None:
        return _guess(2, rng)
    if not rows[0][0] and not rows[1][1]:
        rows.reverse()
    return "; ".join(row_text((row[0], row[1], row[2])) for row in rows)


def _rows(line: str) -> list[list[int]] | None:
    """The two rows a, b, c of ax+by=c with short whole coefficients; None for any other line."""
    rows = []
    for text in line.split("; "):
        sides = _sides(text)
        if sides is None:
            return None
        row = added(sides[0], sides[1], -1)
        values = _whole([row.get((1, 0), 0), row.get((0, 1), 0), -row.get((0, 0), 0)])
        if values is None or degree(row) > 1 or not any(values[:2]):
            return None
        rows.append(values)
    return rows if len(rows) == 2 else None
