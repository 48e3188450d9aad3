"""Monte Carlo tree search over sampled thoughts: PUCT as in AlphaZero, where it fits language."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from search import rules
from search.anytime import Anytime, Flight, pipeline, take_off, touch_down
from search.base import Answer
from search.thinking import Thinking
from search.tree import Node, path
from search.votes import TreeVotes


class MCTS(Anytime):
    def __init__(
        self,
        check_thoughts: bool = True,
        max_depth: int = 24,
        k_init: int = 3,
        k_more: int = 1,
        c_puct: float = 1.0,
        in_flight: int = 16,
        ramp: int = 4,
        rank=None,
        backup=None,
        rollouts: bool = False,
    ) -> None:
        super().__init__(check_thoughts, max_depth)
        self.k_init, self.k_more, self.c_puct = k_init, k_more, c_puct
        self.in_flight, self.ramp = in_flight, ramp
        self.rank = rank or rules.arms
        self.backup = backup or rules.best
        self.rollouts = rollouts

    async def think(self, thinking: Thinking) -> AsyncGenerator[Answer, None]:
        tree, votes = thinking.tree, TreeVotes(thinking)

        def launch() -> Flight | None:
            node = self._select(tree)
            if node is None:
                return None
            flight = take_off(thinking, node, self.k_more if node.drawn else self.k_init)
            if flight is not None:
                for step in path(node):
                    step.pending += 1
            return flight

        async def land(flight: Flight) -> Answer | None:
            children, answer = await touch_down(thinking, flight, votes)
            for step in path(flight.node):
                step.pending -= 1
                step.visits += 1
                step.q = self.backup(step)
            return answer

        def window():
            return min(self.in_flight, 1 + tree.visits // self.ramp)
        async for answer in pipeline(thinking, launch, land, window):
            yield answer

    def _select(self, node: Node) -> Node | None:
        if node.closed or (node.opening and not node.children):
            return None
        if not node.drawn:
            return node
        for choice in self.rank(node, self.c_puct):
            if choice is None:
                if not node.opening:
                    return node
            else:
                found = self._select(choice)
                if found is not None:
                    return found
        return None
