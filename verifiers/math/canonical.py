"""One text for answers that are plainly the same: `18`, `18.0` and `$18`, `1/2` and `0.5`, `2, 3` and `3, 2`.

For votes, which need an equivalence relation that costs next to nothing: answers are parsed and put into an order,
rational parts are computed, and there is no algebra. Two answers with one text are the same answer to one problem; two
with different texts may still be, such as sqrt(8) and 2 sqrt(2), or `x = 5` and `5` (which `y = 5` would be too).
"""

from __future__ import annotations

from fractions import Fraction

from verifiers.math.exact import bounded, rational
from verifiers.math.lists import members
from verifiers.math.parser import read
from verifiers.math.tree import (
    SCALARS,
    Add,
    Based,
    Choice,
    ListOf,
    Mul,
    Node,
    Num,
    PlusMinus,
    Quantity,
    Ratio,
    SetOf,
    Sym,
    TooLarge,
    Undefined,
    Unit,
    Unparsable,
    has,
    walk,
)
from verifiers.math.units import LABEL


def canonical(answer: str) -> str:
    """The text that an answer shares with its other spellings; what cannot be read is its own, up to white space."""
    try:
        node = read(answer)
        for part in walk(node):
            if isinstance(part, SCALARS):
                rational(part)  # to see that it is no division by zero, nor too large
        return _text(node)
    except (Unparsable, TooLarge, Undefined, RecursionError):
        return f"'{' '.join(answer.split())}"


def _text(node: Node) -> str:
    match node:
        case Based():  # is not the same answer as its value
            return _named(node)
        case Num(number):
            return _number(number)
        case Choice(letter, _):  # whatever it says of the option
            return _text(Sym(letter))
        case Quantity():
            return _quantity(node)
        case ListOf() | SetOf():
            return _collection(node)
        case Ratio(terms):
            values = [rational(term) if isinstance(term, SCALARS) else None for term in terms]
            return _ratio([value for value in values if value]) if all(values) else _named(node)
    if isinstance(node, SCALARS):
        if (value := rational(node)) is not None:
            return _number(value)
        if has(node, PlusMinus):
            return _collection(node)
        if isinstance(node, Add | Mul):
            return f"{type(node).__name__}({','.join(sorted(_parts(node)))})"
    return _named(node)


def _named(node: Node) -> str:
    return f"{type(node).__name__}({','.join(_parts(node))})"


def _parts(node: object) -> list[str]:
    """The fields of a node, nodes among them by their texts."""
    values = [getattr(node, name) for name in node.__dataclass_fields__]  # type: ignore[attr-defined]
    if len(values) == 1 and isinstance(values[0], tuple):
        values = list(values[0])
    return [_field(value) for value in values]


def _field(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(_field, value))}]"
    if isinstance(value, Fraction):
        return _number(value)
    if isinstance(value, int | str) or value is None:
        return repr(value)
    return f"Unit({','.join(_parts(value))})" if isinstance(value, Unit) else _text(value)  # type: ignore[arg-type]


def _number(value: Fraction) -> str:
    return f"{value.numerator:x}/{value.denominator:x}"  # in hex, for there is no limit to that and it is quick


def _quantity(node: Quantity) -> str:
    """In base units. Dollars, and what is merely counted, go without saying."""
    value = rational(node.value) if isinstance(node.value, SCALARS) else None
    if value is None:
        return _named(node)
    number = _number(bounded(value * node.unit.scale))
    if node.unit.dimensions == (("money", 1),) or all(name.startswith(LABEL) for name, _ in node.unit.dimensions):
        return number
    return f"{number} {node.unit.dimensions}"


def _collection(node: Node) -> str:
    """Items in order, signs written out; a set is a list without repetition, and one of a single number that number."""
    items = _items(node)
    return items[0] if len(items) == 1 and items[0][0] in "-0123456789abcdef" else f"Many({','.join(items)})"


def _items(node: Node) -> list[str]:
    """A set within a set is no member of the outer one, even where it holds one number alone."""
    items = sorted(f"Many({','.join(_items(item))})" if isinstance(item, SetOf) else _text(item)
                   for item in members(node) or [])
    return sorted(set(items)) if isinstance(node, SetOf) else items


def _ratio(terms: list[Fraction]) -> str:
    scaled = [bounded(term / terms[-1]) for term in terms[:-1]]
    return _number(scaled[0]) if len(scaled) == 1 else f"Ratio({','.join(map(_number, scaled))})"
