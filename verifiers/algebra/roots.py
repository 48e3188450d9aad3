"""Claimed solutions: reading them, putting them into equations exactly, and writing the true one.

Rational values are tested with Fractions. Roots such as 1+sqrt(2) go through sympy, imported only then and given
objects built from our own tree, never text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from verifiers.algebra.expression import (
    BadExpression,
    Binary,
    Call,
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
from verifiers.algebra.polynomial import Polynomial, degree, primitive

if TYPE_CHECKING:
    import sympy  # type: ignore[import-untyped]

MAX_ANSWER_CHARS = 100
Answers = list[tuple[str, Node]]
_PLAIN = re.compile(r"(-?[0-9]{1,12})(?:/([0-9]{1,12})|\.[0-9]{1,10})?")
_PIECES = re.compile(r"\s*[,;]\s*")


class BadAnswer(ValueError):
    """A text that names no solution in a finished form; one clear line."""


def read_answer(text: str, unknowns: str, finished: bool = True) -> Answers:
    """Read `x=2, x=3` or `x=3; y=1` as (letter, value) pairs.

    Args:
        text: untrusted.
        unknowns: one letter, or two for a system (each must then be given once).
        finished: a value must be a number, a fraction in lowest terms, or irrational, and its rational parts such
            numbers; otherwise any expression of numbers will do. `x=84/12` would leave the division to the checker.

    Raises BadAnswer.
    """
    if len(text) > MAX_ANSWER_CHARS:
        raise BadAnswer(f"an answer of {len(text)} characters; at most {MAX_ANSWER_CHARS} are allowed")
    pieces = _PIECES.split(text.strip(" "))
    if len(pieces) > 2:
        raise BadAnswer("more than two values")
    answers = []
    for piece in pieces:
        name, sign, value = piece.partition("=")
        if not sign or name.strip(" ") not in tuple(unknowns):
            raise BadAnswer(f"{piece[:30]!a} is not of the form {unknowns[0]}=number")
        answers.append((name.strip(" "), _value(value.strip(" "), finished)))
    if len(unknowns) == 2 and sorted(name for name, _ in answers) != sorted(unknowns):
        raise BadAnswer(f"a solution gives {unknowns[0]} and {unknowns[1]}, once each")
    return answers


def _value(text: str, finished: bool) -> Node:
    try:
        node = parse_expression(text, max_chars=60, max_operands=8, max_depth=4, implicit=True, decimals=True,
                                sqrt=True)
    except BadExpression as error:
        raise BadAnswer(f"{text[:30]!a} is no number: {error}") from None
    if not finished:
        return node
    if _is_finished(text):
        return node
    if any(len(str(leaf.value)) > 9 for leaf in leaves(node) if isinstance(leaf, Number)):
        raise BadAnswer(f"{text[:30]!a} has too many digits")
    if not _is_irrational(node) or not all(
            isinstance(part, Number) or _is_finished(render(part)) for part in _rational_parts(node)):
        raise BadAnswer(f"{text[:30]!a} is not a finished number")
    return node


def _is_finished(text: str) -> bool:
    """Is this a whole number, a decimal, or a fraction in lowest terms?"""
    match = _PLAIN.fullmatch(text)
    return match is not None and not (
        match[2] and (int(match[2]) < 2 or math.gcd(int(match[1]), int(match[2])) != 1))


def _is_irrational(node: Node) -> bool:
    """Is the value p + q*sqrt(r) with q not 0, from one square root that is no whole number?"""
    roots = [leaf for leaf in leaves(node) if isinstance(leaf, Sqrt)]
    if len(roots) != 1 or math.isqrt(roots[0].radicand) ** 2 == roots[0].radicand or roots[0].radicand > 10**9:
        return False
    try:
        return _surd(node, roots[0].radicand)[1] != 0
    except ZeroDivisionError:
        return False


def _surd(node: Node, r: int) -> tuple[Fraction, Fraction]:
    """(p, q) of a value p + q*sqrt(r). Raises ZeroDivisionError."""
    match node:
        case Number(value):
            return Fraction(value), Fraction(0)
        case Sqrt():
            return Fraction(0), Fraction(1)
        case Negate(operand):
            p, q = _surd(operand, r)
            return -p, -q
        case Binary(op, left, right):
            (a, b), (c, d) = _surd(left, r), _surd(right, r)
            if op in "+-":
                sign = 1 if op == "+" else -1
                return a + sign * c, b + sign * d
            if op == "/":  # by its conjugate over its norm
                norm = c * c - d * d * r
                c, d = c / norm, -d / norm
            return a * c + b * d * r, a * d + b * c
        case Name() | Call():
            raise BadAnswer("a value must be a number")


def _rational_parts(node: Node) -> list[Node]:
    """The largest parts of a value without a square root, its signs left out."""
    if not any(isinstance(leaf, Sqrt) for leaf in leaves(node)):
        return [node.operand if isinstance(node, Negate) else node]
    if isinstance(node, Negate):
        return _rational_parts(node.operand)
    return _rational_parts(node.left) + _rational_parts(node.right) if isinstance(node, Binary) else []


def substitute(equations: Sequence[Polynomial], claimed: Answers, unknowns: str) -> str | None:
    """Does every claimed root fit (equation = 0), and are they all? None if so, else what is wrong.

    Systems have one solution (determinant not 0, seen to when they were posed).
    """
    if any(isinstance(leaf, Sqrt) for _, node in claimed for leaf in leaves(node)):
        return _substitute_exactly(equations, claimed, unknowns)
    try:
        values = [(name, evaluate(node)) for name, node in claimed]
    except BadExpression as error:
        return str(error)
    if len(unknowns) == 2:
        point = dict(values)
        fits = all(_at(row, point[unknowns[0]], point[unknowns[1]]) == 0 for row in equations)
        return None if fits else "the values do not fit both equations"
    for name, value in values:
        if _at(equations[0], value, Fraction(0)) != 0:
            return f"{name}={value} does not fit"
    if len({value for _, value in values}) != len(values):
        return "a root is named twice"
    a, b, c = _coefficients(equations[0])
    count = 1 if a == 0 or b * b == 4 * a * c else 2  # of real roots, one being known to exist
    return None if len(values) == count else "a root is missing"


def _at(row: Polynomial, x: Fraction, y: Fraction) -> Fraction:
    return sum((Fraction(c) * x**i * y**j for (i, j), c in row.items()), Fraction(0))


def _substitute_exactly(equations: Sequence[Polynomial], claimed: Answers, unknowns: str) -> str | None:
    """The same with sympy, for values with square roots."""
    import sympy

    symbols = {letter: sympy.Symbol(letter) for letter in "xy"}
    try:
        values = [_to_sympy(node) for _, node in claimed]
    except ZeroDivisionError:
        return "division by zero"
    if len(unknowns) == 2:
        return "the values do not fit both equations"  # rational rows have a rational solution
    poly = sympy.Poly({powers[0]: sympy.Rational(Fraction(c).numerator, Fraction(c).denominator)
                       for powers, c in equations[0].items()}, symbols["x"])
    for (name, node), value in zip(claimed, values, strict=True):
        if sympy.radsimp(sympy.expand(poly.as_expr().subs(symbols["x"], value))) != 0:
            return f"{name}={render(node)} does not fit"
    if len(values) == 2 and sympy.radsimp(sympy.expand(values[0] - values[1])) == 0:
        return "a root is named twice"
    return None if len(values) == poly.sqf_part().count_roots() else "a root is missing"


def _to_sympy(node: Node) -> sympy.Expr:
    """sympy's object for a tree of numbers. Raises ZeroDivisionError."""
    import sympy

    match node:
        case Number(value):
            return sympy.Rational(Fraction(value).numerator, Fraction(value).denominator)
        case Sqrt(radicand):
            return sympy.sqrt(sympy.Integer(radicand))
        case Negate(operand):
            return -_to_sympy(operand)
        case Binary(op, left, right):
            a, b = _to_sympy(left), _to_sympy(right)
            if op == "/":
                if sympy.radsimp(sympy.expand(b)) == 0:
                    raise ZeroDivisionError
                return a / b
            return a + b if op == "+" else a - b if op == "-" else a * b
        case Name() | Call():
            raise BadAnswer("a value must be a number")


