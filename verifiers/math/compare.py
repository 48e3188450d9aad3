"""Equivalence of two parsed answers, strict on structure: what is a pair is no list, what is open is not closed.

Verdicts are three-valued: True (proved), False (refuted) and None (neither). Here are the rules that need no algebra;
the scalars that do are left to a subclass in a worker process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from verifiers.math.exact import always_defined, rational
from verifiers.math.lists import assigned, by_name, is_name, members, unnamed, values_of
from verifiers.math.tolerance import Tolerance
from verifiers.math.tree import (
    SCALARS,
    Add,
    Based,
    Builder,
    Choice,
    Const,
    Degree,
    Div,
    ListOf,
    Matrix,
    Mul,
    NamedSet,
    Node,
    Num,
    PlusMinus,
    Pow,
    Quantity,
    Ratio,
    Relation,
    Seq,
    SetOf,
    SetOp,
    Sym,
    Text,
    Unit,
    has,
    symbols,
)
from verifiers.math.units import joined, labels_of, raised, unit_named

Truth = bool | None


class NeedsAlgebra(Exception):
    """A comparison that rational arithmetic and structure do not settle."""


def every(truths: Iterable[Truth]) -> Truth:
    """False if one is false, else None if one is unknown, else True."""
    result: Truth = True
    for truth in truths:
        if truth is False:
            return False
        if truth is None:
            result = None
    return result


class Comparer:
    """The rules of structure. `scalars` here settles rational numbers and single names only."""

    def __init__(self, policy: Tolerance) -> None:
        self.policy = policy

    def equal(self, p: Node, g: Node) -> Truth:
        """Is the prediction p the answer g? Raises NeedsAlgebra, TooLarge, Undefined."""
        if isinstance(p, Choice | Text) or isinstance(g, Choice | Text):
            return self.labels(p, g)
        if p == g and always_defined(g):
            return True
        same_names = isinstance(p, Relation) and isinstance(g, Relation) and p.sides[0] == g.sides[0]
        p, g = _without_element(p, same_names), _without_element(g)
        if isinstance(p, Quantity | Degree) or isinstance(g, Quantity | Degree):
            return self.quantities(p, g)
        if is_region(p) or is_region(g):
            return self.regions(p, g) if may_be_region(p) and may_be_region(g) else False
        if isinstance(p, Relation) or isinstance(g, Relation):
            return self.relations(p, g)
        if isinstance(p, SetOf | ListOf) or isinstance(g, SetOf | ListOf) or has(p, PlusMinus) or has(g, PlusMinus):
            return self.collections(p, g)
        if isinstance(p, Ratio) or isinstance(g, Ratio):
            return self.ratios(p, g)
        if isinstance(p, Matrix) and isinstance(g, Matrix):
            if (len(p.rows), len(p.rows[0])) != (len(g.rows), len(g.rows[0])):
                return False
            return every(self.equal(a, b) for row, other in zip(p.rows, g.rows, strict=True)
                         for a, b in zip(row, other, strict=True))
        if isinstance(p, Seq) and isinstance(g, Seq):
            return self.sequences(p, g)
        if isinstance(p, SCALARS) and isinstance(g, SCALARS):
            if isinstance(p, Based) or isinstance(g, Based):
                return p == g
            return self.scalars(p, g)
        return False

    def labels(self, p: Node, g: Node) -> Truth:
        """Options and words."""
        if isinstance(p, Text) and isinstance(g, Text):
            return p.words == g.words
        letters = [node.letter if isinstance(node, Choice) else node.name if isinstance(node, Sym) else None
                   for node in (p, g)]
        if None in letters or letters[0] != letters[1]:
            return False
        rests = [node.rest if isinstance(node, Choice) else None for node in (p, g)]
        return True if rests[0] is None or rests[1] is None else self.equal(rests[0], rests[1])

    def sequences(self, p: Seq, g: Seq) -> Truth:
        brackets = [(node.opening.replace("<", "("), node.closing.replace(">", ")")) for node in (p, g)]
        if brackets[0] != brackets[1]:
            return False
        return self.in_order(p.items, g.items)

    def in_order(self, mine: Sequence[Node], other: Sequence[Node]) -> Truth:
        if len(mine) != len(other):
            return False
        return every(self.equal(a, b) for a, b in zip(mine, other, strict=True))

    def quantities(self, p: Node, g: Node) -> Truth:
        if isinstance(p, Relation) or isinstance(g, Relation):
            return self.relations(p, g)
        if isinstance(p, ListOf | SetOf | Seq | Matrix | Ratio) or isinstance(g, ListOf | SetOf | Seq | Matrix | Ratio):
            return self.collections(p, g)
        if isinstance(p, Degree) or isinstance(g, Degree):
            return self.angles(p, g)
        p, g = _as_quantity(p), _as_quantity(g)
        if isinstance(p, Quantity) and isinstance(g, Quantity):
            if p.unit.dimensions != g.unit.dimensions:
                ours, theirs = _celsius(p), _celsius(g)
                return False if ours is None or theirs is None else self.equal(ours, theirs)
            if p.unit == g.unit:
                return self.equal(p.value, g.value)
            return self.equal(*(Mul((side.value, Num(side.unit.scale))) for side in (p, g)))
        if isinstance(p, Quantity):  # the gold has no unit: the problem's words name it
            return self.equal(p.value, g) if self.counts(p.unit) else False
        assert isinstance(g, Quantity)
        return self.equal(p, g.value) if self.policy.bare_numbers else False

    def counts(self, unit: Unit) -> bool:
        """Is this a unit that is known, or else what the problem counts?"""
        return self.policy.counted is None or self.policy.counted.issuperset(labels_of(unit))

    def angles(self, p: Node, g: Node) -> Truth:
        """A degree sign may be left out by the gold, and angles may be given in parts of pi."""
        if isinstance(p, Degree) and isinstance(g, Degree):
            return self.equal(p.value, g.value)
        if has(g if isinstance(p, Degree) else p, Const):
            return self.scalars(p, g) if isinstance(p, SCALARS) and isinstance(g, SCALARS) else False
        if isinstance(p, Degree):
            return self.equal(p.value, g)
        return self.equal(p, g.value) if isinstance(g, Degree) and self.policy.bare_numbers else False

    def collections(self, p: Node, g: Node) -> Truth:
        """Lists are multisets, and sets are sets; a list without repetition may stand for a set. Values of several
        names are told in order: the gold's own, or that of the names."""
        ours, theirs = assigned(p), assigned(g)
        if (ours and isinstance(g, SetOf)) or (theirs and isinstance(p, SetOf)):
            return False
        if ours and (bare := unnamed(g)):
            return self.in_order([value for _, value in sorted(ours, key=lambda pair: pair[0])], bare)
        if theirs and (bare := unnamed(p)):
            return self.in_order(bare, [value for _, value in theirs])
        mine, other = members(p), members(g)
        if mine is None or other is None:
            if isinstance(p, SetOf) and len(p.items) == 1 and isinstance(g, SCALARS):
                return self.equal(p.items[0], g)
            if isinstance(g, SetOf) and len(g.items) == 1 and isinstance(p, SCALARS):
                return self.equal(p, g.items[0])
            return False
        (name, mine), (wanted, other) = values_of(mine), values_of(other)
        if name and wanted and name != wanted:
            return False
        if isinstance(p, SetOf):
            mine = self.distinct(mine)
        if isinstance(g, SetOf):
            other = self.distinct(other)
        return self.matched(mine, other)

    def distinct(self, items: Sequence[Node]) -> list[Node]:
        kept: list[Node] = []
        for item in items:
            if not any(self.equal(item, earlier) for earlier in kept):
                kept.append(item)
        return kept

    def matched(self, mine: Sequence[Node], other: Sequence[Node]) -> Truth:
        """Do the items pair off? Equality is transitive, so that a proved pair can be taken at once."""
        if len(mine) != len(other):
            return False
        left, unknown = list(other), False
        for item in mine:
            truths = [isinstance(item, SetOf) == isinstance(candidate, SetOf) and self.equal(item, candidate)
                      for candidate in left]
            if True in truths:
                left.pop(truths.index(True))
            elif None in truths:
                unknown = True
            else:
                return False
        return None if unknown else True

    def ratios(self, p: Node, g: Node) -> Truth:
        terms = [node.terms if isinstance(node, Ratio) else (node.numerator, node.denominator)
                 if isinstance(node, Div) else (node, Num(Fraction(1))) for node in (p, g)]
        mine, other = terms
        if len(mine) != len(other) or not all(isinstance(term, SCALARS) for term in (*mine, *other)):
            return False
        if any(rational(term) == 0 for term in (*mine, *other)):
            return False
        return every(self.scalars(Mul((a, other[-1])), Mul((b, mine[-1])))
                     for a, b in zip(mine[:-1], other[:-1], strict=True))

    def relations(self, p: Node, g: Node) -> Truth:
        """Equations; a value may stand for `name = value`, and a chain for its value if all of it is that value."""
        if isinstance(p, Relation) and isinstance(g, Relation):
            if set(p.ops) | set(g.ops) != {"="}:
                return False
            if len(p.ops) == len(g.ops) == 1:
                (a, b), (c, d) = p.sides, g.sides
                if a == c and is_name(a):
                    return self.equal(b, d)
                if has(p, PlusMinus) or has(g, PlusMinus) or not all(isinstance(s, SCALARS) for s in (a, b, c, d)):
                    return self.collections(p, g)
                return self.equations(p, g)
            return p == g or None
        relation, value = (p, g) if isinstance(p, Relation) else (g, p)
        assert isinstance(relation, Relation)
        if isinstance(value, ListOf):
            return self.collections(p, g)
        if set(relation.ops) != {"="}:
            return False
        sides = list(relation.sides)
        if all(map(is_name, sides)):  # y = x says what y is, not x; and of two options, A = B, it chooses none
            options = all(isinstance(side, Sym) and side.name.isupper() for side in sides)
            return False if options else self.equal(sides[-1], value)
        named = [index for index in (0, -1) if is_name(sides[index]) and sides[index] != value]
        if named:
            names = sides.pop(named[0])
            if relation is p:  # a bare answer has its values in the order of the names
                sides = [by_name(names, side) for side in sides]
        if len(sides) == 1 and has(sides[0], PlusMinus) and not isinstance(sides[0], SetOf):
            return self.collections(p, g)
        return every(self.equal(side, g) if relation is p else self.equal(p, side) for side in sides)

    def scalars(self, p: Node, g: Node) -> Truth:
        mine, other = rational(p), rational(g)
        if mine is not None and other is not None:
            return mine == other or (not self.policy.exact and self.policy.accepts(mine, other))
        if isinstance(p, Sym) and isinstance(g, Sym):
            return p == g
        for value, node in ((mine, g), (other, p)):
            if (value is not None and isinstance(node, Sym)) or (node == Const("inf") and value is not None):
                return False
        raise NeedsAlgebra

    def equations(self, p: Relation, g: Relation) -> Truth:
        raise NeedsAlgebra

    def regions(self, p: Node, g: Node) -> Truth:
        raise NeedsAlgebra


