"""Policy-guided best-first search: Levin tree search and policy-guided heuristic search."""

from __future__ import annotations

import heapq
import math
from collections.abc import AsyncGenerator

from search.anytime import Anytime, at_least_one, within
from search.base import Answer
from search.expansion import Flight, pipeline, take_off, touch_down
from search.thinking import Thinking
from search.tree import Node, estimate, line_logprob
from search.votes import TreeVotes


class Levin(Anytime):
    """Always goes on where depth / pi is least, pi being the probability of the line (Orseau et al. 2018, LevinTS).

    Thoughts are sampled, not enumerated, so the queue holds lines with what is left to draw after them: the pi of an
    entry is its line's probability times that of the thoughts not drawn yet, an upper bound of what may come.
    With values, 1 / value multiplies the cost as the heuristic factor of PHS (Orseau & Lelis 2021).

    Args:
        check_thoughts, max_depth: see Anytime.
        k: thoughts drawn at a time.
        value_weight: exponent of the heuristic factor; 0 is plain LevinTS.
        in_flight: expansions in flight at most.
        ramp: one more is let into flight every `ramp` expansions where tokens or simulations are limited (see MCTS).
    """

    def __init__(
        self,
        check_thoughts: bool = True,
        max_depth: int = 24,
        k: int = 2,
        value_weight: float = 1.0,
        in_flight: int = 16,
        ramp: int = 16,
    ) -> None:
        super().__init__(check_thoughts, max_depth)
        at_least_one(k=k, in_flight=in_flight, ramp=ramp)
        within(0, math.inf, value_weight=value_weight)
        self.k, self.value_weight = k, value_weight
        self.in_flight, self.ramp = in_flight, ramp

    async def think(self, thinking: Thinking) -> AsyncGenerator[Answer, None]:
        """Expand until the meter is out, an answer is proved, or the tree is exhausted."""
        votes = TreeVotes(thinking)
        queue: list[tuple[float, int, Node]] = [(0.0, 0, thinking.tree)]
        pushed = landed = 0

        def launch() -> Flight | None:
            flight = take_off(thinking, queue[0][2], self.k) if queue else None
            if flight is not None:
                heapq.heappop(queue)
            return flight

        async def land(flight: Flight) -> Answer | None:
            nonlocal pushed, landed
            landed += 1
            children, answer = await touch_down(thinking, flight, votes)
            for node in (*children, flight.node):
                if not node.closed and not node.spent:
                    pushed += 1
                    heapq.heappush(queue, (self._cost(node), pushed, node))
            return answer

        def in_flight() -> int:
            return min(self.in_flight, 1 + landed // self.ramp) if thinking.thrifty else self.in_flight

        async for answer in pipeline(thinking, launch, land, in_flight):
            yield answer

    def _cost(self, node: Node) -> float:
        """log(depth / pi) [nats], and the heuristic factor; infinite costs sort last."""
        left = math.log(node.mass_left) + self.value_weight * math.log(max(estimate(node), 1e-9))
        return math.log(node.depth + 1) - line_logprob(node) - left
