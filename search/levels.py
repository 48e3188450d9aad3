"""Search level by level, in passes that widen: what beam search and the breadth-first Tree of Thoughts share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from search.anytime import Anytime, at_least_one
from search.base import Answer
from search.expansion import Flight, launch_each, pipeline, touch_down
from search.thinking import Thinking
from search.tree import Node
from search.votes import TreeVotes

Score = float | tuple[float, float]


class LevelSearch(Anytime):
    """Keep the `width` best lines of each length and draw `k` thoughts after each.

    A pass ends when no line is left. Each further pass doubles `width` and `k` and keeps the tree, so that nothing is
    drawn twice: it pays for the wider part alone. Ends when the whole tree is exhausted.

    Args:
        score: what makes a line good; higher is better.
        k: thoughts drawn after each line in the first pass.
        width: lines kept in the first pass.
        in_flight: expansions in flight at most.
        check_thoughts, max_depth: see Anytime.
    """

    def __init__(
        self, score: Callable[[Node], Score], k: int, width: int, in_flight: int, check_thoughts: bool, max_depth: int
    ) -> None:
        super().__init__(check_thoughts, max_depth)
        at_least_one(k=k, width=width, in_flight=in_flight)
        self.score = score
        self.k, self.width, self.in_flight = k, width, in_flight

    async def think(self, thinking: Thinking) -> AsyncGenerator[Answer, None]:
        """Pass after pass, until the meter is out, an answer is proved, or the tree is exhausted."""
        votes, k, width = TreeVotes(thinking), self.k, self.width
        while not (thinking.over or thinking.tree.closed):
            level = [thinking.tree]
            while level and not thinking.over:
                async with aclosing(self._open(thinking, votes, level, k)) as answers:
                    async for answer in answers:
                        yield answer
                children = [child for node in level for child in node.open_children]
                level = sorted(children, key=self.score, reverse=True)[:width]
            k, width = 2 * k, 2 * width

    def _open(
        self, thinking: Thinking, votes: TreeVotes, level: Sequence[Node], k: int
    ) -> AsyncGenerator[Answer, None]:
        async def land(flight: Flight) -> Answer | None:
            _, answer = await touch_down(thinking, flight, votes)
            return answer

        wants = [(node, k - node.drawn) for node in level if node.drawn < k and not node.spent]
        return pipeline(thinking, launch_each(thinking, wants), land, lambda: self.in_flight)
