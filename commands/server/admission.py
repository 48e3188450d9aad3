"""Who may think now: a bounded number of requests at a time, shared fairly among those who ask."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from policy.budget import Budget, Meter


class Full(Exception):
    """No place became free in time, or too many wait already.

    Attributes:
        retry_after: whole seconds after which it may be worth asking again.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many requests wait for a place to think; try again in {retry_after} s")
        self.retry_after = retry_after


class Closed(Exception):
    """Nobody is admitted any more."""


@dataclass(eq=False)
class Ticket:
    """A place to think.

    Attributes:
        key: whose.
        queued: seconds it was waited for.
        meter: the granted budget, which began to run when the place was given.
    """

    key: str
    queued: float
    meter: Meter


@dataclass(eq=False)
class _Place:
    seconds: float
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Admission:
    """Gives places to think. Used from one event loop.

    A place that becomes free goes to the key with the fewest requests thinking; keys that are equal take turns, and
    the requests of a key come in the order they were made. (Max-min fairness over places. How the decoder is shared
    among those that think is its own matter: each of their rows draws a token in every step.)

    Args:
        at_once: places.
        queue: most requests of one key that wait.
        max_wait: seconds that one waits at most.
    """

    def __init__(self, at_once: int, queue: int, max_wait: float) -> None:
        self._free = at_once
        self._at_once, self._queue, self._max_wait = at_once, queue, max_wait
        self._waiting: OrderedDict[str, deque[_Place]] = OrderedDict()
        self._thinking: Counter[str] = Counter()
        self._tickets: set[Ticket] = set()
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def thinking(self) -> int:
        """Requests that have a place."""
        return self._at_once - self._free

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def closed(self) -> bool:
        return self._closed

    @asynccontextmanager
    async def enter(self, key: str, budget: Budget) -> AsyncGenerator[Ticket, None]:
        """Wait for a place and hold it while inside. Raises Full or Closed."""
        asked = time.monotonic()
        await self._turn(key, budget)
        ticket = Ticket(key, time.monotonic() - asked, budget.start())
        self._tickets.add(ticket)
        try:
            yield ticket
        finally:
            self._tickets.discard(ticket)
            self._leave(key)

    def close(self) -> None:
        """Admit nobody any more, refuse those who wait, and end the budgets of those who think."""
        self._closed = True
        for places in self._waiting.values():
            for place in places:
                if not place.turn.done():
                    place.turn.set_exception(Closed())
        self._waiting.clear()
        for ticket in self._tickets:
            ticket.meter.cancel()

    async def empty(self) -> None:
        """Wait until nobody thinks."""
        while self.thinking:
            self._changed.clear()
            await self._changed.wait()

    def retry_after(self) -> int:
        """Seconds in which all budgets that wait and run would be spent."""
        running = sum(max(0.0, ticket.meter.seconds_left) for ticket in self._tickets)
        waiting = sum(place.seconds for places in self._waiting.values() for place in places)
        return math.ceil(max(1.0, min((running + waiting) / self._at_once, self._max_wait)))

    async def _turn(self, key: str, budget: Budget) -> None:
        if self._closed:
            raise Closed
        if self._free and not self._waiting:
            self._take(key)
            return
        places = self._waiting.get(key, ())
        if len(places) >= self._queue:
            raise Full(self.retry_after())
        place = _Place(self._max_wait if budget.seconds is None else budget.seconds)
        self._waiting.setdefault(key, deque()).append(place)
        try:
            async with asyncio.timeout(self._max_wait):
                await asyncio.shield(place.turn)
        except BaseException as error:
            self._give_up(key, place)
            if isinstance(error, TimeoutError):
                raise Full(self.retry_after()) from None
            raise

    def _give_up(self, key: str, place: _Place) -> None:
        if not place.turn.done():
            place.turn.cancel()
            places = self._waiting[key]
            places.remove(place)
            if not places:
                del self._waiting[key]
        elif place.turn.exception() is None:  # its turn came just as it left
            self._leave(key)

    def _take(self, key: str) -> None:
        self._free -= 1
        self._thinking[key] += 1

    def _leave(self, key: str) -> None:
        self._free += 1
        self._thinking[key] -= 1
        if not self._thinking[key]:
            del self._thinking[key]
        while self._free and self._waiting:
            self._admit(min(self._waiting, key=lambda name: self._thinking[name]))
        self._changed.set()

    def _admit(self, key: str) -> None:
        places = self._waiting[key]
        place = places.popleft()
        self._waiting.move_to_end(key)
        if not places:
            del self._waiting[key]
        self._take(key)
        place.turn.set_result(None)
