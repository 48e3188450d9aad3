"""A search in progress as JSON: all of it, or what is new since the last look, with bounded work for each look.

A node is an object of

    id, parent      whole numbers in the order of being seen, the problem being 0; its parent is null
    kind            "thought" of the tree, "greedy" (a thought of the greedy line) or "chain" (of an independent line)
    text            the thought; untrusted, and cut at MOST_TEXT characters: then `length` says how long it is
    logprob         natural log of its probability given the line before it
    prior           that, renormalised over its living siblings, in [0, 1]; null for what no search has selected by it
    value           the policy's estimate, P(correct) in [0, 1], or null without a value head
    q, visits       what the search makes of it, P(correct) in [0, 1], and simulations; null beside the tree
    outcome         "open", "dead", "refuted", "finished" or "proved", see search.tree.Outcome
    answer          of a finished line, or null; untrusted
    solved, closed  see search.tree.Node
    seen            seconds since the search began

A delta holds new `nodes`, `changes` (lists of the values named by CHANGES), new `answers`, and what is `spent`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from search.base import Answer
from search.thinking import Thinking
from search.tree import Node, Outcome, Step
from verifiers.base import State

MOST_NODES = 50_000
"""Nodes that a page is given; a search goes on beyond them, and the page says so."""
MOST_TEXT = 4_000
"""Characters of a thought or an answer that a page is given."""
AT_ONCE = 4_000
"""Nodes looked at in one look; a look at a node takes about a microsecond."""
CHANGES = ("id", "prior", "value", "q", "visits", "solved", "closed")

Mark = tuple[Any, ...]


@dataclass(slots=True)
class _Seen:
    """A thought that the page knows, and as what.

    Attributes:
        node: None for what is no node of the tree: dead and refuted thoughts, greedy lines and chains.
        children: those that are nodes.
        steps: how many of the node's steps have been looked at, `grown` how many of its children.
        mark: what was last seen of the node.
    """

    id: int
    parent: _Seen | None
    kind: str
    step: Step | None
    seen: float
    node: Node | None = None
    children: list[_Seen] = field(default_factory=list)
    steps: int = 0
    grown: int = 0
    mark: Mark = ()


class Snapshot:
    """What a page knows of a search; see the module.

    A look goes down only where something landed since the last one, and stops after `AT_ONCE` nodes to go on there
    next time, so that it costs about the same whatever the size of the tree.

    Args:
        thinking: that remembers (Thinking.remember).
        answers: a list that grows with the search's answers.

    Raises ValueError for a search that does not remember: it has forgotten what is to be shown.
    """

    def __init__(self, thinking: Thinking, answers: Sequence[Answer]) -> None:
        if not thinking.remember:
            raise ValueError("only a search that remembers can be shown")
        self._thinking, self._answers = thinking, answers
        self._root = _Seen(0, None, "thought", None, 0.0, thinking.tree)
        self._all = [self._root]
        self._lines = self._told = self._answered = 0
        self._changed: dict[int, _Seen] = {}
        self._walk = self._looks(False)

    @property
    def full(self) -> bool:
        """Is there no room for further nodes?"""
        return len(self._all) >= MOST_NODES

    def delta(self, most: int = AT_ONCE) -> dict[str, Any]:
        """What is new, as far as `most` nodes are looked at."""
        self._take_lines()
        for _ in range(most):
            if next(self._walk, None) is None:
                self._walk = self._looks(False)
                break
        return self._say()

    def last(self) -> dict[str, Any]:
        """Everything that is new, once the search has ended: every node is looked at."""
        self._take_lines()
        for _ in self._looks(True):
            pass
        self._walk = self._looks(False)
        return self._say()

    def everything(self) -> dict[str, Any]:
        """All of it, as one delta from nothing; what has been told before does not matter, and counts as told."""
        self.last()
        return {**self._about(), "nodes": [_tell(each) for each in self._all], "changes": [],
                "answers": [tell_answer(answer) for answer in self._answers]}

    def _say(self) -> dict[str, Any]:
        new = self._all[self._told :]
        changes = [_change(each) for number, each in self._changed.items() if number < self._told]
        answers = self._answers[self._answered :]
        self._told, self._answered = len(self._all), self._answered + len(answers)
        self._changed.clear()
        return {**self._about(), "nodes": [_tell(each) for each in new], "changes": changes,
                "answers": [tell_answer(answer) for answer in answers]}

    def _about(self) -> dict[str, Any]:
        meter = self._thinking.meter
        return {"spent": {"seconds": round(meter.seconds, 4), "tokens": meter.tokens,
                          "simulations": meter.simulations, "thoughts": self._thinking.thoughts}, "full": self.full}

    def _looks(self, everywhere: bool) -> Iterator[bool]:
        """Down the tree from its root, one node at a time, skipping subtrees where nothing landed."""
        stack = [self._root]
        while stack:
            seen = stack.pop()
            node = seen.node
            yield True
            assert node is not None
            mark = (node.visits, node.pending, node.q, node.drawn, node.prior, node.value, node.solved, node.closed)
            if mark == seen.mark and not everywhere:
                continue
            if mark != seen.mark:
                self._changed[seen.id] = seen
                seen.mark = mark
            self._grow(seen, node)
            stack += seen.children

    def _grow(self, seen: _Seen, node: Node) -> None:
        """Take up the thoughts drawn since; the living ones among `steps` are the children, in the same order."""
        for step in node.steps[seen.steps :]:
            if self.full:
                return
            alive = step.outcome not in (Outcome.DEAD, Outcome.REFUTED)
            self._add(seen, "thought", step, node.children[seen.grown] if alive else None)
            seen.steps, seen.grown = seen.steps + 1, seen.grown + alive

    def _take_lines(self) -> None:
        for start, line in self._thinking.lines[self._lines :]:
            kind = "greedy" if line and line[0] is self._first_step else "chain"
            parent = self._at(start)
            for step in line:
                if self.full:
                    return
                parent = self._add(parent, kind, step)
            self._lines += 1

    @property
    def _first_step(self) -> Step | None:
        """The greedy line's, which is the first of all lines."""
        _, line = self._thinking.lines[0]
        return line[0] if line else None

    def _at(self, state: State) -> _Seen:
        """Where a line starts: at the problem, or at the node that a rollout is made from."""
        at = self._root
        for depth in range(len(state.thoughts)):
            if at.node is not None:
                self._grow(at, at.node)
            wanted = state.thoughts[: depth + 1]
            at = next((each for each in at.children if each.node and each.node.state.thoughts == wanted), at)
        return at

    def _add(self, parent: _Seen, kind: str, step: Step, node: Node | None = None) -> _Seen:
        seconds = round(self._thinking.meter.seconds, 4)
        seen = _Seen(len(self._all), parent, kind, step, seconds, node)
        self._all.append(seen)
        if node is not None:
            parent.children.append(seen)
        return seen


