"""What all searchers share: the greedy first answer, the early end, and requests in flight landed in launch order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from policy.base import Policy
from policy.budget import Meter
from search.base import Answer
from search.thinking import Request, Thinking
from search.tree import Node, attach, close_upwards
from search.votes import TreeVotes
from verifiers.base import Judge, Problem


class Anytime(ABC):
    """An anytime searcher: a greedy line first, then `think` until it ends, an answer is proved, or the meter is out.

    Args:
        check_thoughts: ask the judge whether each single step is legal, and drop those that are not.
        max_depth: thoughts after which an unfinished line is dead.
    """

    def __init__(self, check_thoughts: bool = True, max_depth: int = 24) -> None:
        if max_depth < 1:
            raise ValueError("max_depth must be at least 1")
        self.check_thoughts = check_thoughts
        self.max_depth = max_depth

    async def search(
        self, problem: Problem, policy: Policy, judge: Judge, meter: Meter, seed: int
    ) -> AsyncGenerator[Answer, None]:
        """See Searcher."""
        thinking = Thinking(
            problem, policy, judge, meter, seed, check_thoughts=self.check_thoughts, max_depth=self.max_depth
        )
        async with thinking, aclosing(self.run(thinking)) as answers:
            async for answer in answers:
                yield answer

    async def run(self, thinking: Thinking) -> AsyncGenerator[Answer, None]:
        """The search itself; whoever holds `thinking` may look at its tree while it runs and afterwards."""
        first = await thinking.greedy()
        if first is not None:
            yield first
        if thinking.over:
            return
        async with aclosing(self.think(thinking)) as answers:
            async for answer in answers:
                yield answer
                if answer.verified:
                    return

    @abstractmethod
    def think(self, thinking: Thinking) -> AsyncGenerator[Answer, None]:
        """Go on from the greedy answer; yields every change of the standing answer."""


@dataclass(frozen=True)
class Flight:
    """An expansion in flight: which node asks for more children."""

    node: Node
    request: Request


def take_off(thinking: Thinking, node: Node, k: int) -> Flight | None:
    """Launch an expansion as one simulation; None if no thought fits the budget any more."""
    if thinking.meter.exhausted:
        return None
    request = thinking.launch(node.state, k, first=node.drawn)
    if request is None:
        return None
    thinking.meter.count_simulation()
    node.opening = True
    return Flight(node, request)


async def touch_down(thinking: Thinking, flight: Flight, votes: TreeVotes) -> tuple[list[Node], Answer | None]:
    """Land an expansion: its new children, and the standing answer if they changed it."""
    node = flight.node
    steps = await thinking.land(flight.request)
    node.opening = False
    spent = len(steps) < flight.request.k and not thinking.meter.expired
    children = attach(node, steps, spent=spent)
    close_upwards(node)
    by_line = {step.state.thoughts: step for step in steps}
    finished = [(child, by_line[child.state.thoughts]) for child in children if child.answer is not None]
    return children, votes.cast(thinking, finished)


async def pipeline(
    thinking: Thinking,
    launch: Callable[[], Flight | None],
    land: Callable[[Flight], Awaitable[Answer | None]],
    in_flight: Callable[[], int],
) -> AsyncGenerator[Answer, None]:
    """Keep requests in flight and land them in launch order, each before the launch that finds its place taken.

    So the n-th launch sees exactly what the landings up to n - in_flight brought, however fast each request was.
    """
    flights: deque[Flight] = deque()
    while True:
        while len(flights) < in_flight() and (flight := launch()) is not None:
            flights.append(flight)
        if not flights:
            return
        answer = await land(flights.popleft())
        if answer is not None:
            yield answer
        if thinking.verified:
            return


def launch_each(thinking: Thinking, wants: Iterable[tuple[Node, int]]) -> Callable[[], Flight | None]:
    """A launcher for `pipeline` that goes through a list of (node, thoughts wanted) once."""
    queue = deque(wants)

    def launch() -> Flight | None:
        if not queue:
            return None
        flight = take_off(thinking, *queue[0])
        if flight is not None:
            queue.popleft()
        return flight

    return launch
