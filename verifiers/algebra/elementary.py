"""Elementary functions in an exact normal form that can be differentiated and tested for zero.

A function is a sum of terms R(x) * exp(qx+r) * cos(sx+t) or sin(sx+t) * powers of ln|x+c| and of ln(p), p prime, with
a rational function R and rational q, r, s, t, c. Products of waves become sums by the addition theorems, so that
like terms meet in one key and the form is unique. It is 0 as a function only if no term is left: exponentials,
waves and logarithms of different x+c are independent over the rational functions (Ostrowski, Kolchin), the constants
e^r, cos(t), sin(t) over the rationals by the theorem of Lindemann and Weierstrass, and the ln(p) by that of Baker
where they stand alone; what neither of the two decides is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from verifiers.algebra.expression import BadExpression, Binary, Call, Name, Negate, Node, Number, Sqrt, evaluate, leaves
from verifiers.algebra.rational import (
    ONE,
    Coefficient,
    Rational,
    constant,
    derivative,
    plus,
    reduced,
    scaled,
    times,
    whole,
)

MAX_POWER = 12
_MAX_TERMS = 64
_MAX_WORK = 20_000  # products of coefficients; more than enough for what people write, and a tenth of a second
_MAX_LOG = 10**6  # of the numbers in a logarithm, which are factored
_MAX_ARGUMENT_BITS = 64


class Key(NamedTuple):
    """exp(qx+r) * cos(sx+t) (or sin) * the logarithms: (0, c) for ln|x+c|, (1, p) for ln(p), with their powers."""

    q: Coefficient = 0
    r: Coefficient = 0
    s: Coefficient = 0
    t: Coefficient = 0
    sine: bool = False
    logs: tuple[tuple[int, Coefficient, int], ...] = ()


PLAIN = Key()
Element = dict[Key, Rational]  # no value is 0


def added(a: Element, b: Element, factor: Coefficient = 1) -> Element:
    """a + factor * b."""
    result = dict(a)
    for key, value in b.items():
        _add(result, key, scaled(value, factor))
    return result


def _add(element: Element, key: Key, value: Rational) -> None:
    total = plus(element[key], value) if key in element else value
    if total[0]:
        element[key] = total
    else:
        element.pop(key, None)


def differentiated(a: Element) -> Element:
    """The derivative with respect to x."""
    result: Element = {}
    for key, value in a.items():
        _add(result, key, plus(derivative(value), scaled(value, key.q)))
        if key.s:
            _add(result, key._replace(sine=not key.sine), scaled(value, key.s if key.sine else -key.s))
        for kind, c, power in key.logs:
            if kind == 0:
                _add(result, key._replace(logs=_merged(key.logs, ((0, c, -1),))),
                     times(scaled(value, power), ((1,), (whole(c), 1)) if c else ((1,), (0, 1))))
    return result


def vanishes(a: Element) -> bool:
    """Is it 0 as a function? Raises BadExpression where the theorems named above do not tell."""
    if not a:
        return True
    groups: dict[object, list[Key]] = {}
    for key in a:
        groups.setdefault((key.q, key.s, tuple(log for log in key.logs if log[0] == 0)), []).append(key)
    for keys in groups.values():
        degrees = [sum(power for kind, _, power in key.logs if kind) for key in keys]
        if not any(degrees) or (max(degrees) == 1 and not any(key.r or key.t for key in keys)):
            return False
    raise BadExpression("products of logarithms of numbers cannot be compared exactly")


def canonical(a: Element) -> str:
    """A text that is the same for equal functions."""
    return ";".join(f"{_shown(key)}:{'/'.join(','.join(map(str, part)) for part in a[key])}" for key in sorted(a))


def _shown(key: Key) -> str:
    return ",".join(map(str, [*key[:5], *(part for log in key.logs for part in log)])) if key != PLAIN else ""


class Reading:
    """Brings trees to normal form. One reading is for functions of one task: it keeps their common domain.

    Attributes:
        low, high: the open interval of x in which every logarithm met so far is defined; None: unbounded.
    """

    def __init__(self) -> None:
        self.low: Coefficient | None = None
        self.high: Coefficient | None = None
        self._work = _MAX_WORK

    @property
    def defined(self) -> bool:
        """Is there any x for which all logarithms are real?"""
        return self.low is None or self.high is None or self.low < self.high

    def element(self, node: Node) -> Element:
        """Raises BadExpression: outside of the functions named above, division by zero, or too large."""
        match node:
            case Number(value):
                return {PLAIN: constant(value)} if value else {}
            case Name("e"):
                return {Key(r=1): ONE}
            case Name():
                return {PLAIN: ((0, 1), (1,))}
            case Negate(operand):
                return added({}, self.element(operand), -1)
            case Binary("+", left, right):
                return self._capped(added(self.element(left), self.element(right)))
            case Binary("-", left, right):
                return self._capped(added(self.element(left), self.element(right), -1))
            case Binary("*", left, right):
                return self._product(self.element(left), self.element(right))
            case Binary("/", left, right):
                return self._product(self.element(left), _inverse(self.element(right)))
            case Binary("^", Name("e"), exponent):
                return self._call("exp", exponent)
            case Binary("^", base, exponent):
                return self._power(self.element(base), exponent)
            case Call(name, argument):
                return self._call(name, argument)
            case Sqrt() | Binary():
                raise BadExpression("a square root cannot be read here")

    def _power(self, base: Element, exponent: Node) -> Element:
        value = evaluate(exponent) if all(isinstance(leaf, Number) for leaf in leaves(exponent)) else Fraction(1, 2)
        if value.denominator != 1 or abs(value) > MAX_POWER:
            raise BadExpression(f"an exponent must be a whole number up to {MAX_POWER}, except that of e")
        factor = _inverse(base) if value < 0 else base
        result: Element = {PLAIN: ONE}
        for _ in range(abs(int(value))):
            result = self._product(result, factor)
        return result

    def _product(self, a: Element, b: Element) -> Element:
        result: Element = {}
        for key, value in a.items():
            for other, factor in b.items():
                self._work -= len(value[0]) * len(factor[0]) + 20 * len(value[1]) * len(factor[1])
                if self._work < 0:
                    raise BadExpression("the expression grows too large")
                product = times(value, factor)
                for joint, share in _joint(key, other):
                    _add(result, joint, scaled(product, share))
        return self._capped(result)

    @staticmethod
    def _capped(a: Element) -> Element:
        if len(a) > _MAX_TERMS:
            raise BadExpression("the expression has too many terms")
        return a

    def _call(self, name: str, argument: Node) -> Element:
        absolute = isinstance(argument, Call) and argument.name == "abs"
        if name in ("ln", "log"):
            slope, shift = self._linear(argument.argument if isinstance(argument, Call) and absolute else argument)
            return self._logarithm(slope, shift, absolute)
        if name not in ("exp", "sin", "cos"):
            raise BadExpression(f"{name}(...) cannot stand here")
        slope, shift = self._linear(argument)
        if name == "exp":
            return {Key(q=slope, r=shift): ONE}
        key, sign = _wave(PLAIN, slope, shift, name == "sin")
        return {key: constant(sign)} if sign else {}

    def _linear(self, node: Node) -> tuple[Coefficient, Coefficient]:
        """(a, b) of a function ax+b."""
        element = self.element(node)
        top, bottom = element.get(PLAIN, ((), (1,)))
        if set(element) - {PLAIN} or bottom != (1,) or len(top) > 2:
            raise BadExpression("the argument of a function must be of the form ax+b")
        shift, slope = (*top, 0, 0)[:2]
        if any(max(c.numerator.bit_length(), c.denominator.bit_length()) > _MAX_ARGUMENT_BITS for c in top):
            raise BadExpression("a number grows too large")
        return slope, shift

    def _logarithm(self, slope: Coefficient, shift: Coefficient, absolute: bool) -> Element:
        if not slope:
            if not shift or (shift < 0 and not absolute):
                raise BadExpression("a logarithm of 0 or less")
            return dict(_number_log(shift if shift > 0 else -shift))
        c = whole(Fraction(shift) / slope)
        if not absolute and slope > 0:
            self.low = -c if self.low is None else max(self.low, -c)
        elif not absolute:
            self.high = -c if self.high is None else min(self.high, -c)
        return added({Key(logs=((0, c, 1),)): ONE}, dict(_number_log(slope if slope > 0 else -slope)))


def _inverse(a: Element) -> Element:
    if not a:
        raise BadExpression("division by zero")
    [(key, value), *rest] = a.items()
    if rest or key.s or key.t or key.logs:
        raise BadExpression("a denominator must be a polynomial times an exponential")
    return {Key(q=-key.q, r=-key.r): reduced(value[1], value[0])}


def _wave(key: Key, s: Coefficient, t: Coefficient, sine: bool) -> tuple[Key, int]:
    """The key with a wave of its own, of which s (or else t) is not negative, and the sign that this costs."""
    sign = 1
    if s < 0 or (s == 0 and t < 0):
        s, t, sign = -s, -t, -1 if sine else 1
    if sine and s == t == 0:
        sign = 0
    return key._replace(s=whole(s), t=whole(t), sine=sine and sign != 0), sign


def _joint(a: Key, b: Key) -> Iterator[tuple[Key, Coefficient]]:
    """The keys of a product of two terms, each with its share."""
    key = Key(whole(a.q + b.q), whole(a.r + b.r), logs=_merged(a.logs, b.logs))
    if not (a.s or a.t) or not (b.s or b.t):
        yield key._replace(s=whole(a.s + b.s), t=whole(a.t + b.t), sine=a.sine or b.sine), 1
        return
    half = Fraction(1, 2)
    above = _wave(key, a.s + b.s, a.t + b.t, a.sine != b.sine)
    below = _wave(key, a.s - b.s, a.t - b.t, a.sine != b.sine)
    yield above[0], half * above[1] * (-1 if a.sine and b.sine else 1)
    yield below[0], half * below[1] * (-1 if b.sine and not a.sine else 1)


def _merged(a: tuple[tuple[int, Coefficient, int], ...],
            b: tuple[tuple[int, Coefficient, int], ...]) -> tuple[tuple[int, Coefficient, int], ...]:
    if not a or not b:
        return a or b
    powers = {(kind, c): power for kind, c, power in a}
    for kind, c, power in b:
        powers[kind, c] = powers.get((kind, c), 0) + power
    return tuple((kind, c, power) for (kind, c), power in sorted(powers.items()) if power)


def _number_log(value: Coefficient) -> Iterator[tuple[Key, Rational]]:
    """ln(value) as a sum of logarithms of primes, for a value above 0."""
    for number, sign in ((value.numerator, 1), (value.denominator, -1)):
        if number > _MAX_LOG:
            raise BadExpression(f"a logarithm of a number above {_MAX_LOG}")
        p = 2
        while number > 1:
            if p * p > number:
                p = number
            power = 0
            while number % p == 0:
                number //= p
                power += sign
            if power:
                yield Key(logs=((1, p, 1),)), constant(power)
            p += 1