def _coefficients(row: Polynomial) -> tuple[Fraction, Fraction, Fraction]:
    a, b, c = (Fraction(row.get((power, 0), 0)) for power in (2, 1, 0))
    return a, b, c


def solution_text(equations: Sequence[Polynomial], unknowns: str) -> str:
    """All real solutions of `polynomial = 0`, ascending. Raises BadExpression if there are none, endless many, or
    the equations are neither linear nor quadratic (a system: linear)."""
    if len(equations) == 2:
        return _system_text(equations, unknowns)
    if degree(equations[0]) > 2:
        raise BadExpression(f"degree {degree(equations[0])}, and at most 2 is solved")
    a, b, c = primitive(_coefficients(equations[0]))
    if a == b == 0:
        raise BadExpression("nothing solves it" if c else "every number solves it")
    if a == 0:
        return f"{unknowns}={Fraction(-c, b)}"
    discriminant = b * b - 4 * a * c
    if discriminant < 0:
        raise BadExpression("it has no real root, and real roots are needed")
    root = math.isqrt(discriminant)
    if root * root == discriminant:
        return ", ".join(f"{unknowns}={value}" for value in sorted({Fraction(-b - s, 2 * a) for s in (root, -root)}))
    return ", ".join(f"{unknowns}={_irrational(b, discriminant, 2 * a, sign)}" for sign in "-+")


def _irrational(b: int, discriminant: int, denominator: int, sign: str) -> str:
    """(-b +- sqrt(discriminant))/denominator in its simplest form, for a denominator > 0."""
    outside = max(k for k in range(1, min(1000, math.isqrt(discriminant)) + 1) if discriminant % (k * k) == 0)
    common = math.gcd(b, outside, denominator)
    p, q, r = -b // common, outside // common, denominator // common
    surd = ("" if q == 1 else f"{q}*") + f"sqrt({discriminant // outside**2})"
    top = f"{p}{sign}{surd}" if p else surd if sign == "+" else f"-{surd}"
    return top if r == 1 else f"({top})/{r}" if p else f"{top}/{r}"


def _system_text(equations: Sequence[Polynomial], unknowns: str) -> str:
    if max(map(degree, equations)) > 1:
        raise BadExpression("a system must be linear")
    (a, b, e), (c, d, f) = (
        tuple(Fraction(row.get(powers, 0)) for powers in ((1, 0), (0, 1), (0, 0))) for row in equations
    )
    determinant = a * d - b * c
    if determinant == 0:
        raise BadExpression("it has no solution, or endless many")
    x, y = (b * f - d * e) / determinant, (c * e - a * f) / determinant
    return f"{unknowns[0]}={x}; {unknowns[1]}={y}"