def tell_answer(answer: Answer) -> dict[str, Any]:
    """An answer for people, with the moment at which it stood."""
    return {"text": clip(answer.text), "confidence": number(answer.confidence), "verified": answer.verified,
            "seconds": number(answer.seconds), "tokens": answer.tokens, "simulations": answer.simulations,
            "thoughts": [clip(thought) for thought in answer.thoughts]}


def clip(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[:MOST_TEXT]


def number(value: float | None) -> float | None:
    """Four digits are enough for people, and JSON has no infinity."""
    return None if value is None or not math.isfinite(value) else round(value, 4)


def _tell(seen: _Seen) -> dict[str, Any]:
    step, node = seen.step, seen.node
    told: dict[str, Any] = {"id": seen.id, "parent": None if seen.parent is None else seen.parent.id}
    if step is None:
        told |= {"kind": seen.kind, "text": "", "outcome": Outcome.OPEN.value}
    else:
        text, thought = step.thought.text, step.thought
        told |= {"kind": seen.kind, "text": clip(text), "outcome": step.outcome.value,
                 "logprob": number(thought.logprob), "answer": None if step.answer is None else clip(step.answer)}
        if len(text) > MOST_TEXT:
            told["length"] = len(text)
        if node is None:
            told["value"] = number(thought.value)
    if node is not None:
        told |= dict(zip(CHANGES, _change(seen), strict=True))
    return told | {"seen": seen.seen}


def _change(seen: _Seen) -> list[Any]:
    node = seen.node
    assert node is not None
    return [seen.id, number(node.prior), number(node.value), number(node.q), node.visits, node.solved, node.closed]
