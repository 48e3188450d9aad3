"""From our tree to sympy: objects are built node by node, text never; over the reals unless i occurs.

Runs in worker processes only, where it can be killed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import sympy  # type: ignore[import-untyped]

from verifiers.math.exact import MAX_TERMS, always_defined, rational
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
    children,
    symbols,
    walk,
)

Expr = Any  # a sympy expression; sympy has no types
_LOG_BASE = sympy.Symbol("base of log", positive=True)  # of a logarithm that names no base
_CONSTANTS = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "inf": sympy.oo}
_ANY_ARGUMENT = frozenset({"abs", "sin", "cos", "exp", "sinh", "cosh", "tanh", "arctan", "sgn", "floor", "ceil", "min",
                           "max", "Re", "Im"})
_POLES: dict[str, Callable[..., Expr]] = {"tan": sympy.cos, "sec": sympy.cos, "cot": sympy.sin, "csc": sympy.sin}
Condition = tuple[str, Any]  # what an expression needs to be defined: "nonneg", "nonzero" or another, and of what


def _divisors(name: str) -> Callable[..., Expr]:
    """gcd or lcm of whole numbers. Of letters it is no more than a name: sympy's is that of polynomials, where
    gcd(n, 31) is 1 whatever n may be."""
    def value(*args: Expr) -> Expr:
        if all(arg.is_Integer for arg in args):
            return sympy.Integer((math.gcd if name == "gcd" else math.lcm)(*map(int, args)))
        return sympy.Function(name, integer=True)(*sorted(args, key=sympy.default_sort_key))
    return value


_FUNCTIONS: dict[str, Callable[..., Expr]] = {
    "sin": sympy.sin, "cos": sympy.cos, "tan": sympy.tan, "cot": sympy.cot, "sec": sympy.sec, "csc": sympy.csc,
    "sinh": sympy.sinh, "cosh": sympy.cosh, "tanh": sympy.tanh, "coth": sympy.coth, "arcsin": sympy.asin,
    "arccos": sympy.acos, "arctan": sympy.atan, "arccot": sympy.acot, "arcsec": sympy.asec, "arccsc": sympy.acsc,
    "ln": sympy.log, "abs": sympy.Abs, "floor": sympy.floor, "ceil": sympy.ceiling, "factorial": sympy.factorial,
    "binomial": sympy.binomial, "gcd": _divisors("gcd"), "lcm": _divisors("lcm"), "min": sympy.Min, "max": sympy.Max,
    "arg": sympy.arg, "Re": sympy.re, "Im": sympy.im, "sgn": sympy.sign,
}
_INTEGRAL_ARGUMENTS = frozenset({"factorial", "binomial", "gcd", "lcm"})


class Algebra:
    """Builds sympy expressions of one comparison.

    Args:
        values: numbers to put in for names; every other name becomes a symbol.
        positive: names that only have positive values where the comparison is defined.
        real: letters are real; even roots of negative numbers, and logarithms of what is not positive, are Undefined.
    """

    def __init__(self, values: Mapping[str, Expr], positive: frozenset[str] = frozenset(), real: bool = True) -> None:
        self.values, self.positive, self.real = dict(values), positive, real

    def symbol(self, name: str) -> Expr:
        if name in self.values:
            return self.values[name]
        if not self.real:
            return sympy.Symbol(name)
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
    """Are the answers about real numbers: no i, no real or imaginary part, no argument, no letter under a bar?"""
    return not any(part == Const("i") or (isinstance(part, Call) and part.name in ("Re", "Im", "arg"))
                   or (isinstance(part, Sym) and part.name.startswith(("\\overline", "\\bar")))
                   for node in nodes for part in walk(node))


def free_names(*nodes: Node) -> list[str]:
    return sorted(frozenset[str]().union(*map(symbols, nodes)))


def conditions(node: Node, algebra: Algebra) -> frozenset[Condition]:
    """What the letters must satisfy for a scalar to be defined, as written: sympy's simple forms have lost it."""
    if not symbols(node) or isinstance(node, Apply):
        return frozenset()
    if isinstance(node, Big):  # what its bounds must be, whole or convergent, is not looked at
        return frozenset() if always_defined(node.body) else frozenset({("value", node)})
    return frozenset(_own_conditions(node, algebra)).union(*(conditions(child, algebra) for child in children(node)))


