"""Comparison with algebra: refutation at points, proofs of equality, equations up to a factor, sets of reals."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import sympy  # type: ignore[import-untyped]

from verifiers.math.algebra import (
    Algebra,
    conditions,
    free_names,
    is_real,
    lowest_numerator,
    positive_names,
    same_solutions_kept,
)
from verifiers.math.compare import Comparer, NeedsAlgebra, Truth, every
from verifiers.math.proofs import nonzero, points, proved_zero
from verifiers.math.regions import NoRegion, Regions, same
from verifiers.math.tolerance import Tolerance
from verifiers.math.tree import (
    SCALARS,
    Add,
    Big,
    Div,
    ListOf,
    Neg,
    Node,
    Relation,
    Seq,
    SetOp,
    Singular,
    TooLarge,
    Undefined,
    has,
)

Expr = Any
_FLIPPED = {"<": ">", "<=": ">="}


class SymbolicComparer(Comparer):
    """Settles scalars, equations and regions with sympy.

    Args:
        policy: see Tolerance.
        seed: from which the points of refutation are drawn.
    """

    def __init__(self, policy: Tolerance, seed: int) -> None:
        super().__init__(policy)
        self.seed = seed
        self.real = True  # until something complex is met in any part of either answer

    def equal(self, p: Node, g: Node) -> Truth:
        self.real = self.real and is_real(p, g)
        return super().equal(p, g)

    def scalars(self, p: Node, g: Node) -> Truth:
        try:
            return super().scalars(p, g)
        except NeedsAlgebra:
            pass
        names, real = free_names(p, g), self.real
        if not names:
            return self.constants(Algebra({}, real=real).expression(p), Algebra({}, real=real).expression(g))
        agreement = self.agree(p, g, names, real)
        if agreement is not True:
            return agreement
        algebra = Algebra({}, positive_names(g), real)
        return True if proved_zero(algebra.expression(p) - algebra.expression(g)) else None

    def constants(self, p: Expr, g: Expr) -> Truth:
        if p.is_infinite or g.is_infinite:
            return bool(p == g)
        difference = p - g
        if nonzero(difference):
            return False if self.policy.exact else self.near(p, g)
        return True if proved_zero(difference) else None

    def near(self, p: Expr, g: Expr) -> Truth:
        numbers = [value.evalf(80) for value in (p, g)]
        if not all(number.is_Float for number in numbers):
            return False
        mine, gold = (Fraction(*map(int, sympy.Rational(number).as_numer_denom())) for number in numbers)
        return self.policy.accepts(mine, gold)

    def agree(self, p: Node, g: Node, names: Sequence[str], real: bool) -> Truth:
        """True: p agrees with g at points where g is defined. False: it differs at one. None: nothing can be said."""
        agreed, lacking = 0, False
        for point in points(list(names), self.seed):
            algebra = Algebra(point, real=real)
            try:
                gold = algebra.expression(g)
            except (Undefined, TooLarge):
                continue
            try:
                mine = algebra.expression(p)
            except (Singular, TooLarge):
                continue
            except Undefined:
                lacking = not has(p, Big)  # a sum to n has no value where n is no whole number
                continue
            if mine.is_infinite or gold.is_infinite:
                continue
            if nonzero(mine - gold):
                return False
            agreed += 1
            if agreed >= 6:
                break
        return True if agreed and not lacking else None

    def equations(self, p: Relation, g: Relation) -> Truth:
        mine, other = (Add((side.sides[0], Neg(side.sides[1]))) for side in (p, g))
        truth = self.proportional(mine, other, positive=False)
        if truth is True and not same_solutions_kept(mine, other, Algebra({}, real=self.real)):
            return None
        return self.cleared(mine, other) if truth is False and has(Add((mine, other)), Div) else truth

    def cleared(self, p: Node, g: Node) -> Truth:
        """`y = 1/x` is `xy = 1`: are the numerators, in lowest terms, constant multiples of one another?"""
        tops, algebra = [], Algebra({}, real=self.real)
        for side in (p, g):
            value = algebra.expression(side)
            if not value.is_rational_function() or value.is_number:
                return False
            tops.append(lowest_numerator(value))
        ratio = sympy.cancel(tops[0] / tops[1])
        if not (ratio.is_number and nonzero(ratio)):
            return False
        return same_solutions_kept(p, g, algebra) or None

    def proportional(self, p: Node, g: Node, positive: bool) -> Truth:
        """Is p a constant multiple of g, by a factor that is not zero, or is positive?"""
        names, real = free_names(p, g), self.real
        first: tuple[Expr, Expr] | None = None
        agreed, varied = 0, False
        for point in points(names, self.seed):
            algebra = Algebra(point, real=real)
            try:
                mine, gold = algebra.expression(p), algebra.expression(g)
            except (Undefined, TooLarge):
                continue
            if first is None:
                if nonzero(mine) and nonzero(gold):
                    first = mine, gold
                elif (mine == 0 and nonzero(gold)) or (gold == 0 and nonzero(mine)):
                    return False
            elif nonzero(mine * first[1] - gold * first[0]):
                return False
            else:
                agreed, varied = agreed + 1, varied or nonzero(gold - first[1])
                if agreed >= 5:
                    break
        if first is None or not varied:  # constants such as 1 = 2 and x < x + 1 have no solutions to compare
            return None
        factor = first[0] / first[1]
        if positive and not factor.is_positive:
            return False
        algebra = Algebra({}, positive_names(g), real)
        return True if proved_zero(algebra.expression(p) - factor * algebra.expression(g)) else None

    def regions(self, p: Node, g: Node) -> Truth:
        if p == g and not isinstance(p, ListOf | Seq):
            return True
        reader = Regions(Algebra({}).expression)
        try:
            (name, mine), (wanted, gold) = reader.region(p), reader.region(g)
        except NoRegion:
            return self.described(p, g)
        if name and wanted and name != wanted:
            return False
        return same(mine, gold)

    def described(self, p: Node, g: Node) -> Truth:
        """Sets without known ends: by their structure, inequalities up to a positive factor."""
        if isinstance(p, Relation) and isinstance(g, Relation) and len(p.ops) == len(g.ops) == 1:
            if not all(isinstance(side, SCALARS) for side in (*p.sides, *g.sides)):
                return None
            (op, mine), (wanted, gold) = _oriented(p), _oriented(g)
            if op != wanted:
                return False
            algebra = Algebra({}, real=self.real)
            truth = self.proportional(mine, gold, positive=op != "!=")
            return None if truth and conditions(mine, algebra) != conditions(gold, algebra) else truth
        if isinstance(p, Seq) and isinstance(g, Seq):
            return self.sequences(p, g)
        if isinstance(p, SetOp) and isinstance(g, SetOp) and p.op == g.op:
            return every([self.equal(p.left, g.left), self.equal(p.right, g.right)]) or None
        if isinstance(p, ListOf) and isinstance(g, ListOf) and (p.joiner == "or") == (g.joiner == "or"):
            return self.matched(p.items, g.items)
        if isinstance(p, Relation) and isinstance(g, Relation):
            return self.chains(p, g)
        return None

    def chains(self, p: Relation, g: Relation) -> Truth:
        """a < x < b with symbolic ends, in either direction."""
        if set(p.ops) <= {">", ">="}:
            p = Relation(tuple(op.replace(">", "<") for op in reversed(p.ops)), p.sides[::-1])
        if set(g.ops) <= {">", ">="}:
            g = Relation(tuple(op.replace(">", "<") for op in reversed(g.ops)), g.sides[::-1])
        if p.ops != g.ops:
            return None
        algebra = Algebra({}, real=self.real)
        if all(isinstance(side, SCALARS) for side in (*p.sides, *g.sides)) and (
                conditions(Add(p.sides), algebra) != conditions(Add(g.sides), algebra)):
            return None
        return every(self.equal(a, b) for a, b in zip(p.sides, g.sides, strict=True)) or None


def _oriented(relation: Relation) -> tuple[str, Node]:
    """`difference > 0`, or >= or !=."""
    left, right = relation.sides
    op = relation.ops[0]
    if op in _FLIPPED:
        return _FLIPPED[op], Add((right, Neg(left)))
    return op, Add((left, Neg(right)))


def seed_of(*texts: str) -> int:
    """A seed from what is compared: the same comparison draws the same points."""
    return int.from_bytes(hashlib.blake2b("\x1f".join(texts).encode("utf-8", "replace"), digest_size=8).digest(), "big")
