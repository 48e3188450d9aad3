"""Is a number given as a number? `513^2-487^2` equals 26000, and says no more than a question that asks for it."""

from __future__ import annotations

from verifiers.math.parser import read
from verifiers.math.tree import (
    Based,
    Choice,
    Degree,
    Div,
    ListOf,
    Mul,
    Neg,
    Node,
    Num,
    Pow,
    Quantity,
    Relation,
    SetOf,
    TooLarge,
    Unparsable,
)


def worked_out(prediction: str, gold: str) -> bool:
    """False where the gold is a number and the prediction, which is known to equal it, is a sum, a product, a power or
    a root that is still to be computed. A fraction is a number only where the gold is no whole one."""
    try:
        answer, reference = read(prediction), read(gold)
    except (Unparsable, TooLarge):
        return True  # the same text, in a notation that is not known here
    answer, reference = _bare(answer), _bare(reference)
    whole = isinstance(reference, Num) and reference.value.denominator == 1
    return not _numeral(reference, fractions=True) or _numeral(answer, fractions=not whole)


def _bare(node: Node) -> Node:
    """What stands at the end of a chain, without its sign, its unit or the braces of a set of one."""
    while True:
        match node:
            case Relation(ops=ops, sides=sides) if set(ops) == {"="}:
                node = sides[-1]
            case Quantity(value=inner) | Degree(value=inner) | Neg(operand=inner):
                node = inner
            case Choice(rest=rest) if rest is not None:
                node = rest
            case SetOf(items=(inner,)):
                node = inner
            case _:
                return node


def _numeral(node: Node, *, fractions: bool) -> bool:
    match node:
        case Num() | Based():
            return True
        case Neg(operand=inner):
            return _numeral(inner, fractions=fractions)
        case Div(numerator=above, denominator=below):
            percent = isinstance(below, Num) and below.value == 100
            return (fractions or percent) and all(_numeral(part, fractions=False) for part in (above, below))
        case ListOf(items=items):
            return all(_numeral(_bare(item), fractions=fractions) for item in items)
    return scientific(node)


def scientific(node: Node) -> bool:
    """-1.5 * 10^-9, with one digit in front of the point as the notation has it."""
    match node.operand if isinstance(node, Neg) else node:
        case Mul(factors=(Num(value=significand), Pow(base=Num(value=base), exponent=exponent))):
            power = exponent.operand if isinstance(exponent, Neg) else exponent
            whole = isinstance(power, Num) and power.value.denominator == 1
            return 1 <= significand < 10 and base == 10 and whole
    return False
