"""Is an expression zero? Exact proofs only; evaluation to many digits refutes, it never proves.

Algebraic numbers are settled by a separation bound (BFMSS: Burnikel, Funke, Mehlhorn, Schirra, Schmitt, "A separation
bound for real algebraic expressions", 2009): a number built by + - * / and roots whose absolute value lies below the
bound is zero. Everything else goes through normal forms of sympy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy  # type: ignore[import-untyped]

Expr = Any
MAX_EXPANDED = 3000  # terms that an expansion may have
MAX_SEPARATION_BITS = 20_000
# Of a point: the scale of its numerators, its denominator, and whether its coordinates may be negative.
_KINDS = ((1, 7, True), (1, 1, False), (1, 11, False), (101, 1, True), (1, 13, True), (1, 1, False), (1, 97, True),
          (40, 11, False), (1, 17, True), (2, 1, False), (103, 3, True), (1, 101, False))
_DIGITS = 600  # to which a difference is followed before it counts as undecided


class _NotAlgebraic(Exception):
    """A part that is not built from rationals by arithmetic and roots."""


def nonzero(value: Expr) -> bool:
    """Is a number certainly not zero? False says nothing."""
    if value.is_Rational:
        return bool(value != 0)
    try:
        parts = value.evalf(12, maxn=_DIGITS).as_real_imag()
    except (NotImplementedError, OverflowError, ZeroDivisionError, ValueError, TypeError):
        return False
    return any(part.is_infinite or (part.is_Float and part._prec > 1 and part != 0) for part in parts)


def proved_zero(difference: Expr) -> bool:
    """Is the expression zero wherever it is defined, by proof? False says nothing."""
    if difference == 0:
        return True
    methods: list[Callable[[Expr], bool]] = [_expands_to_zero]
    if not difference.free_symbols:
        methods += [_separated, _logarithms_cancel]
    methods += [_angles_expand, _exponentials_cancel, _powers_cancel, _logs_expand, _simplifies_to_zero]
    return any(method(difference) for method in methods)


def _numerator(value: Expr) -> Expr:
    return sympy.fraction(sympy.together(value))[0]


def expanded_terms(value: Expr) -> int:
    """An upper bound of the number of terms after expansion."""
    if value.is_Add:
        return sum(map(expanded_terms, value.args))
    if value.is_Mul:
        return math.prod(map(expanded_terms, value.args))
    if value.is_Pow and value.exp.is_Integer:
        inner, power = expanded_terms(value.base), min(abs(int(value.exp)), 10**4)
        return math.comb(power + inner - 1, power) if inner > 1 else 1
    return 1


def _expands_to_zero(value: Expr) -> bool:
    if expanded_terms(value) > MAX_EXPANDED:
        return False
    above = _numerator(value)
    return expanded_terms(above) <= MAX_EXPANDED and sympy.expand(above) == 0


def _angles_expand(value: Expr) -> bool:
    return value.has(sympy.sin, sympy.cos, sympy.tan) and _expands_to_zero(sympy.expand_trig(value))


def _exponentials_cancel(value: Expr) -> bool:
    """Trigonometric and hyperbolic functions as exponentials are rational functions of a few of these."""
    if not value.has(sympy.core.function.Function, sympy.exp):
        return False
    rewritten = value.rewrite(sympy.exp)
    return _expands_to_zero(rewritten) or (not value.free_symbols and _separated(_numerator(rewritten)))


def _powers_cancel(value: Expr) -> bool:
    if expanded_terms(value) > MAX_EXPANDED:
        return False
    simpler = sympy.powsimp(sympy.expand(sympy.powdenest(value)))
    return simpler == 0 or _expands_to_zero(simpler)


def _logs_expand(value: Expr) -> bool:
    return value.has(sympy.log) and _expands_to_zero(sympy.expand_log(value))


def _simplifies_to_zero(value: Expr) -> bool:
    return expanded_terms(value) <= MAX_EXPANDED and sympy.simplify(value) == 0


def _separated(value: Expr) -> bool:
    """Is an algebraic number zero by the separation bound?"""
    fields: dict[Expr, int] = {}
    try:
        upper, lower = _bound(value, fields)
    except _NotAlgebraic:
        return False
    degree = math.prod(fields.values())
    bits = (degree - 1) * upper + lower
    if not 0 <= bits <= MAX_SEPARATION_BITS:
        return False
    with mpmath.workprec(3 * int(bits) + 256):
        return bool(abs(_evaluated(value)) < mpmath.mpf(2) ** -(int(bits) + 8))


def _bound(value: Expr, fields: dict[Expr, int]) -> tuple[float, float]:
    """log2 of u and l of BFMSS: every conjugate is a quotient of integers of at most u and l in absolute value."""
    if value.is_Rational:
        return math.log2(max(abs(int(value.p)), 1)), math.log2(int(value.q))
    if value == sympy.I:
        return _root_of_unity(4, fields)
    if value.is_Add:
        above, below = 0.0, 0.0
        for index, part in enumerate(value.args):
            u, low = _bound(part, fields)
            above, below = (max(above + low, u + below) + 1, below + low) if index else (u, low)
        return max(above, 0.0), below
    if value.is_Mul:
        pairs = [_bound(part, fields) for part in value.args]
        return sum(u for u, _ in pairs), sum(low for _, low in pairs)
    if value.is_Pow and value.exp.is_Rational:
        u, low = _bound(value.base, fields)
        power, index = int(value.exp.p), int(value.exp.q)
        if index > 1:
            fields[value.base] = math.lcm(fields.get(value.base, 1), index)
            u, low = ((u + (index - 1) * low) / index, low) if u >= low else (u, ((index - 1) * u + low) / index)
        u, low = u * abs(power), low * abs(power)
        return (low, u) if power < 0 else (u, low)
    if isinstance(value, sympy.exp):
        turn = value.exp / (sympy.I * sympy.pi)
        if turn.is_Rational:
            return _root_of_unity(2 * int(turn.q), fields)
    raise _NotAlgebraic


def _root_of_unity(order: int, fields: dict[Expr, int]) -> tuple[float, float]:
    fields[sympy.I] = math.lcm(fields.get(sympy.I, 1), order)
    return 0.0, 0.0


def _evaluated(value: Expr) -> Any:
    """The number in mpmath's working precision, principal roots."""
    if value.is_Rational:
        return mpmath.mpf(int(value.p)) / int(value.q)
    if value == sympy.I:
        return mpmath.mpc(0, 1)
    if value.is_Add:
        return mpmath.fsum([_evaluated(part) for part in value.args])
    if value.is_Mul:
        return mpmath.fprod([_evaluated(part) for part in value.args])
    if value.is_Pow:
        base = _evaluated(value.base)
        power, index = int(value.exp.p), int(value.exp.q)
        return (mpmath.root(base, index) if index > 1 else base) ** power
    turn = value.exp / (sympy.I * sympy.pi)
    return mpmath.expjpi(mpmath.mpf(int(turn.p)) / int(turn.q))


