"""The tree of thoughts: judged thoughts, nodes, and the bookkeeping of every tree search. No algorithm lives here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from policy.base import Thought
from verifiers.base import State

MASS_FLOOR = 1e-3


class Outcome(str, Enum):
    """Where a thought leaves its line."""

    OPEN = "open"  # the line goes on
    DEAD = "dead"  # blank, cut off, illegal, or too deep without an answer
    REFUTED = "refuted"  # finished, and the self-check says wrong
    FINISHED = "finished"  # finished, and nothing short of the reference can tell
    PROVED = "proved"  # finished, and proved correct without the reference


@dataclass(frozen=True)
class Step:
    """A judged thought.

    Attributes:
        thought: as the policy proposed it.
        state: the line of thought with it at the end.
        outcome: see Outcome.
        answer: the final answer when finished (also when refuted), else None.
    """

    thought: Thought
    state: State
    outcome: Outcome
    answer: str | None = None


@dataclass(eq=False, slots=True)
class Node:
    """One line of thought and what the search knows about going on from it.

    Attributes:
        state: the line of thought.
        parent: the node one thought earlier; None at the root.
        logprob: log-probability [nats] of the thought that led here, given the parent's state.
        prior: that probability, renormalised over the distinct living siblings drawn so far; in [0, 1].
        value: the policy's first estimate, P(a rollout from here ends correct), in [0, 1]; None without a value head.
        children: distinct thoughts drawn so far, in the order of drawing; the dead ones are not kept.
        steps: the thoughts themselves, and the dead ones among them, in that order; empty unless remembered.
        drawn: samples taken of the state's DISTINCT sequence, dead ones included: where the next request goes on.
        mass: total probability of those samples, in [0, 1].
        spent: the policy has no further distinct thought here.
        opening: a request for more children is in flight.
        visits: simulations that landed in this subtree.
        pending: simulations in flight through this node (virtual loss).
        q: what the backup rule makes of the subtree; P(correct), in [0, 1]; 0.5 while nothing is known.
        answer: the final answer if the line is finished.
        solved: a proved answer lies in this subtree.
        closed: nothing more can come of this subtree: it is finished, dead, or exhausted (every thought sampled
            until no new one came is closed; a statement about the policy's samples, not a proof).
    """

    state: State
    parent: Node | None = None
    logprob: float = 0.0
    prior: float = 1.0
    value: float | None = None
    children: list[Node] = field(default_factory=list)
    steps: tuple[Step, ...] = ()
    drawn: int = 0
    mass: float = 0.0
    spent: bool = False
    opening: bool = False
    visits: int = 0
    pending: int = 0
    q: float = 0.5
    answer: str | None = None
    solved: bool = False
    closed: bool = False

    @property
    def depth(self) -> int:
        """Thoughts since the problem."""
        return len(self.state.thoughts)

    @property
    def mass_left(self) -> float:
        """Probability of the thoughts not drawn yet; never quite 0 while the sequence goes on."""
        return 0.0 if self.spent else max(1.0 - self.mass, MASS_FLOOR)

    @property
    def open_children(self) -> list[Node]:
        return [child for child in self.children if not child.closed]


def path(node: Node) -> Iterator[Node]:
    """The node, its parent, and so on up to the root."""
    step: Node | None = node
    while step is not None:
        yield step
        step = step.parent


def line_logprob(node: Node) -> float:
    """Log-probability [nats] of the whole line of thought."""
    return sum(step.logprob for step in path(node))


def attach(node: Node, steps: Sequence[Step], *, spent: bool, remember: bool = False) -> list[Node]:
    """Hang judged thoughts below a node; returns the new children (the dead ones are counted, not kept).

    `remember` keeps the thoughts themselves too, the dead ones included: a search has no use for them, learning has.
    Priors are sequence probabilities renormalised over distinct siblings, never sample counts
    (Sampled MuZero, Hubert et al. 2021, section 5).
    """
    known = {(child.state.thoughts[-1], child.state.ended) for child in node.children}
    new = []
    for step in steps:
        node.drawn += 1
        if (step.thought.text, step.state.ended) in known:
            continue
        known.add((step.thought.text, step.state.ended))
        node.mass += math.exp(min(step.thought.logprob, 0.0))
        if remember:
            node.steps = (*node.steps, step)
        if step.outcome in (Outcome.DEAD, Outcome.REFUTED):
            continue
        value = 1.0 if step.outcome is Outcome.PROVED else step.thought.value
        child = Node(step.state, node, step.thought.logprob, value=value, answer=step.answer)
        child.q = 0.5 if value is None else value
        if step.answer is not None:
            child.visits, child.closed, child.solved = 1, True, step.outcome is Outcome.PROVED
        new.append(child)
    node.children += new
    node.spent = node.spent or spent
    _renormalise(node.children)
    return new


def _renormalise(siblings: Sequence[Node]) -> None:
    if not siblings:
        return
    top = max(child.logprob for child in siblings)
    weights = [math.exp(child.logprob - top) for child in siblings]
    total = sum(weights)
    for child, weight in zip(siblings, weights, strict=True):
        child.prior = weight / total


def close_upwards(node: Node) -> None:
    """Back up exactly what is certain: a solved child solves its parents; all children closed and none left closes."""
    for step in path(node):
        step.solved = step.solved or any(child.solved for child in step.children)
        if step.answer is None:
            step.closed = step.spent and all(child.closed for child in step.children)


def size(root: Node) -> int:
    """Nodes in the tree, the root included."""
    return 1 + sum(size(child) for child in root.children)


def estimate(node: Node) -> float:
    """The policy's value of a node, 0.5 where it has none."""
    return 0.5 if node.value is None else node.value
