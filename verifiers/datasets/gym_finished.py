"""Is an answer worked out? A question's own expression equals its value, so equality alone would pay for copying it."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from verifiers.math.parser import read
from verifiers.math.tree import Add, Const, Div, Mul, Neg, Node, Num, Pow, Quantity, Relation, Sym, TooLarge, Unparsable
from verifiers.math.worked_out import scientific

# The comparer reads the grouping of India against a number, but the parser alone takes it for a list.
_INDIAN = re.compile(r"\s*[+-]?[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}\s*")
_ONE = Num(Fraction(1))


def finished(task: str, answer: str) -> bool:
    """Is the answer a value in the form that the task asks for? False as well for what cannot be read."""
    if _INDIAN.fullmatch(answer):
        return True
    try:
        node = read(answer)
    except (Unparsable, TooLarge, RecursionError):
        return False
    if isinstance(node, Relation) and node.ops == ("=",) and isinstance(node.sides[0], Sym):
        node = node.sides[1]  # z = 3 + 4i
    return _numeral(node) or _FORMS.get(task, scientific)(node)


def _numeral(node: Node) -> bool:
    return isinstance(node.operand if isinstance(node, Neg) else node, Num)


def _fraction(node: Node) -> bool:
    """15/64, or a percentage, which is read as one."""
    return scientific(node) or (isinstance(node, Div) and _numeral(node.numerator) and _numeral(node.denominator))


def _amount(node: Node) -> bool:
    """A number of something: $5, 5 apples."""
    if isinstance(node, Neg):
        node = node.operand
    return isinstance(node, Quantity) and _numeral(node.value)


def _complex(node: Node) -> bool:
    """a + bi with one numeral for each part, either of which may be missing."""
    parts = node.terms if isinstance(node, Add) else (node,)
    imaginary = [_imaginary(part) for part in parts]
    return sum(imaginary) == 1 and (len(parts) == 1 or (len(parts) == 2 and any(map(_numeral, parts))))


def _imaginary(node: Node) -> bool:
    return _without_numeral(node) == (Const("i"),)


def _polynomial(node: Node) -> bool:
    """Multiplied out, and with like terms together: a sum of numeral * x^n, no two with the same powers."""
    found = [_powers(term) for term in (node.terms if isinstance(node, Add) else (node,))]
    return None not in found and len(set(found)) == len(found)


def _powers(term: Node) -> frozenset[tuple[str, int]] | None:
    """The variables of a monomial with their exponents; None if it is no monomial, or is written in pieces."""
    powers: dict[str, int] = {}
    for factor in _without_numeral(term):
        base, exponent = (factor.base, factor.exponent) if isinstance(factor, Pow) else (factor, _ONE)
        if not isinstance(base, Sym) or base.name in powers:
            return None
        if not isinstance(exponent, Num) or exponent.value.denominator != 1:
            return None
        powers[base.name] = exponent.value.numerator
    return frozenset((name, power) for name, power in powers.items() if power)


def _without_numeral(term: Node) -> tuple[Node, ...]:
    """The factors of a term but for its sign and its numeral; all of them if it has two signs or numerals to unite."""
    inner = term.operand if isinstance(term, Neg) else term
    factors = inner.factors if isinstance(inner, Mul) else (inner,)
    others = tuple(factor for factor in factors
                   if not (isinstance(factor, Num) if inner is not term else _numeral(factor)))
    return others if len(factors) - len(others) <= 1 else factors


def _no_other(node: Node) -> bool:
    return False


_FORMS: dict[str, Callable[[Node], bool]] = {
    "chain_sum": _no_other, "decimal_chain_sum": _no_other, "products": _no_other,
    "coin_flip": _fraction, "complex_arithmetic": _complex, "gsm_symbolic": _amount,
    "polynomial_multiplication": _polynomial,
}
"""What each task allows beside a single numeral; the others, scientific notation with a power of ten."""