def _logarithms_cancel(value: Expr) -> bool:
    """Sums of rational multiples of logarithms, or of arcs and pi: zero if near zero and the exponential is one."""
    total = sympy.expand(_numerator(value))
    terms = [term.as_coeff_Mul() for term in sympy.Add.make_args(total)]
    if nonzero(total) or not all(rest.is_Rational for rest, _ in terms):
        return False
    factor = math.lcm(*(int(rest.q) for rest, _ in terms))
    arcs = all(inner == sympy.pi or isinstance(inner, sympy.atan | sympy.asin | sympy.acos) for _, inner in terms)
    logs = all(isinstance(inner, sympy.log) for _, inner in terms)
    if not (arcs or logs) or factor > 1000 or any(abs(rest * factor) > 1000 for rest, _ in terms):
        return False
    unit = sympy.Mul(*(_exponential(inner) ** (rest * factor) for rest, inner in terms))
    return _separated(unit - 1) or sympy.expand(unit - 1) == 0


def _exponential(part: Expr) -> Expr:
    """exp of a logarithm, or exp(i t) of an arc t."""
    if part == sympy.pi:
        return sympy.Integer(-1)
    x = part.args[0]
    if isinstance(part, sympy.log):
        return x
    if isinstance(part, sympy.atan):
        return (1 + sympy.I * x) / sympy.sqrt(1 + x**2)
    other = sympy.sqrt(1 - x**2)
    return other + sympy.I * x if isinstance(part, sympy.asin) else x + sympy.I * other


def points(names: list[str], seed: int) -> Iterator[dict[str, Expr]]:
    """Rational points at which two expressions are told apart: small, whole, positive, large and near zero."""
    state = seed
    for scale, below, signed in _KINDS:
        point = {}
        for name in names:
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64  # Knuth's MMIX generator
            draw = state >> 33
            sign = -1 if signed and draw & 1 else 1
            point[name] = sympy.Rational(sign * (2 + (draw >> 1) % 29) * scale, below)
        yield point
