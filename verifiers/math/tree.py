"""What a mathematical answer can be: a small typed tree, the whitelist between untrusted text and any algebra.

Leaves hold exact rationals, never floats. A name keeps its case and its subscript. There is no node for a string that
could be run, for an attribute, or for an approximation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from fractions import Fraction


class Unparsable(ValueError):
    """A text that is no mathematical answer in a notation known here; one line."""


class TooLarge(ValueError):
    """An answer beyond a static cap: length, digits, nesting, or the size of a number it stands for; one line."""


class Undefined(ValueError):
    """An expression without a value, such as a division by zero; one line."""


class Singular(Undefined):
    """A division by zero, or a pole: the expression may well have values all around."""


@dataclass(frozen=True, slots=True)
class Num:
    """An exact rational number."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Const:
    """One of pi, e, i, inf."""

    name: str


@dataclass(frozen=True, slots=True)
class Sym:
    """A variable; upper and lower case are different names."""

    name: str


@dataclass(frozen=True, slots=True)
class Add:
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Mul:
    factors: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Neg:
    operand: Node


@dataclass(frozen=True, slots=True)
class Div:
    numerator: Node
    denominator: Node


@dataclass(frozen=True, slots=True)
class Pow:
    base: Node
    exponent: Node


@dataclass(frozen=True, slots=True)
class Root:
    """The index-th root; of a negative number the real one if the index is odd."""

    radicand: Node
    index: int


@dataclass(frozen=True, slots=True)
class Degree:
    """An angle in degrees: value * pi / 180 within an expression."""

    value: Node


@dataclass(frozen=True, slots=True)
class PlusMinus:
    """+-operand; sign is 1 for plus-minus and -1 for minus-plus."""

    operand: Node
    sign: int


@dataclass(frozen=True, slots=True)
class Call:
    """A known function: sin, log (argument, base), abs, factorial, binomial, floor, gcd, ..."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Apply:
    """An unknown function such as f(x)."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Big:
    """sum, prod, int (over variable from low to high), lim or deriv.

    lim: variable to low; high is the side, one of the Syms + - both. deriv: low and high are the variable itself, which
    is free.
    """

    kind: str
    body: Node
    variable: str
    low: Node
    high: Node


@dataclass(frozen=True, slots=True)
class Based:
    """A whole number written in another base than ten."""

    value: int
    base: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """At least one row, all of one length."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Seq:
    """Items in order between brackets: a pair, a point, an interval, a vector. Brackets are ( [ < and ) ] >."""

    opening: str
    closing: str
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class SetOf:
    """A finite set in braces."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class NamedSet:
    """R, Z, N, Q or C."""

    name: str


@dataclass(frozen=True, slots=True)
class SetOp:
    """op is one of cup, cap, minus."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Builder:
    """{variable | condition}."""

    variable: str
    condition: Node


@dataclass(frozen=True, slots=True)
class ListOf:
    """Items without brackets: a multiset. joiner is one of `,` `and` `or`."""

    items: tuple[Node, ...]
    joiner: str


@dataclass(frozen=True, slots=True)
class Relation:
    """side op side op side ...; ops are = != < <= > >= in."""

    ops: tuple[str, ...]
    sides: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measure: `scale` of the base units in `dimensions` (sorted name, power), or of a label nobody knows."""

    scale: Fraction
    dimensions: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Quantity:
    value: Node
    unit: Unit


@dataclass(frozen=True, slots=True)
class Text:
    """Words, with single spaces and in lower case."""

    words: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The letter of an option, perhaps with the option itself."""

    letter: str
    rest: Node | None


Scalar = Num | Const | Sym | Add | Mul | Neg | Div | Pow | Root | Degree | PlusMinus | Call | Apply | Big | Based
Node = (Scalar | Matrix | Seq | SetOf | NamedSet | SetOp | Builder | ListOf | Relation | Ratio | Quantity | Text
        | Choice)
SCALARS = (Num, Const, Sym, Add, Mul, Neg, Div, Pow, Root, Degree, PlusMinus, Call, Apply, Big, Based)


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below a node."""
    for item in fields(node):
        yield from _nodes(getattr(node, item.name))


def _nodes(value: object) -> Iterator[Node]:
    if isinstance(value, tuple):
        for part in value:
            yield from _nodes(part)
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, Unit):
        yield value  # type: ignore[misc]


def walk(node: Node) -> Iterator[Node]:
    """A node and everything below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def symbols(node: Node) -> frozenset[str]:
    """Names of the free variables; what a sum, an integral or a limit binds is not free."""
    if isinstance(node, Sym):
        return frozenset({node.name})
    if isinstance(node, Apply):
        return frozenset({application(node)})
    below = frozenset[str]().union(*map(symbols, children(node)))
    if isinstance(node, Big):
        return (symbols(node.body) - {node.variable}) | symbols(node.low) | (
            frozenset() if node.kind == "lim" else symbols(node.high))
    return below - {node.variable} if isinstance(node, Builder) else below


def application(node: Apply) -> str:
    """The name under which f(x) is treated as one unknown."""
    return f"{node.name}({', '.join(map(repr, node.args))})"


def has(node: Node, *kinds: type) -> bool:
    return any(isinstance(part, kinds) for part in walk(node))
