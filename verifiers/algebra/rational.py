"""Exact rational functions of x: pairs of polynomials over the rationals, in lowest terms, under caps.

A polynomial is a tuple of coefficients, the constant first, without zeros at its end; () is 0.
"""

from __future__ import annotations

from fractions import Fraction

from verifiers.algebra.expression import BadExpression

Coefficient = int | Fraction
Poly = tuple[Coefficient, ...]
Rational = tuple[Poly, Poly]  # numerator, monic denominator

ONE: Rational = ((1,), (1,))
_MAX_DEGREE = 40
_MAX_DENOMINATOR = 12
_MAX_BITS = 512


def whole(value: Coefficient) -> Coefficient:
    """An int where the value is one: ints are faster."""
    return value if isinstance(value, int) else value.numerator if value.denominator == 1 else value


def constant(value: Coefficient) -> Rational:
    return ((whole(value),) if value else (), (1,))


def times(a: Rational, b: Rational) -> Rational:
    if a[1] == b[1] == (1,):
        return _product(a[0], b[0]), (1,)
    return reduced(_product(a[0], b[0]), _product(a[1], b[1]))


def scaled(a: Rational, factor: Coefficient) -> Rational:
    if not factor:
        return (), (1,)
    return (tuple(whole(c * factor) for c in a[0]), a[1]) if factor != 1 else a


def plus(a: Rational, b: Rational) -> Rational:
    if a[1] == b[1] == (1,):
        return _sum(a[0], b[0]), (1,)
    return reduced(_sum(_product(a[0], b[1]), _product(b[0], a[1])), _product(a[1], b[1]))


def derivative(a: Rational) -> Rational:
    top, bottom = a
    if bottom == (1,):
        return _slope(top), (1,)
    difference = _sum(_product(_slope(top), bottom), tuple(-c for c in _product(top, _slope(bottom))))
    return reduced(difference, _product(bottom, bottom))


def reduced(top: Poly, bottom: Poly) -> Rational:
    """top/bottom in lowest terms. Raises BadExpression: division by zero, or too large."""
    if not bottom:
        raise BadExpression("division by zero")
    if not top:
        return (), (1,)
    if len(bottom) > 1:
        common = _gcd(top, bottom)
        if len(common) > 1:
            top, bottom = _divided(top, common)[0], _divided(bottom, common)[0]
    lead = Fraction(1) / bottom[-1]
    if lead != 1:
        top, bottom = tuple(whole(c * lead) for c in top), tuple(whole(c * lead) for c in bottom)
    return _checked(top, _MAX_DEGREE), _checked(bottom, _MAX_DENOMINATOR)


def _checked(a: Poly, max_degree: int) -> Poly:
    if len(a) - 1 > max_degree:
        raise BadExpression(f"a power above {max_degree}")
    if any(max(c.numerator.bit_length(), c.denominator.bit_length()) > _MAX_BITS for c in a):
        raise BadExpression("a number grows too large")
    return a


def _stripped(a: list[Coefficient]) -> Poly:
    while a and not a[-1]:
        a.pop()
    return tuple(a)


def _sum(a: Poly, b: Poly) -> Poly:
    if len(a) < len(b):
        a, b = b, a
    return _stripped([*(whole(c + d) for c, d in zip(a, b, strict=False)), *a[len(b):]])


def _product(a: Poly, b: Poly) -> Poly:
    if a == (1,):
        return b
    if b == (1,):
        return a
    result: list[Coefficient] = [0] * max(len(a) + len(b) - 1, 0)
    for i, c in enumerate(a):
        if c:
            for j, d in enumerate(b):
                result[i + j] += c * d
    return _checked(_stripped([whole(c) for c in result]), _MAX_DEGREE)


def _slope(a: Poly) -> Poly:
    return tuple(whole(i * c) for i, c in enumerate(a))[1:]


def _divided(a: Poly, b: Poly) -> tuple[Poly, Poly]:
    """Quotient and remainder."""
    rest = list(a)
    quotient: list[Coefficient] = [0] * max(len(a) - len(b) + 1, 0)
    lead = Fraction(1) / b[-1]
    for i in range(len(quotient) - 1, -1, -1):
        factor = whole(rest[i + len(b) - 1] * lead)
        quotient[i] = factor
        if factor:
            for j, c in enumerate(b):
                rest[i + j] = whole(rest[i + j] - factor * c)
    return _stripped(quotient), _stripped(rest[: len(b) - 1])


def _gcd(a: Poly, b: Poly) -> Poly:
    """The monic greatest common divisor (Euclid)."""
    while b:
        a, b = b, _divided(a, b)[1]
        if b:  # monic remainders keep the numbers small
            lead = Fraction(1) / b[-1]
            b = tuple(whole(c * lead) for c in b)
    return a
