"""From our tree to sympy: objects are built node by node, text never; over the reals unless i occurs.

Runs in worker processes only, where it can be killed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sympy  # type: ignore[import-untyped]

from verifiers.math.exact import MAX_TERMS, rational
from verifiers.math.tree import (
    Add,
    Apply,
    Based,
    Big,
    Call,
    Const,
    Degree,
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
    Unparsable,
    application,
    symbols,
    walk,
)

Expr = Any  # a sympy expression; sympy has no types
_LOG_BASE = sympy.Symbol("base of log", positive=True)  # of a logarithm that names no base
_CONSTANTS = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "inf": sympy.oo}
_FUNCTIONS: dict[str, Callable[..., Expr]] = {
    "sin": sympy.sin, "cos": sympy.cos, "tan": sympy.tan, "cot": sympy.cot, "sec": sympy.sec, "csc": sympy.csc,
    "sinh": sympy.sinh, "cosh": sympy.cosh, "tanh": sympy.tanh, "coth": sympy.coth, "arcsin": sympy.asin,
    "arccos": sympy.acos, "arctan": sympy.atan, "arccot": sympy.acot, "arcsec": sympy.asec, "arccsc": sympy.acsc,
    "ln": sympy.log, "abs": sympy.Abs, "floor": sympy.floor, "ceil": sympy.ceiling, "factorial": sympy.factorial,
    "binomial": sympy.binomial, "gcd": sympy.gcd, "lcm": sympy.lcm, "min": sympy.Min, "max": sympy.Max,
    "arg": sympy.arg, "Re": sympy.re, "Im": sympy.im, "sgn": sympy.sign,
}
_INTEGRAL_ARGUMENTS = frozenset({"factorial", "binomial", "gcd", "lcm"})


class Algebra:
    """Builds sympy expressions of one comparison.

    Args:
        values: numbers to put in for names; every other name becomes a symbol.
        positive: names that only have positive values where the comparison is defined.
        real: even roots of negative numbers and logarithms of numbers that are not positive are Undefined.
    """

    def __init__(self, values: Mapping[str, Expr], positive: frozenset[str] = frozenset(), real: bool = True) -> None:
        self.values, self.positive, self.real = dict(values), positive, real

    def symbol(self, name: str) -> Expr:
        if name in self.values:
            return self.values[name]
        return sympy.Symbol(name, positive=True) if name in self.positive else sympy.Symbol(name, real=True)

    def expression(self, node: Node) -> Expr:
        """The sympy expression of a scalar. Raises Undefined where it has no value."""
        value = self._expression(node)
        if value.has(sympy.nan, sympy.zoo):
            raise Singular("an expression without a value")
        return value

    def _expression(self, node: Node) -> Expr:
        match node:
            case Num(value):
                return sympy.Rational(value.numerator, value.denominator)
            case Based(whole, _):
                return sympy.Integer(whole)
            case Const(name):
                return _CONSTANTS[name]
            case Sym(name):
                return self.symbol(name)
            case Apply():
                return self.symbol(application(node))
            case Neg(operand):
                return -self.expression(operand)
            case Add(terms):
                return sympy.Add(*map(self.expression, terms))
            case Mul(factors):
                return sympy.Mul(*map(self.expression, factors))
            case Degree(value):
                return self.expression(value) * sympy.pi / 180
            case Div(numerator, denominator):
                below = self.expression(denominator)
                if below.is_zero or below == 0:
                    raise Singular("a division by zero")
                return self.expression(numerator) / below
            case Pow(base, exponent):
                return self.power(self.expression(base), self.expression(exponent))
            case Root(radicand, index):
                return self.root(self.expression(radicand), index)
            case Call(name, args):
                return self.call(name, [self.expression(arg) for arg in args])
            case Big():
                return self.big(node)
        raise Unparsable(f"a {type(node).__name__.lower()} where a number should be")

    def power(self, base: Expr, exponent: Expr) -> Expr:
        if base == 0 and not exponent.is_positive:
            raise Singular("zero to a power that is not positive")
        if exponent.is_Rational and not exponent.is_Integer:
            return self.root(base, int(exponent.q)) ** int(exponent.p)
        if self.real and base.is_number and not exponent.is_Integer and base.is_negative:
            raise Undefined("a negative number to a power that is no whole number")
        return base**exponent

    def root(self, radicand: Expr, index: int) -> Expr:
        if radicand.is_number and radicand.is_extended_real and radicand.is_negative:
            if index % 2:
                return -((-radicand) ** sympy.Rational(1, index))
            if self.real:
                raise Undefined("an even root of a negative number")
        return radicand ** sympy.Rational(1, index)

    def call(self, name: str, args: list[Expr]) -> Expr:
        if name in ("log", "ln"):
            if args[0] == 0 or (self.real and args[0].is_number and not args[0].is_positive):
                raise Undefined("the logarithm of a number that is not positive")
            if name == "log":
                base = args[1] if len(args) > 1 else _LOG_BASE
                if base in (0, 1):
                    raise Undefined("a logarithm to base 0 or 1")
                return sympy.log(args[0]) / sympy.log(base)
        if name in _INTEGRAL_ARGUMENTS and any(arg.is_number and not arg.is_Integer for arg in args):
            raise Undefined(f"{name} of what is no whole number")
        if name == "factorial" and args[0].is_number and args[0].is_negative:
            raise Undefined("the factorial of a negative number")
        value = _FUNCTIONS[name](*args)
        if self.real and value.is_number and value.is_extended_real is False:
            raise Undefined(f"{name} has no real value there")
        return value

    def big(self, node: Big) -> Expr:
        """The value of a sum, product, integral, limit or derivative. Raises Undefined if it has none that is known."""
        variable = sympy.Symbol(node.variable, **{"integer" if node.kind in ("sum", "prod") else "real": True})
        low = self.expression(node.low)
        if node.kind == "deriv":
            return sympy.diff(self.within(node, variable), variable).subs(variable, low)
        if node.kind == "lim":
            value = self.limit(node, variable, low)
        elif node.kind == "int":
            value = sympy.integrate(self.within(node, variable), (variable, low, self.expression(node.high)))
        else:
            value = self.sum(node, variable, low, self.expression(node.high))
        if value.has(sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit, sympy.AccumBounds, sympy.Piecewise):
            raise Undefined(f"a {node.kind} without a known value")
        return value

    def limit(self, node: Big, variable: Expr, low: Expr) -> Expr:
        side = node.high.name if isinstance(node.high, Sym) and node.high.name in ("+", "-") else "+-"
        try:
            return sympy.limit(self.within(node, variable), variable, low, side if low.is_finite else "+")
        except ValueError as error:  # from the two sides it goes to different places
            raise Undefined("a limit that does not exist") from error

    def sum(self, node: Big, variable: Expr, low: Expr, high: Expr) -> Expr:
        """A sum or product, term by term if there are few."""
        for bound in (low, high):
            if not (bound.is_Integer or bound.is_infinite or bound.free_symbols):
                raise Undefined("a sum between bounds that are no whole numbers")
        if low.is_Integer and high.is_Integer:
            if high < low - 1:
                raise Undefined("a sum whose end lies before its beginning")
            if high - low < MAX_TERMS:
                terms = [self.within(node, sympy.Integer(k)) for k in range(int(low), int(high) + 1)]
                return sympy.Add(*terms) if node.kind == "sum" else sympy.Mul(*terms)
        body = self.within(node, variable)
        if high.is_Integer and (node.kind == "prod" or not body.is_polynomial(variable)):
            raise TooLarge(f"a sum of more than {MAX_TERMS} terms")
        return (sympy.summation if node.kind == "sum" else sympy.product)(body, (variable, low, high))

    def within(self, node: Big, value: Expr) -> Expr:
        """The body with a value, or a symbol, for what the sum, integral or limit binds."""
        return Algebra({**self.values, node.variable: value}, self.positive, self.real).expression(node.body)


def positive_names(*nodes: Node) -> frozenset[str]:
    """Names that stand bare under an even root or in a logarithm: elsewhere the answer is undefined, or they are 0."""
    found = set()
    for node in nodes:
        for part in walk(node):
            inner: Node | None = None
            if isinstance(part, Root) and part.index % 2 == 0:
                inner = part.radicand
            elif isinstance(part, Pow):
                exponent = rational(part.exponent)
                inner = part.base if exponent is not None and exponent.denominator % 2 == 0 else None
            elif isinstance(part, Call) and part.name in ("ln", "log"):
                inner = part.args[0]
            if isinstance(inner, Sym):
                found.add(inner.name)
    return frozenset(found)


def is_real(*nodes: Node) -> bool:
    """Are the answers about real numbers, i does not occur?"""
    return not any(part == Const("i") for node in nodes for part in walk(node))


def free_names(*nodes: Node) -> list[str]:
    return sorted(frozenset[str]().union(*map(symbols, nodes)))