def _without_element(node: Node, as_written: bool = True) -> Node:
    """`x in S` says S; of tuples of names in the order written, or else in that of the names."""
    if isinstance(node, Relation) and node.ops == ("in",) and is_name(node.sides[0]):
        return node.sides[1] if as_written else by_name(*node.sides)
    return node


def is_region(node: Node) -> bool:
    """Is this a set of reals by description: an inequality, a union, a builder, R?"""
    if isinstance(node, Relation):
        return bool({"<", "<=", ">", ">=", "!=", "in"} & set(node.ops))
    if isinstance(node, ListOf):
        return any(is_region(item) for item in node.items)
    if isinstance(node, Seq):
        return node.opening + node.closing in ("(]", "[)")
    return isinstance(node, SetOp | Builder | NamedSet)


def may_be_region(node: Node) -> bool:
    """Can this be the same set as a region? Pairs are intervals, finite sets and equations are points."""
    if isinstance(node, ListOf):
        return any(is_region(item) for item in node.items)
    return is_region(node) or isinstance(node, SetOf | Relation) or (isinstance(node, Seq) and len(node.items) == 2)


def _celsius(quantity: Quantity) -> Node | None:
    """A temperature in degrees Celsius; None for what is none."""
    match quantity.unit.dimensions:
        case (("degree C", 1),):
            return quantity.value
        case (("degree F", 1),):
            return Mul((Add((quantity.value, Num(Fraction(-32)))), Num(Fraction(5, 9))))
    return None


def _as_quantity(node: Node) -> Node:
    """`5 m`, `5 m^2` or `5 m/s` read as an expression is a quantity if the other side has a unit."""
    if isinstance(node, Div):
        above, below = _as_quantity(node.numerator), _as_quantity(Mul((Num(Fraction(1)), node.denominator)))
        if isinstance(above, Quantity) and isinstance(below, Quantity):
            return Quantity(above.value, joined(above.unit, raised(below.unit, -1)))
        return node
    if not (isinstance(node, Mul) and len(node.factors) == 2):
        return node
    value, last = node.factors
    name, power = last, Fraction(1)
    if isinstance(last, Pow) and isinstance(last.exponent, Num) and last.exponent.value in (2, 3):
        name, power = last.base, last.exponent.value
    unit = unit_named(name.name) if isinstance(name, Sym) else None
    return node if unit is None or symbols(value) else Quantity(value, raised(unit, int(power)))
