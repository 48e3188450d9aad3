"""Independent lines of thought: the loop that self-consistency and best-of-n share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence

from search.anytime import Anytime, at_least_one
from search.base import Answer
from search.thinking import Thinking
from search.tree import Outcome, Step

Line = Sequence[Step]


class Chains(Anytime):
    """Draws independent lines in waves, until the budget ends or one of them is proved.

    Args:
        in_flight: lines in a wave.
        check_thoughts, max_depth: see Anytime.
    """

    def __init__(self, in_flight: int = 16, check_thoughts: bool = True, max_depth: int = 24) -> None:
        super().__init__(check_thoughts, max_depth)
        at_least_one(in_flight=in_flight)
        self.in_flight = in_flight

    @abstractmethod
    def chooser(self, thinking: Thinking) -> Callable[[Line], Answer | None]:
        """A function that takes finished lines one by one and offers the preferred answer so far."""

    async def think(self, thinking: Thinking) -> AsyncGenerator[Answer, None]:
        """Wave after wave; line i uses the i-th sample of every state it meets."""
        choose = self.chooser(thinking)
        lines: Sequence[Line] = [thinking.first_line]
        first = 0
        while True:
            for line in lines:
                if line and line[-1].outcome in (Outcome.FINISHED, Outcome.PROVED):
                    answer = choose(line)
                    if answer is not None:
                        yield answer
            if thinking.over:
                return
            count = int(min(self.in_flight, thinking.room, thinking.meter.simulations_left))
            for _ in range(count):  # before anything is waited for: others may share the budget
                thinking.meter.count_simulation()
            lines = await thinking.chains([thinking.tree.state] * count, first=first)
            first += count
            if not any(lines):
                return  # not one thought fitted the budget, or the policy has none
