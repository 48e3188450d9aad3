"""Tree of Thoughts, depth first (Yao et al. 2023, algorithm 2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from search.anytime import Anytime, at_least_one, within
from search.base import Answer
from search.expansion import take_off, touch_down
from search.thinking import Thinking
from search.tree import Node, estimate, line_logprob
from search.votes import TreeVotes

LEAST = 1e-3
"""Below this threshold nothing is pruned any more."""


class TotDFS(Anytime):
    """Follow the best thought, prune what is valued below a threshold, and backtrack; no line is visited twice.

    A pass ends when nothing is left to try. Each further pass draws twice as many thoughts per line and halves the
    threshold, in the same tree. Ends when the whole tree is exhausted.

    Args:
        check_thoughts, max_depth: see Anytime.
        k: thoughts drawn after each line in the first pass.
        threshold: value in [0, 1] below which a line is pruned in the first pass.
    """

    def __init__(
        self, check_thoughts: bool = True, max_depth: int = 24, k: int = 4, threshold: float = 0.05
    ) -> None:
        super().__init__(check_thoughts, max_depth)
        at_least_one(k=k)
        within(0, 1, threshold=threshold)
        self.k, self.threshold = k, threshold

    async def think(self, thinking: Thinking) -> AsyncGenerator[Answer, None]:
        """Pass after pass, until the meter is out, an answer is proved, or the tree is exhausted."""
        votes, k, threshold = TreeVotes(thinking), self.k, self.threshold
        while not (thinking.over or thinking.tree.closed):
            async with aclosing(_descend(thinking, votes, thinking.tree, k, threshold)) as answers:
                async for answer in answers:
                    yield answer
            k, threshold = 2 * k, threshold / 2 if threshold > LEAST else 0.0


async def _descend(
    thinking: Thinking, votes: TreeVotes, node: Node, k: int, threshold: float
) -> AsyncGenerator[Answer, None]:
    if node.drawn < k and not node.spent:
        flight = take_off(thinking, node, k - node.drawn)
        if flight is None:
            return
        _, answer = await touch_down(thinking, flight, votes)
        if answer is not None:
            yield answer
    for child in sorted(node.open_children, key=lambda child: (estimate(child), line_logprob(child)), reverse=True):
        if thinking.over or estimate(child) < threshold:
            return
        async with aclosing(_descend(thinking, votes, child, k, threshold)) as answers:
            async for answer in answers:
                yield answer
