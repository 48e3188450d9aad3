"""Rules of Monte Carlo tree search: pure functions from nodes to choices and values, handed to the loop in mcts.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from search.tree import Node, estimate

Select = Callable[[Node, bool], "list[Node | None]"]
"""(node, may more thoughts be drawn here?) -> where to go, best first; None stands for drawing more thoughts here."""
Widen = Callable[[Node], bool]
"""May more thoughts be drawn at a node that has some?"""
Backup = Callable[[Node], float]
"""A node's q, from its own value and its children's q."""


@dataclass(frozen=True)
class Puct:
    """PUCT (AlphaZero, Silver et al. 2018) with drawing one more thought as an arm beside the children.

    score = q + c * P * sqrt(1 + N) / (1 + n). A child's P is its prior times the probability the policy gives to
    the thoughts drawn so far; the rest is the P of drawing more, whose n is the number of samples drawn and whose q
    is that of a fresh rollout that goes where no sample went. Simulations in flight count as visits that found
    nothing (virtual loss).
    """

    c: float

    def __call__(self, node: Node, may_draw: bool) -> list[Node | None]:
        scale = self.c * math.sqrt(1 + node.visits + node.pending)
        drawn = 1.0 - node.mass_left
        scored: list[tuple[float, Node | None]] = []
        for child in node.children:
            if not child.closed:
                q = child.q * (1 + child.visits) / (1 + child.visits + child.pending)
                scored.append((q + scale * child.prior * drawn / (1 + child.visits + child.pending), child))
        if may_draw:
            scored.append((undrawn(node) + scale * node.mass_left / (1 + node.drawn), None))
        scored.sort(key=lambda arm: -arm[0])
        return [arm for _, arm in scored]


@dataclass(frozen=True)
class ProgressiveWidening:
    """Samples drawn < k + c * visits ** alpha, or nothing else left to do (Couetoux et al. 2011)."""

    k: int
    c: float
    alpha: float

    def __call__(self, node: Node) -> bool:
        if node.spent or node.opening:
            return False
        return node.drawn < self.k + self.c * node.visits**self.alpha or not node.open_children


def undrawn(node: Node) -> float:
    """P(a rollout from here takes a thought not drawn yet, and ends correct), if those are as good as the drawn."""
    return estimate(node) * node.mass_left


def best(node: Node) -> float:
    """The best that is left to find below a node: one proof is all it takes, and the refuted drop out exactly."""
    if node.solved:
        return 1.0
    if node.closed:
        return max((child.q for child in node.children if child.answer is not None), default=0.0)
    return max([undrawn(node), *(child.q for child in node.children if not child.closed)])


def mean(node: Node) -> float:
    """The visit-weighted mean, as AlphaZero backs up; what is closed without an answer counts 0."""
    if node.solved:
        return 1.0
    total, visits = estimate(node), 1
    for child in node.children:
        total += 0.0 if child.closed and child.answer is None else child.q * child.visits
        visits += child.visits
    return total / visits
