"""System 1: one greedy line and no thinking."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from search.anytime import Anytime
from search.base import Answer
from search.thinking import Thinking


class Greedy(Anytime):
    """The greedy line that every other searcher starts from, alone."""

    async def think(self, thinking: Thinking) -> AsyncGenerator[Answer, None]:
        """Nothing more."""
        return
        yield