def _own_conditions(node: Node, algebra: Algebra) -> Iterator[Condition]:
    match node:
        case Div(_, denominator):
            yield from _nonzero(algebra.expression(denominator))
        case Root(radicand, index) if index % 2 == 0 and algebra.real:
            yield from _nonnegative(algebra.expression(radicand))
        case Pow(base, exponent):
            below, power = algebra.expression(base), rational(exponent)
            if power is None:
                if not below.is_positive:
                    yield "base", below
                return
            if power.denominator % 2 == 0 and algebra.real:
                yield from _nonnegative(below)
            if power <= 0:
                yield from _nonzero(below)
        case Call("ln" | "log", args):
            for value in map(algebra.expression, args):
                yield from _nonzero(value)
                if algebra.real:
                    yield from _nonnegative(value)
        case Call(name, (arg,)) if name in _POLES:
            yield from _nonzero(_POLES[name](algebra.expression(arg)))
        case Call("gcd" | "lcm", args):
            for value in map(algebra.expression, args):
                if not value.is_number:
                    yield "whole", value
        case Call(name, args) if name not in _ANY_ARGUMENT:
            yield name, tuple(map(algebra.expression, args))


def _nonzero(value: Expr) -> Iterator[Condition]:
    if value.is_zero is False or value.is_number:
        return
    if value.is_Mul:
        for factor in value.args:
            yield from _nonzero(factor)
    elif (value.is_Pow and value.exp.is_Rational) or isinstance(value, sympy.Abs):
        if not (value.is_Pow and value.exp.is_negative):
            yield from _nonzero(value.args[0])
    elif value.is_polynomial():
        for factor, _ in sympy.factor_list(value)[1]:
            if not _rootless(factor):
                yield "nonzero", _without_sign(factor)
    else:
        yield "nonzero", _without_sign(sympy.expand(value).as_content_primitive()[1])


def _nonnegative(value: Expr) -> Iterator[Condition]:
    if value.is_nonnegative or value.is_number:
        return
    if not (_rootless(value) and value.subs(dict.fromkeys(value.free_symbols, 0)).is_positive):
        yield "nonneg", sympy.expand(value).as_content_primitive()[1]


def _without_sign(value: Expr) -> Expr:
    return -value if value.could_extract_minus_sign() else value


def _rootless(value: Expr) -> bool:
    """Is this a polynomial in one real letter, with rational coefficients, that has no real zero?"""
    if len(value.free_symbols) != 1 or not value.is_polynomial() or not all(x.is_real for x in value.free_symbols):
        return False
    polynomial = sympy.Poly(value, *value.free_symbols)
    return bool((polynomial.domain.is_ZZ or polynomial.domain.is_QQ) and polynomial.degree() <= 50
                and polynomial.count_roots() == 0)


def lowest_numerator(value: Expr) -> Expr:
    return sympy.fraction(sympy.cancel(sympy.together(value)))[0]


def same_solutions_kept(p: Node, g: Node, algebra: Algebra) -> bool:
    """Of two equations, to 0, that agree where both are defined: has neither a solution where the other is undefined?

    `y = 1/x` is `xy = 1`, which has no solution at x = 0: the numerator and x have no common zero, as one is in the
    ideal of the two.
    """
    excess = conditions(p, algebra) ^ conditions(g, algebra)
    if not excess:
        return True
    value = algebra.expression(p)
    if any(kind != "nonzero" or not part.is_polynomial() for kind, part in excess) or (
            not value.is_rational_function()):
        return False
    above = lowest_numerator(value)
    names = sorted(above.free_symbols.union(*(part.free_symbols for _, part in excess)), key=str)
    return all(sympy.groebner([above, part], *names).exprs == [1] for _, part in excess)
