"""Sets of reals as sorted disjoint intervals: what inequalities, unions and set builders say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sympy  # type: ignore[import-untyped]

from verifiers.math.algebra import Algebra, conditions, is_real
from verifiers.math.proofs import nonzero, proved_zero
from verifiers.math.tree import (
    SCALARS,
    Builder,
    ListOf,
    NamedSet,
    Node,
    Relation,
    Seq,
    SetOf,
    SetOp,
    Sym,
    Undefined,
    symbols,
)

Expr = Any
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "!=": "!=", "=": "="}


class NoRegion(Exception):
    """Not a set of reals with known ends: symbolic ends, several variables, or an inequality that is not linear."""


@dataclass(frozen=True)
class Interval:
    """low <= high; the ends are exact numbers or infinite, and an end counts where it is closed."""

    low: Expr
    low_closed: bool
    high: Expr
    high_closed: bool


Region = tuple[Interval, ...]
EVERYTHING: Region = (Interval(-sympy.oo, False, sympy.oo, False),)


def order(a: Expr, b: Expr) -> int:
    """-1, 0 or 1. Raises NoRegion if two numbers cannot be told apart or one is not real."""
    if a == b:
        return 0
    if a.is_infinite or b.is_infinite:
        return -1 if a == -sympy.oo or b == sympy.oo else 1
    gap = a - b
    if nonzero(gap):
        value = gap.evalf(12, maxn=600)
        if not value.is_Float:
            raise NoRegion("an end that is not real")
        return -1 if value < 0 else 1
    if proved_zero(gap):
        return 0
    raise NoRegion("ends that cannot be told apart")


def interval(low: Expr, low_closed: bool, high: Expr, high_closed: bool) -> Region:
    """The interval, or nothing if it is empty."""
    sign = order(low, high)
    if sign > 0 or (sign == 0 and not (low_closed and high_closed)):
        return ()
    return (Interval(low, low_closed and not low.is_infinite, high, high_closed and not high.is_infinite),)


def intersection(a: Region, b: Region) -> Region:
    found: list[Interval] = []
    for left in a:
        for right in b:
            low, high = order(left.low, right.low), order(left.high, right.high)
            low_closed = left.low_closed and right.low_closed if low == 0 else (left if low > 0 else right).low_closed
            high_closed = (left.high_closed and right.high_closed if high == 0
                           else (left if high < 0 else right).high_closed)
            found += interval(left.low if low > 0 else right.low, low_closed,
                              left.high if high < 0 else right.high, high_closed)
    return tuple(found)


def complement(a: Region) -> Region:
    result = EVERYTHING
    for part in a:
        outside = interval(-sympy.oo, False, part.low, not part.low_closed) if part.low != -sympy.oo else ()
        if part.high != sympy.oo:
            outside += interval(part.high, not part.high_closed, sympy.oo, False)
        result = intersection(result, outside)
    return result


def union(a: Region, b: Region) -> Region:
    return complement(intersection(complement(a), complement(b)))


def same(a: Region, b: Region) -> bool:
    return len(a) == len(b) and all(
        order(x.low, y.low) == 0 == order(x.high, y.high)
        and (x.low_closed, x.high_closed) == (y.low_closed, y.high_closed) for x, y in zip(a, b, strict=True))


class Regions:
    """Reads nodes as regions. `expression` turns a scalar into sympy."""

    def __init__(self, expression: Callable[[Node], Expr]) -> None:
        self.expression = expression

    def region(self, node: Node) -> tuple[str | None, Region]:
        """The variable, if one is named, and the region. Raises NoRegion."""
        match node:
            case NamedSet("R"):
                return None, EVERYTHING
            case SetOf(items):
                found: Region = ()
                for item in items:
                    value = self.number(item)
                    found = union(found, interval(value, True, value, True))
                return None, found
            case Seq(opening, closing, (low, high)) if opening in "([":
                ends = self.number(low), self.number(high)
                if (opening == "[" and ends[0].is_infinite) or (closing == "]" and ends[1].is_infinite):
                    raise Undefined("an interval closed at infinity")
                return None, interval(ends[0], opening == "[", ends[1], closing == "]")
            case SetOp(op, left, right):
                return self.combined(op, [self.region(left), self.region(right)])
            case ListOf(items, joiner):
                parts = [self.region(item) for item in items]
                return self.combined("cup" if joiner == "or" else "cap", parts)
            case Builder(variable, condition):
                name, found = self.region(condition)
                if name not in (None, variable):
                    raise NoRegion("a condition on another variable")
                return None, found
            case Relation(("in",), (Sym(name), inner)):
                return name, self.region(inner)[1]
            case Relation(ops, sides):
                return self.inequalities(ops, sides)
        raise NoRegion(f"a {type(node).__name__.lower()} is no set of reals")

    def combined(self, op: str, parts: Sequence[tuple[str | None, Region]]) -> tuple[str | None, Region]:
        names = {name for name, _ in parts if name is not None}
        if len(names) > 1:
            raise NoRegion("several variables")
        result = parts[0][1]
        for _, part in parts[1:]:
            if op == "cup":
                result = union(result, part)
            else:
                result = intersection(result, complement(part) if op == "minus" else part)
        return (names.pop() if names else None), result

    def number(self, node: Node) -> Expr:
        if not isinstance(node, SCALARS) or symbols(node):
            raise NoRegion("an end that is no number")
        value = self.expression(node)
        if value.is_extended_real is False:
            raise Undefined("an end that is not real")
        return value

    def inequalities(self, ops: Sequence[str], sides: Sequence[Node]) -> tuple[str | None, Region]:
        names = frozenset[str]().union(*map(symbols, sides))
        if len(names) != 1 or "in" in ops or not all(isinstance(side, SCALARS) for side in sides):
            raise NoRegion("not in one variable")
        if not is_real(*sides) or any(conditions(side, Algebra({})) for side in sides):
            raise NoRegion("not defined for every real number")
        result = EVERYTHING
        for op, left, right in zip(ops, sides[:-1], sides[1:], strict=True):
            result = intersection(result, self.linear(op, self.expression(left) - self.expression(right)))
        return next(iter(names)), result

    def linear(self, op: str, difference: Expr) -> Region:
        """Where `difference op 0` holds, if it is linear in its variable or in the absolute value of such."""
        if not difference.free_symbols:
            raise NoRegion("a condition without a variable")
        if op == "!=":
            return complement(self.linear("=", difference))
        (variable,) = difference.free_symbols
        absolutes = difference.atoms(sympy.Abs)
        if len(absolutes) == 1:
            (absolute,) = absolutes
            stand_in = sympy.Dummy(real=True)
            bound, op = _solved(difference.subs(absolute, stand_in), stand_in, op)
            inner = absolute.args[0]
            if op in ("<", "<="):
                return intersection(self.linear(op, inner - bound), self.linear(_FLIPPED[op], inner + bound))
            if nonzero(bound) and bound < 0:
                raise NoRegion("an absolute value above a negative number")
            return union(self.linear(op, inner - bound), self.linear(_FLIPPED[op], inner + bound))
        bound, op = _solved(difference, variable, op)
        closed = "=" in op
        if op == "=":
            return interval(bound, True, bound, True)
        if op in ("<", "<="):
            return interval(-sympy.oo, False, bound, closed)
        return interval(bound, closed, sympy.oo, False)


def _solved(difference: Expr, variable: Expr, op: str) -> tuple[Expr, str]:
    """`variable op bound` of a condition that is linear in the variable."""
    slope = sympy.expand(difference).coeff(variable, 1)
    rest = sympy.expand(difference - slope * variable)
    if slope.free_symbols or rest.free_symbols or not nonzero(slope):
        raise NoRegion("a condition that is not linear")
    return -rest / slope, op if slope > 0 else _FLIPPED[op]
