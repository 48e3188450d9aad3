"""From a search to examples: what was drawn at each state, and what search and grader together make of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from search.rules import Backup
from search.thinking import Thinking
from search.tree import Node, Outcome, Step, attach
from selfplay.trajectory import Example, Move
from verifiers.base import State


def graft(thinking: Thinking) -> None:
    """Hang the lines that a search drew beside its tree (the greedy one, chains, rollouts) into it, as if it had met
    them there. Once, after the search; each line is a visit to every state on it."""
    for start, line in thinking.lines:
        _hang(_find(thinking.tree, start), line)


def answers(root: Node) -> list[str]:
    """The distinct answers of the finished lines of a tree that nothing short of the reference refutes."""
    found = [root.answer] if root.answer is not None else []
    for child in root.children:
        found += answers(child)
    return list(dict.fromkeys(found))


def harvest(root: Node, correct: Mapping[str, bool], backup: Backup, most: int) -> tuple[Example, ...]:
    """The states of a remembered tree from which something can be learned, the root first, each before its descendants.

    These are states where more than one thought was drawn, and all those on lines graded correct. Of too many the ones
    on correct lines are kept, then the most visited.

    Args:
        root: of a tree that is not searched any more: the grades are backed up in it.
        correct: the grade of each of its `answers`.
        backup: the rule by which grades and estimates go up: 1 from a correct line, 0 where all lines ended wrong, dead
            or refuted and no thought is left to draw, the search's own word elsewhere.
        most: examples at most.
    """
    _settle(root, correct, backup)
    found = [(node, value) for node, value in _states(root, None) if len(node.steps) > 1 or node.solved]
    order = sorted(range(len(found)), key=lambda i: (not found[i][0].solved, -found[i][0].visits, i))
    return tuple(_example(*found[i]) for i in sorted(order[:most]))


def _find(root: Node, state: State) -> Node:
    node = root
    for thought in state.thoughts:
        node = next(child for child in node.children if child.state.thoughts[-1] == thought)
    return node


def _hang(node: Node, line: Sequence[Step]) -> None:
    for step in line:
        node.visits += 1
        child = next((child for child in node.children if child.state.thoughts == step.state.thoughts), None)
        if child is None:
            if any(known.thought.text == step.thought.text for known in node.steps):
                return  # the tree knows it as dead: greedy steps are not checked
            new = attach(node, [step], spent=False, remember=True)
            if not new or new[0].answer is not None:
                return
            child = new[0]
        node = child
    node.visits += 1


def _settle(node: Node, correct: Mapping[str, bool], backup: Backup) -> None:
    for child in node.children:
        _settle(child, correct, backup)
    if node.answer is not None:
        node.solved = correct[node.answer]
        node.q = float(node.solved)
    elif node.drawn:
        node.solved = any(child.solved for child in node.children)
        node.closed = node.spent and all(child.closed for child in node.children)
        node.q = backup(node)


def _states(node: Node, value: float | None) -> Iterator[tuple[Node, float | None]]:
    """The unfinished states of a tree, each with the value head's word on it (that on the root is never asked for)."""
    if node.answer is not None:
        return
    yield node, value
    values = {step.thought.text: step.thought.value for step in node.steps}
    for child in node.children:
        yield from _states(child, values[child.state.thoughts[-1]])


def _example(node: Node, value: float | None) -> Example:
    # The same text cut off and, later, whole is one thought, that of the whole.
    steps = list({step.thought.text: step for step in node.steps}.values())
    children = {child.state.thoughts[-1]: child for child in node.children}
    top = max(step.thought.logprob for step in steps)
    weights = [math.exp(step.thought.logprob - top) for step in steps]
    moves = [
        _move(step, children.get(step.thought.text), weight / sum(weights))
        for step, weight in zip(steps, weights, strict=True)
    ]
    return Example(node.state.thoughts, tuple(moves), node.visits, value, node.q)


def _move(step: Step, child: Node | None, prior: float) -> Move:
    thought = step.thought
    if child is None:
        outcome = "refuted" if step.outcome is Outcome.REFUTED else "dead"
        return Move(thought.text, thought.logprob, prior, 0, thought.value, 0.0, outcome, thought.last)
    outcome = "open" if child.answer is None else "correct" if child.solved else "wrong"
    return Move(thought.text, thought.logprob, prior, child.visits, thought.value, child.q, outcome, thought.last)
