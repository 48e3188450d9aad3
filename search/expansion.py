"""Growing the tree: expansions in flight, landed in launch order."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass

from search.base import Answer
from search.thinking import Request, Thinking
from search.tree import Node, attach, close_upwards, path
from search.votes import TreeVotes

MAX_WIDTH = 256
"""Samples of one state after which it counts as spent; no state is asked for ever."""


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
    short = len(steps) < flight.request.k and not thinking.meter.expired
    spent = short or node.drawn + len(steps) >= MAX_WIDTH
    children = attach(node, steps, spent=spent, remember=thinking.remember)
    close_upwards(node)
    for step in path(node):
        step.visits += 1
    by_line = {step.state: step for step in steps}
    finished = [(child, by_line[child.state]) for child in children if child.answer is not None]
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
