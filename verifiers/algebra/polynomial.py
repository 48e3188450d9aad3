"""Polynomials in x and y with exact coefficients, read off an expression tree."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from verifiers.algebra.expression import BadExpression, Binary, Name, Negate, Node, Number

Coefficient = int | Fraction
Polynomial = dict[tuple[int, int], Coefficient]  # (power of x, power of y) -> coefficient, never 0

MAX_DEGREE = 8  # while expanding: terms of a higher power may still cancel
_MAX_BITS = 512


def polynomial(node: Node) -> Polynomial:
    """Expand and collect. Raises BadExpression: an unknown in a denominator, division by zero, too high a degree."""
    match node:
        case Number(value):
            return {(0, 0): value} if value else {}
        case Name(name):
            return {(1, 0) if name == "x" else (0, 1): 1}
        case Negate(operand):
            return scaled(polynomial(operand), -1)
        case Binary("+", left, right):
            return added(polynomial(left), polynomial(right))
        case Binary("-", left, right):
            return added(polynomial(left), polynomial(right), -1)
        case Binary("*", left, right):
            return _product(polynomial(left), polynomial(right))
        case Binary("/", left, right):
            divisor = polynomial(right)
            if not divisor:
                raise BadExpression("division by zero")
            if set(divisor) != {(0, 0)}:
                raise BadExpression("an unknown in a denominator")
            return scaled(polynomial(left), 1 / Fraction(divisor[0, 0]))
        case Binary("^", base, Number(exponent)):
            factor = polynomial(base)
            result: Polynomial = {(0, 0): 1}
            for _ in range(int(exponent)):
                result = _product(result, factor)
            return result
    raise BadExpression("a root in an equation")


def added(a: Polynomial, b: Polynomial, factor: Coefficient = 1) -> Polynomial:
    """a + factor * b."""
    result = dict(a)
    for powers, coefficient in b.items():
        result[powers] = result.get(powers, 0) + factor * coefficient
    return {powers: coefficient for powers, coefficient in result.items() if coefficient}


def scaled(a: Polynomial, factor: Coefficient) -> Polynomial:
    return {powers: coefficient * factor for powers, coefficient in a.items()}


def _product(a: Polynomial, b: Polynomial) -> Polynomial:
    result: Polynomial = {}
    for (i, j), left in a.items():
        for (k, m), right in b.items():
            powers = i + k, j + m
            if sum(powers) > MAX_DEGREE:
                raise BadExpression(f"a power above {MAX_DEGREE}")
            result[powers] = result.get(powers, 0) + left * right
    if any(max(c.numerator.bit_length(), c.denominator.bit_length()) > _MAX_BITS for c in result.values()):
        raise BadExpression("a number grows too large")
    return {powers: coefficient for powers, coefficient in result.items() if coefficient}


def degree(a: Polynomial) -> int:
    """The total degree; 0 for constants and for zero."""
    return max((i + j for i, j in a), default=0)


def primitive(row: Iterable[Coefficient]) -> tuple[int, ...]:
    """The coefficients scaled to whole numbers without a common divisor; the first that is not 0 becomes positive."""
    values = list(row)
    if not all(isinstance(value, int) for value in values):
        denominator = math.lcm(*(Fraction(value).denominator for value in values))
        values = [value * denominator for value in values]
    whole = [int(value) for value in values]
    divisor = math.gcd(*whole) or 1
    if next((value for value in whole if value), 1) < 0:
        divisor = -divisor
    return tuple(value // divisor for value in whole)
