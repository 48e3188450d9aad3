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

    score = q' * (1 + c * P * sqrt(1 + N) / (1 + n)). A child's P is its prior times the probability the policy gives to
    the thoughts drawn so far; the rest is the P of drawing more, whose n is the number of samples drawn and whose q
    is that of a fresh rollout that goes where no sample went. Simulations in flight count as tries in vain (virtual
    loss). The bonus multiplies: far from the end of a line values are small and their differences too.

    q' = q / (1 + n * q / patience). A value says how often tries below a node succeed; it may be wrong by some
    factor, the same for all the node's descendants. If that factor has a Gamma prior of mean 1 and shape `patience`,
    this is its posterior mean times q after n tries in vain. Without it (patience = inf) a search that backs up the
    best of many values stays for good where the policy is too hopeful.
    """

    c: float
    patience: float = math.inf

    def __call__(self, node: Node, may_draw: bool) -> list[Node | None]:
        drawn = 1.0 - node.mass_left
        scored: list[tuple[float, Node | None]] = []
        for child in node.children:
            if not child.closed:
                scored.append((self._score(node, child.q, child.prior * drawn, child.visits + child.pending), child))
        if may_draw:
            scored.append((self._score(node, undrawn(node), node.mass_left, node.drawn), None))
        scored.sort(key=lambda arm: -arm[0])
        return [arm for _, arm in scored]

    def _score(self, node: Node, q: float, prior: float, tries: int) -> float:
        bonus = self.c * prior * math.sqrt(1 + node.visits + node.pending) / (1 + tries)
        return q / (1 + tries * q / self.patience) * (1 + bonus)


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
