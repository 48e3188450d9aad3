"""Tree of Thoughts, breadth first (Yao et al. 2023, algorithm 1)."""

from __future__ import annotations

from search.levels import LevelSearch
from search.tree import Node, estimate, line_logprob


class TotBFS(LevelSearch):
    """Propose k thoughts per line, value them, keep the best `width`.

    The value is the value head's in place of a prompted vote; equals (and policies without one) are kept by likelihood.

    Args:
        check_thoughts, max_depth: see Anytime.
        k, width, in_flight: see LevelSearch.
    """

    def __init__(
        self, check_thoughts: bool = True, max_depth: int = 24, k: int = 8, width: int = 3, in_flight: int = 16
    ) -> None:
        super().__init__(_score, k, width, in_flight, check_thoughts, max_depth)


def _score(node: Node) -> tuple[float, float]:
    return estimate(node), line_logprob(node)
