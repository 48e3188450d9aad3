"""Lists, sets and plus-minus signs as the items they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from verifiers.math.tree import (
    Apply,
    ListOf,
    Matrix,
    Mul,
    Neg,
    Node,
    PlusMinus,
    Relation,
    Seq,
    SetOf,
    Sym,
    TooLarge,
    has,
    walk,
)

MAX_SIGNS = 5  # plus-minus signs in one expression
MAX_ITEMS = 64  # of a list, once its signs are written out


def is_name(node: Node) -> bool:
    """Can this stand on the left of an assignment? A name, f(x), a product of capitals such as AB, a tuple of names."""
    if isinstance(node, Sym):
        return True
    if isinstance(node, Apply):
        return all(isinstance(arg, Sym) for arg in node.args)
    if isinstance(node, Mul):
        return all(isinstance(factor, Sym) and factor.name[0].isupper() for factor in node.factors)
    return isinstance(node, Seq) and all(isinstance(item, Sym) for item in node.items)


def members(node: Node) -> list[Node] | None:
    """The items of a list, a set or an expression with plus-minus signs, the signs written out; else None."""
    if isinstance(node, ListOf | SetOf):
        items = [inner for item in node.items for inner in (members(item) if not isinstance(item, SetOf) else None)
                 or [item]]
    elif isinstance(node, Relation) and isinstance(node.sides[0], Seq) and isinstance(node.sides[-1], Seq):
        names, values = node.sides[0].items, node.sides[-1].items
        if len(node.sides) > 2 or len(names) != len(values):
            return None
        items = [Relation(("=",), pair) for pair in zip(names, values, strict=True)]
    elif has(node, PlusMinus):
        items = signs_written_out(node)
    else:
        return None
    if len(items) > MAX_ITEMS:
        raise TooLarge(f"a list of {len(items)} items; at most {MAX_ITEMS} are compared")
    return items


def values_of(items: list[Node]) -> tuple[str, list[Node]]:
    """`x=1, x=2` and `x=1, 2` as the values of x; other lists as they are, of nothing."""
    pairs = [item.sides if isinstance(item, Relation) and item.ops == ("=",) and is_name(item.sides[0]) else None
             for item in items]
    if not pairs or pairs[0] is None:
        return "", items
    names = {repr(pair[0]) for pair in pairs if pair is not None}
    others = [item for item, pair in zip(items, pairs, strict=True) if pair is None]
    if len(names) > 1 or any(isinstance(item, Relation) for item in others):
        return "", items
    return names.pop(), [item if pair is None else pair[1] for item, pair in zip(items, pairs, strict=True)]


def assigned(node: Node) -> list[tuple[str, Node]]:
    """The names and values of `x = 1, y = 2` and `(x, y) = (1, 2)`, in the order given; empty where fewer than two
    names get one each."""
    if isinstance(node, Relation) and node.ops == ("=",):
        node = ListOf(tuple(members(node) or ()), ",")
    if not isinstance(node, ListOf):
        return []
    pairs = [(item.sides[0].name, item.sides[1]) for item in node.items if isinstance(item, Relation)
             and item.ops == ("=",) and isinstance(item.sides[0], Sym)]
    names = {name for name, _ in pairs}
    return pairs if len(names) == len(node.items) > 1 else []


def by_name(names: Node, value: Node) -> Node:
    """What a tuple of names is equal to, told in the order of the names; unchanged if it is no such tuple."""
    if isinstance(value, SetOf):
        return SetOf(tuple(by_name(names, item) for item in value.items))
    if isinstance(value, Matrix) and len(value.rows[0]) == 1:
        column = by_name(names, Seq("(", ")", tuple(row[0] for row in value.rows)))
        return Matrix(tuple((item,) for item in column.items)) if isinstance(column, Seq) else value
    if not (isinstance(names, Seq) and isinstance(value, Seq) and len(names.items) == len(value.items)):
        return value
    keys = [name.name if isinstance(name, Sym) else "" for name in names.items]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return replace(value, items=tuple(value.items[index] for index in order))


def unnamed(node: Node) -> Sequence[Node]:
    """The items of a list or an ordered tuple that names none of them; else empty."""
    listed = isinstance(node, ListOf) or (isinstance(node, Seq) and node.opening + node.closing == "()")
    items: Sequence[Node] = getattr(node, "items", ()) if listed else ()
    return () if any(isinstance(item, Relation) or has(item, PlusMinus) for item in items) else items


def signs_written_out(node: Node) -> list[Node]:
    """One node for each choice of the plus-minus signs; where minus-plus occurs all of them go together."""
    signs = [part.sign for part in walk(node) if isinstance(part, PlusMinus)]
    if len(signs) > MAX_SIGNS:
        raise TooLarge(f"more than {MAX_SIGNS} plus-minus signs")
    together = -1 in signs
    choices: Iterable[tuple[int, ...]] = (
        [tuple(signs), tuple(-sign for sign in signs)] if together else product((1, -1), repeat=len(signs)))
    return [_signed(node, list(choice)) for choice in choices]


def _signed(node: Node, choice: list[int]) -> Node:
    """The node with its signs, in the order of `walk`, replaced; consumes the choice."""
    if isinstance(node, PlusMinus):
        sign = choice.pop(0)
        inner = _signed(node.operand, choice)
        return inner if sign > 0 else Neg(inner)
    if not has(node, PlusMinus):
        return node
    changed: dict[str, Any] = {}
    for name in node.__dataclass_fields__:
        value = getattr(node, name)
        if isinstance(value, tuple):
            changed[name] = tuple(_signed(part, choice) if isinstance(part, Node) else part for part in value)
        elif isinstance(value, Node):
            changed[name] = _signed(value, choice)
    return replace(node, **changed)
