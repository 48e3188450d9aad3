"""Equations with small whole numbers, and human-like lines of thought that solve them.

Each generator returns a prompt and its lines. What is done first, and how, is drawn at random among the ways people
use, so that lines of thought differ. Plain integers and strings only: this is the hot path of pretraining.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from verifiers.domains.chance import chance, draw

MAX_THOUGHTS = 8
MAX_CHARS = 40
Row = tuple[int, int, int]  # a, b, c of ax+by=c
Solved = tuple[str, list[str]]


def nonzero(rng: np.random.Generator, bound: int) -> int:
    """A whole number in -bound..bound, not 0."""
    number = draw(rng, 1, bound)
    return number if rng.random() < 0.6 else -number


def joined(*terms: tuple[int, str]) -> str:
    """Terms (coefficient, monomial) as text: `x^2-5x+6`; those with 0 are left out."""
    parts: list[str] = []
    for coefficient, monomial in terms:
        if not coefficient:
            continue
        size = abs(coefficient)
        sign = "-" if coefficient < 0 else "+" if parts else ""
        parts.append(sign + (monomial if size == 1 and monomial else f"{size}{monomial}"))
    return "".join(parts) or "0"


def linear_text(a: int, b: int, c: int, d: int) -> str:
    return f"{joined((a, 'x'), (b, ''))}={joined((c, 'x'), (d, ''))}"


def row_text(row: Row) -> str:
    return f"{joined((row[0], 'x'), (row[1], 'y'))}={row[2]}"


def quotient(a: int, b: int) -> str:
    return str(Fraction(a, b))


def generate(rng: np.random.Generator) -> Solved:
    """A random equation or system, and one random line of thoughts that solves it."""
    kind = rng.random()
    maker: Callable[[np.random.Generator], Solved] = (
        linear if kind < 0.35 else quadratic if kind < 0.68 else system
    )
    while True:
        prompt, lines = maker(rng)
        kept = [line for before, line in zip([prompt, *lines], lines, strict=False) if line != before]
        if 0 < len(kept) <= MAX_THOUGHTS and max(map(len, kept)) <= MAX_CHARS:
            return prompt, kept


def linear(rng: np.random.Generator) -> Solved:
    """ax+b=cx+d, or with a bracket on the left; the root is whole, now and then a simple fraction."""
    denominator = draw(rng, 2, 4) if chance(rng, 0.1) else 1
    top = nonzero(rng, 10) if denominator > 1 or chance(rng, 0.95) else 0
    lean = denominator * nonzero(rng, 8 // denominator)  # a - c
    c = nonzero(rng, 6) if chance(rng, 0.5) else 0
    a = lean + c
    if a == 0 or (lean, c) == (1, 0):
        return linear(rng)
    bracket = chance(rng, 0.3) and abs(a) > 1
    inner = nonzero(rng, 6)
    extra = nonzero(rng, 15) if not bracket or chance(rng, 0.3) else 0
    b = a * inner + extra if bracket else extra
    d = lean * top // denominator + b
    lines = _linear_lines(a, b, c, d, rng)
    if not bracket:
        prompt = linear_text(a, b, c, d)
        if not c and chance(rng, 0.15):
            return f"{d}={joined((a, 'x'), (b, ''))}", [prompt, *lines] if chance(rng, 0.5) else lines
        return prompt, lines
    group = f"({joined((1, 'x'), (inner, ''))})"
    prompt = f"{joined((a, group), (extra, ''))}={joined((c, 'x'), (d, ''))}"
    if not extra and not c and d % a == 0 and chance(rng, 0.5):  # divide first
        return prompt, [f"{joined((1, 'x'), (inner, ''))}={d // a}", f"x={d // a - inner}"]
    if extra and chance(rng, 0.3):
        lines = [f"{joined((a, group))}={joined((c, 'x'), (d - extra, ''))}",
                 *_with_first(a, b - extra, c, d - extra, rng)]
        return prompt, lines
    return prompt, [linear_text(a, b, c, d), *lines]


def _with_first(a: int, b: int, c: int, d: int, rng: np.random.Generator) -> list[str]:
    return [linear_text(a, b, c, d), *_linear_lines(a, b, c, d, rng)]


def _linear_lines(a: int, b: int, c: int, d: int, rng: np.random.Generator) -> list[str]:
    """From ax+b=cx+d (a != c) to x=..., without the first line."""
    lines = []
    while not (a == 1 and b == c == 0):
        if a and not b and not c:
            lines.append(f"x={quotient(d, a)}")
            break
        if c and not a and not d:
            a, b, c, d = c, 0, 0, b
        else:
            a, b, c, d = _linear_move(a, b, c, d, rng)
            if a and c and chance(rng, 0.1):  # two things at once
                a, b, c, d = _linear_move(a, b, c, d, rng)
        lines.append(linear_text(a, b, c, d))
    return lines


def _linear_move(a: int, b: int, c: int, d: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    common = math.gcd(a, b, c, d)
    if common > 1 and chance(rng, 0.4):
        return a // common, b // common, c // common, d // common
    if a and c and (not b or chance(rng, 0.6)):
        return (a - c, b, 0, d) if chance(rng, 0.9 if a > c else 0.4) else (0, b, c - a, d)
    return (a, 0, c, d - b) if a else (0, b - d, c, 0)


def quadratic(rng: np.random.Generator) -> Solved:
    """m(kx-p)(x-q)=0, expanded and with terms on both sides; k is 1, now and then 2."""
    k = 2 if chance(rng, 0.06) else 1
    bound = 10 if chance(rng, 0.4) else 7
    p, q = draw(rng, -bound, bound), draw(rng, -bound, bound)
    if k == 2:
        p += 1 - p % 2  # odd, so that the fraction stays one
    m = 1 if bound > 7 or chance(rng, 0.7) else (-1, 2, 3)[draw(rng, 0, 2)]
    a, b, c = m * k, -m * (p + k * q), m * p * q
    if not b and not c:
        return quadratic(rng)
    lines: list[str] = []
    e = f = 0
    if chance(rng, 0.5):
        e = (0, -b, nonzero(rng, 9))[draw(rng, 0, 2)]
        f = (0, -c, nonzero(rng, 12))[draw(rng, 0, 2)]
    prompt = _quadratic_text(a, b + e, c + f, e, f)
    if e and f and chance(rng, 0.75):  # one kind of term at a time
        lines.append(_quadratic_text(a, b, c + f, 0, f) if chance(rng, 0.5) else _quadratic_text(a, b + e, c, e, 0))
    if not (b == 0 and e == 0 and f == -c):
        lines.append(_quadratic_text(a, b, c, 0, 0))
    if m != 1 and chance(rng, 0.9):
        a, b, c = a // m, b // m, c // m
        lines.append(_quadratic_text(a, b, c, 0, 0))
        m = 1
    return prompt, lines + _quadratic_lines(a, b, c, (m, k, p, q), rng)


def _quadratic_text(a: int, b: int, c: int, e: int, f: int) -> str:
    return f"{joined((a, 'x^2'), (b, 'x'), (c, ''))}={joined((e, 'x'), (f, ''))}"


def _quadratic_lines(a: int, b: int, c: int, factors: tuple[int, int, int, int], rng: np.random.Generator) -> list[str]:
    """From the standard form to the roots: by taking a root, by factors (perhaps splitting bx), or by the formula."""
    m, k, p, q = factors
    roots = sorted({Fraction(p, k), Fraction(q)})
    final = ", ".join(f"x={root}" for root in roots)
    if not b and c % a == 0 and chance(rng, 0.7):
        return [f"x^2={-c // a}", final]
    if chance(rng, 0.15):
        return [*_formula(a, b, c, rng), final]
    left, right = _factor(k, p), _factor(1, q)
    whole = "" if m == 1 else "-" if m == -1 else str(m)
    lines = []
    if m == 1 and p and q and chance(rng, 0.25):
        lines.append(f"{joined((k, 'x^2'), (-p, 'x'), (-k * q, 'x'), (c, ''))}=0")
        if chance(rng, 0.5):
            lines.append(f"x{left}{joined((1, ''), (-q, left))[1:]}=0")
    if k == 1 and chance(rng, 0.5):
        left, right = right, left
    if right == "x":
        left, right = right, left
    lines.append(f"{whole}{left}^2=0" if left == right and chance(rng, 0.5) else f"{whole}{left}{right}=0")
    return [*lines, final]


def _factor(k: int, p: int) -> str:
    return f"({joined((k, 'x'), (-p, ''))})" if p else joined((k, "x"))


def _formula(a: int, b: int, c: int, rng: np.random.Generator) -> list[str]:
    discriminant = b * b - 4 * a * c
    root = math.isqrt(discriminant)
    lines = [f"D={joined((b * b, ''), (-4 * a * c, ''))}"] if b and c and chance(rng, 0.9) else []
    lines.append(f"D={discriminant}")
    if b and a > 0 and chance(rng, 0.6):
        lines.append(f"x=({-b}-{root})/{2 * a}, x=({-b}+{root})/{2 * a}" if root else f"x={-b}/{2 * a}")
    return lines


def system(rng: np.random.Generator) -> Solved:
    """Two rows ax+by=c with a whole solution, solved by elimination or substitution."""
    x, y = draw(rng, -7, 7), draw(rng, -7, 7)
    small = 2 if chance(rng, 0.6) else 4
    rows: list[Row] = []
    for bound in (small, 4):
        a, b = nonzero(rng, bound), nonzero(rng, bound)
        if chance(rng, 0.06):
            a, b = (a, 0) if chance(rng, 0.5) else (0, b)
        rows.append((a, b, a * x + b * y))
    if rows[0][0] * rows[1][1] == rows[0][1] * rows[1][0]:
        return system(rng)
    if chance(rng, 0.5):
        rows.reverse()
    texts = [row_text(row) for row in rows]
    if chance(rng, 0.2) and abs(rows[0][1]) == 1:  # y=ax+b
        texts[0] = "y=" + joined((-rows[0][0] * rows[0][1], "x"), (rows[0][2] * rows[0][1], ""))
    prompt = "; ".join(texts)
    final = f"x={x}; y={y}"
    units = [(i, v) for i in (0, 1) for v in (0, 1)
             if abs(rows[i][v]) == 1 and rows[i][1 - v] and rows[1 - i][0] and rows[1 - i][1]]
    if units and chance(rng, 0.55):
        i, v = units[draw(rng, 0, len(units) - 1)]
        lines = _substitution(rows[i], rows[1 - i], v, (x, y), rng)
    else:
        lines = _elimination(rows[0], rows[1], draw(rng, 0, 1), (x, y), rng)
    return prompt, [*(line for line in lines if line not in (final, f"y={y}; x={x}")), final]


def _substitution(unit: Row, other: Row, v: int, solution: tuple[int, int], rng: np.random.Generator) -> list[str]:
    """Unknown v (0: x, 1: y) from a row where it stands alone, put into the other row."""
    name, rest = "xy"[v], "yx"[v]
    sign = unit[v]
    slope, shift = -sign * unit[1 - v], sign * unit[2]
    expression = joined((slope, rest), (shift, ""))
    isolated = f"{name}={expression}"
    lines = [f"{isolated}; {row_text(other)}"] if chance(rng, 0.4) else []
    put = joined((other[1 - v], rest), (other[v], f"({expression})"))
    a, b = other[1 - v] + other[v] * slope, other[v] * shift
    if chance(rng, 0.9):
        lines.append(f"{isolated}; {put}={other[2]}")
    if chance(rng, 0.85) and b:
        lines.append(f"{isolated}; {joined((a, rest), (b, ''))}={other[2]}")
    if a != 1 and chance(rng, 0.95):
        lines.append(f"{isolated}; {joined((a, rest))}={other[2] - b}")
    lines.append(f"{isolated}; {rest}={solution[1 - v]}")
    return lines


def _elimination(
    first: Row, second: Row, v: int, solution: tuple[int, int], rng: np.random.Generator
) -> list[str]:
    """Unknown v disappears from a combination of the rows; the other one is put into a row that is kept."""
    name, rest = "xy"[v], "yx"[v]
    lines = []
    if first[v] and second[v]:
        common = math.lcm(first[v], second[v])
        k, m = common // first[v], common // second[v]
        if k < 0:
            k, m = -k, -m
        if (k > 1 or abs(m) > 1) and chance(rng, 0.9):
            scaled = [(k * first[0], k * first[1], k * first[2]),
                      (abs(m) * second[0], abs(m) * second[1], abs(m) * second[2])]
            lines.append("; ".join(map(row_text, scaled)))
        coefficient, value = k * first[1 - v] - m * second[1 - v], k * first[2] - m * second[2]
        if coefficient < 0 and chance(rng, 0.6):
            coefficient, value = -coefficient, -value
        kept = first if chance(rng, 0.5) else second
    else:
        single, kept = (second, first) if first[v] else (first, second)
        coefficient, value = single[1 - v], single[2]
    if coefficient != 1 and chance(rng, 0.95):
        lines.append(f"{joined((coefficient, rest))}={value}; {row_text(kept)}")
    found = f"{rest}={solution[1 - v]}"
    lines.append(f"{found}; {row_text(kept)}")
    known = kept[1 - v] * solution[1 - v]
    if known and chance(rng, 0.85):
        lines.append(f"{found}; {joined((kept[v], name), (known, ''))}={kept[2]}")
    if kept[v] != 1 and chance(rng, 0.9):
        lines.append(f"{found}; {joined((kept[v], name))}={kept[2] - known}")
    return lines
