"""Monte Carlo tree search over sampled thoughts: AlphaZero's, where it fits language."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncGenerator, Sequence

from search import rules
from search.anytime import Anytime, at_least_one, within, yes_or_no
from search.base import Answer
from search.expansion import Flight, pipeline, take_off, touch_down
from search.thinking import Thinking
from search.tree import Node, Outcome, line_logprob, path
from search.votes import TreeVotes


class MCTS(Anytime):
    """One loop of selection, expansion, evaluation and backup, with the rules handed in.

    A simulation walks from the root by the selection rule to a node where the best thing to do is to draw more
    thoughts, draws them from the policy (each comes with its value), and backs up. The next one goes on from the best
    of the new thoughts, so that a line once begun is written to its end: only an end can be proved, or vote. Solved,
    dead and exhausted subtrees are backed up exactly. Simulations run in flight and land in launch order: the tree
    depends on the seed, the budget and `in_flight`, never on which request was faster.

    What matters is to back up the best, not the mean, and to decide one simulation at a time while tokens are few:
    hence `ramp`. The defaults were found on validation problems of countdown and arithmetic (docs/log.md).

    Args:
        check_thoughts, max_depth: see Anytime.
        k_init: thoughts drawn when a node is first opened.
        k_more: thoughts drawn each time it is widened.
        c_puct: weight of prior and visit counts against q.
        patience: how much a value is believed against tries in vain; above 0, inf for ever (see rules.Puct).
        widen_c, widen_alpha: a node may have drawn k_init + widen_c * visits ** widen_alpha thoughts.
        in_flight: simulations in flight at most.
        ramp: where tokens or simulations are limited, one more is let into flight every `ramp` visits: decisions on
            stale knowledge waste what is counted. Under a budget of seconds alone, idle slots waste it: no ramp.
        dive: write each line begun to its end before the tree is walked from its root again.
        rollouts: evaluate new nodes that came without a value by one independent line to its end.
        select, widen, backup: rules that replace Puct(c_puct, patience),
            ProgressiveWidening(k_init, widen_c, widen_alpha) and `rules.best`.
    """

    def __init__(
        self,
        check_thoughts: bool = True,
        max_depth: int = 24,
        k_init: int = 1,
        k_more: int = 1,
        c_puct: float = 0.1,
        patience: float = 3.0,
        widen_c: float = 2.0,
        widen_alpha: float = 0.5,
        in_flight: int = 32,
        ramp: int = 16,
        dive: bool = True,
        rollouts: bool = False,
        select: rules.Select | None = None,
        widen: rules.Widen | None = None,
        backup: rules.Backup | None = None,
    ) -> None:
        super().__init__(check_thoughts, max_depth)
        at_least_one(k_init=k_init, k_more=k_more, in_flight=in_flight, ramp=ramp)
        within(0, math.inf, c_puct=c_puct, widen_c=widen_c)
        within(0, 1, widen_alpha=widen_alpha)
        yes_or_no(dive=dive, rollouts=rollouts)
        within(1e-3, math.inf, patience=patience)
        self.k_init, self.k_more = k_init, k_more
        self.in_flight, self.ramp = in_flight, ramp
        self.rollouts = rollouts
        self.dive = dive
        self.select = select or rules.Puct(c_puct, patience)
        self.widen = widen or rules.ProgressiveWidening(k_init, widen_c, widen_alpha)
        self.backup = backup or rules.best

    async def think(self, thinking: Thinking) -> AsyncGenerator[Answer, None]:
        """Simulate until the meter is out, an answer is proved, or the tree is exhausted."""
        tree, votes = thinking.tree, TreeVotes(thinking)

        going_on: deque[Node] = deque()

        def launch() -> Flight | None:
            node = next_of(going_on) or self._leaf(tree)
            flight = None if node is None else take_off(thinking, node, self.k_more if node.drawn else self.k_init)
            if flight is not None:
                for step in path(flight.node):
                    step.pending += 1
            return flight

        async def land(flight: Flight) -> Answer | None:
            children, answer = await touch_down(thinking, flight, votes)
            if self.rollouts and not thinking.verified:
                answer = await self._evaluate(thinking, votes, children) or answer
            for step in path(flight.node):
                step.pending -= 1
                step.q = self.backup(step)
            alive = [child for child in children if not child.closed]
            if self.dive and alive:
                going_on.append(max(alive, key=lambda child: (child.q, child.logprob)))
            return answer

        def in_flight() -> int:
            return min(self.in_flight, 1 + tree.visits // self.ramp) if thinking.thrifty else self.in_flight

        async for answer in pipeline(thinking, launch, land, in_flight):
            yield answer

    def _leaf(self, node: Node) -> Node | None:
        """The node to draw thoughts at: the best by the selection rule that no other simulation is opening."""
        if node.closed:
            return None
        if not node.drawn:
            return None if node.opening else node
        for choice in self.select(node, self.widen(node)):
            leaf = node if choice is None else self._leaf(choice)
            if leaf is not None:
                return leaf
        return None

    async def _evaluate(self, thinking: Thinking, votes: TreeVotes, children: Sequence[Node]) -> Answer | None:
        """Roll out each new child that has no value: 1 for a proof, 1/2 for an answer nobody can test, else 0."""
        blank = [child for child in children if child.value is None and not child.closed]
        lines = await thinking.chains([child.state for child in blank])
        answer = None
        for child, line in zip(blank, lines, strict=True):
            end = line[-1].outcome if line else Outcome.OPEN
            child.value = {Outcome.PROVED: 1.0, Outcome.FINISHED: 0.5}.get(end, 0.0)
            child.q = child.value
            if end is Outcome.PROVED:
                answer = thinking.offer(line[-1], 1.0)
            elif end is Outcome.FINISHED:
                votes.add(line, line_logprob(child))
                answer = votes.stand(thinking) or answer
        return answer


def next_of(nodes: deque[Node]) -> Node | None:
    """Take the first node that nobody has drawn thoughts at meanwhile."""
    while nodes:
        node = nodes.popleft()
        if not (node.closed or node.opening or node.drawn):
            return node
    return None
