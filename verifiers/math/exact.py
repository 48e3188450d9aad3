"""Rational values by exact arithmetic, with the size of every number estimated before it is computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from verifiers.math.tree import (
    Add,
    Based,
    Big,
    Call,
    Const,
    Div,
    Mul,
    Neg,
    Node,
    Num,
    Pow,
    Root,
    Singular,
    Sym,
    TooLarge,
    Undefined,
    children,
    walk,
)

MAX_BITS = 20_000  # of a numerator or denominator
MAX_SYMBOLIC_POWER = 1000  # of what is no rational number
MAX_TERMS = 1000  # of a sum or product that is added up term by term


def rational(node: Node) -> Fraction | None:
    """The value of an expression if it is rational by arithmetic alone; every part is looked at, even if it is not.

    Raises Undefined for a division by zero, TooLarge before anything larger than MAX_BITS is computed.
    """
    match node:
        case Num(value):
            return value
        case Based(value, _):
            return Fraction(value)
        case Neg(operand):
            inner = rational(operand)
            return None if inner is None else -inner
        case Add(terms):
            return _folded(terms, lambda a, b: a + b)
        case Mul(factors):
            return _folded(factors, lambda a, b: a * b)
        case Div(numerator, denominator):
            above, below = rational(numerator), rational(denominator)
            if below == 0:
                raise Singular("a division by zero")
            return None if above is None or below is None else bounded(above / below)
        case Pow(base, exponent):
            return _power(node, rational(base), rational(exponent))
        case Root(radicand, index):
            inner = rational(radicand)
            return None if inner is None else root(inner, index)
        case Call(name, args):
            return _call(name, [rational(arg) for arg in args])
        case Big(_, body, _, low, high):
            for part in (low, high):
                rational(part)
            if any(isinstance(part, Num) and size(part.value) > MAX_BITS for part in walk(body)):
                raise TooLarge("a number grows too large")
            return None
    for child in children(node):
        rational(child)
    return None


def _folded(parts: tuple[Node, ...], combine: Callable[[Fraction, Fraction], Fraction]) -> Fraction | None:
    values = [rational(part) for part in parts]
    result: Fraction | None = None
    for value in values:
        if value is None:
            return None
        result = value if result is None else bounded(combine(result, value))
    return result


def bounded(value: Fraction) -> Fraction:
    if size(value) > MAX_BITS:
        raise TooLarge("a number grows too large")
    return value


def size(value: Fraction) -> int:
    """Bits of the larger of numerator and denominator."""
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _power(node: Pow, base: Fraction | None, exponent: Fraction | None) -> Fraction | None:
    if exponent is None:
        return None
    if base is None:
        limit = MAX_SYMBOLIC_POWER * (100 if isinstance(node.base, Const) else 1)
        if abs(exponent) > limit or exponent.denominator > 1000:
            raise TooLarge(f"a power beyond {limit} of what is no rational number")
        return None
    if base == 0:
        if exponent <= 0:
            raise Singular("zero to a power that is not positive")
        return Fraction(0)
    if abs(base) != 1 and size(base) * abs(exponent) > MAX_BITS:
        raise TooLarge("a power grows too large")
    if exponent.denominator > 1:
        value = root(base, exponent.denominator) if base > 0 and exponent.denominator <= 100 else None
        return None if value is None else value**exponent.numerator
    return base ** (int(exponent) if abs(base) != 1 else int(exponent) % 2)


def root(value: Fraction, index: int) -> Fraction | None:
    """The rational root, the real one for an odd index; None if it is irrational or not real."""
    if value < 0:
        positive = root(-value, index) if index % 2 else None
        return None if positive is None else -positive
    above, below = _whole_root(value.numerator, index), _whole_root(value.denominator, index)
    return Fraction(above, below) if above is not None and below is not None else None


def _whole_root(value: int, index: int) -> int | None:
    if index == 2:
        guess = math.isqrt(value)
    else:  # Newton's method from above
        guess = 1 << -(-value.bit_length() // index)
        while guess and (better := ((index - 1) * guess + value // guess ** (index - 1)) // index) < guess:
            guess = better
    return guess if guess**index == value else None


def _call(name: str, args: list[Fraction | None]) -> Fraction | None:
    known = [arg for arg in args if arg is not None]
    if len(known) < len(args):
        if name == "factorial" or (name == "binomial" and known and known[-1] > MAX_TERMS):
            raise_if_large(known)
        return None
    first = known[0]
    whole = all(arg.denominator == 1 for arg in known)
    match name:
        case "abs":
            return abs(first)
        case "floor" | "ceil":
            return Fraction(math.floor(first) if name == "floor" else math.ceil(first))
        case "sgn":
            return Fraction((first > 0) - (first < 0))
        case "min" | "max":
            return min(known) if name == "min" else max(known)
        case "gcd" | "lcm" if whole:
            values = [arg.numerator for arg in known]
            return bounded(Fraction(math.gcd(*values) if name == "gcd" else math.lcm(*values)))
        case "factorial":
            return _factorial(first)
        case "binomial":
            return _binomial(first, known[1])
        case "Re" | "Im":
            return first if name == "Re" else Fraction(0)
    return None


def raise_if_large(values: list[Fraction]) -> None:
    if any(value > MAX_TERMS for value in values):
        raise TooLarge("a binomial or factorial of a large number")


def _factorial(value: Fraction) -> Fraction:
    if value.denominator > 1 or value < 0:
        raise Undefined("the factorial of what is no natural number")
    if value > 3 and value * (value.numerator.bit_length() - 2) > MAX_BITS:
        raise TooLarge("a factorial grows too large")
    return Fraction(math.factorial(int(value)))


def _binomial(above: Fraction, below: Fraction) -> Fraction:
    if above.denominator > 1 or below.denominator > 1 or above < 0 or below < 0:
        raise Undefined("a binomial of what are no natural numbers")
    picked = min(below, above - below)
    if picked > 0 and (picked * above.numerator.bit_length() > MAX_BITS):
        raise TooLarge("a binomial grows too large")
    return Fraction(math.comb(int(above), int(below)))


def always_defined(node: Node) -> bool:
    """Does every value of the variables give the expression a value? (Sufficient, not necessary.)"""
    if isinstance(node, Pow):
        exponent = node.exponent
        return isinstance(exponent, Num) and exponent.value > 0 and exponent.value.denominator == 1 and (
            always_defined(node.base))
    if isinstance(node, Div):
        divisor = node.denominator
        return isinstance(divisor, Num) and divisor.value != 0 and always_defined(node.numerator)
    if isinstance(node, Root) and not (isinstance(node.radicand, Num) and node.radicand.value >= 0):
        return False
    if isinstance(node, Call) and node.name not in ("abs", "sin", "cos"):
        return False
    if isinstance(node, Big) or node == Const("inf"):
        return False
    return all(always_defined(child) for child in children(node))


def cost(node: Node) -> int:
    """How dear a comparison looks, before it is made: parts, more for powers of sums, sums, integrals and roots."""
    total = 0
    for part in walk(node):
        total += 1
        if isinstance(part, Big):
            total += 100
        elif isinstance(part, Pow) and isinstance(part.exponent, Num) and not isinstance(part.base, Num | Sym):
            total += min(math.ceil(abs(part.exponent.value)), 1000)
        elif isinstance(part, Root):
            total += 5 + 20 * sum(isinstance(inner, Root) for inner in walk(part.radicand))
    return total
