"""Beam search over thoughts."""

from __future__ import annotations

import math

from search.anytime import within
from search.levels import LevelSearch
from search.tree import Node, estimate, line_logprob


class Beam(LevelSearch):
    """Keeps the likeliest lines, log-probability [nats] + value_weight * log(value).

    Args:
        check_thoughts, max_depth: see Anytime.
        k, width, in_flight: see LevelSearch.
        value_weight: 0 is plain beam search by likelihood; without a value head it makes no difference.
    """

    def __init__(
        self,
        check_thoughts: bool = True,
        max_depth: int = 24,
        k: int = 4,
        width: int = 2,
        in_flight: int = 16,
        value_weight: float = 1.0,
    ) -> None:
        def score(node: Node) -> float:
            return line_logprob(node) + value_weight * math.log(max(estimate(node), 1e-6))

        within(0, math.inf, value_weight=value_weight)
        super().__init__(score, k, width, in_flight, check_thoughts, max_depth)
