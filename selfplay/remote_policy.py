"""A policy that lives in another process, and the host that serves it there to many searches."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from policy.base import Policy, PolicyStopped, Sampling, Thought
from policy.budget import UNLIMITED_TOKENS, Budget, Meter
from selfplay.adapters import Parcel, wear
from verifiers.base import State

ATTEMPTS = 4
"""How often a call is made to a host that dies over it: proposals are pure, so asking again is safe."""


@dataclass(frozen=True)
class Call:
    """A call of `propose` on its way. Attributes as there, and `seconds`: until its deadline; None without one."""

    id: str
    state: State
    k: int
    sampling: Sampling
    seed: int
    first: int
    seconds: float | None = None


@dataclass(frozen=True)
class Reply:
    """What came of a call: thoughts, or what failed."""

    id: str
    thoughts: tuple[Thought, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Card:
    """What a policy says of itself."""

    version: str
    max_thought_tokens: int
    temperature: float


class Wire(Protocol):
    """The way to a host. All of it raises ConnectionError when the host dies or cannot be reached."""

    async def wear(self, parcel: Parcel | None) -> Card: ...

    def ask(self, calls: Sequence[Call], parcel: Parcel | None) -> AsyncIterator[Sequence[Reply]]:
        """Each call's reply as soon as there is one, some at a time."""
        ...

    async def back(self) -> None:
        """Wait until a host that died can be reached again."""
        ...

    def forget(self, ids: Sequence[str]) -> None:
        """Nobody waits for the replies to these calls any more."""
        ...


class RemotePolicy:
    """Proposes what the policy of a host proposes. Calls made in one round of the event loop travel together.

    Args:
        wire: the way to the host.
        card: of the policy as it is dressed now; nobody may ask before `wear` if that is an adapter.
    """

    def __init__(self, wire: Wire, card: Card) -> None:
        self.version, self.max_thought_tokens = card.version, card.max_thought_tokens
        self.temperature = card.temperature
        self._wire = wire
        self._parcel: Parcel | None = None
        self._name, self._count = uuid.uuid4().hex, 0
        self._outbox: dict[str, tuple[Call, Meter]] = {}
        self._given_up: list[str] = []
        self._waiting: dict[str, asyncio.Future[list[Thought]]] = {}
        self._flushing: set[asyncio.Task[None]] = set()

    async def wear(self, parcel: Parcel | None) -> None:
        """Ask for thoughts of the policy with this adapter from now on; while nobody asks. Raises BadPolicy."""
        try:
            self.version = (await self._wire.wear(parcel)).version
        except ConnectionError as error:
            raise PolicyStopped(f"the policy's host is gone: {error}") from error
        self._parcel = parcel

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        """See Policy.propose. Raises RuntimeError for what the policy raises, PolicyStopped if its host is gone."""
        if meter.expired:
            return []
        self._count += 1
        name = f"{self._name}-{self._count}"
        future: asyncio.Future[list[Thought]] = asyncio.get_running_loop().create_future()
        self._waiting[name] = future
        self._outbox[name] = Call(name, state, k, sampling, seed, first), meter
        self._flush_soon()
        try:
            return await future
        except asyncio.CancelledError:
            self._given_up.append(name)
            self._flush_soon()
            raise
        finally:
            del self._waiting[name]

    def _flush_soon(self) -> None:
        if len(self._outbox) + len(self._given_up) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        outbox = {name: asked for name, asked in self._outbox.items() if name in self._waiting}
        given_up, self._outbox, self._given_up = self._given_up, {}, []
        if given_up:
            self._wire.forget(given_up)
        if outbox:
            task = asyncio.ensure_future(self._ask(outbox))
            self._flushing.add(task)
            task.add_done_callback(self._flushing.discard)

    async def _ask(self, asked: dict[str, tuple[Call, Meter]]) -> None:
        """Have calls replied to. Whatever happens, the future of each is resolved."""
        failure = "calls were left without a reply"
        try:
            for attempt in range(ATTEMPTS):
                try:
                    if attempt:
                        await self._wire.back()
                    calls = [replace(call, seconds=_seconds(meter)) for call, meter in asked.values()]
                    async for replies in self._wire.ask(calls, self._parcel):
                        for reply in replies:
                            asked.pop(reply.id, None)
                            self._settle(reply.id, RuntimeError(reply.error) if reply.error else list(reply.thoughts))
                    break
                except ConnectionError as error:
                    failure = " ".join(str(error).split())[:200]
                    asked = {name: pair for name, pair in asked.items() if name in self._waiting}
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
        for name in asked:
            self._settle(name, PolicyStopped(f"the policy's host is gone: {failure}"))

    def _settle(self, name: str, outcome: list[Thought] | Exception) -> None:
        future = self._waiting.get(name)
        if future is None or future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


class Host:
    """Serves one policy to the searches of many processes; what they ask for at the same time is decoded together.

    Args:
        policy: the policy.

    Attributes:
        calls: how many it is at.
        replies: how many it has given.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.replies = 0
        self._tasks: dict[str, asyncio.Task[Reply]] = {}

    @property
    def calls(self) -> int:
        return len(self._tasks)

    @property
    def card(self) -> Card:
        policy = self.policy
        return Card(policy.version, policy.max_thought_tokens, getattr(policy, "temperature", 1.0))

    def load_adapter(self, folder: str | None) -> None:
        """See Adaptable. Raises BadPolicy for a policy that takes none."""
        wear(self.policy, folder)

    async def answer(self, calls: Sequence[Call]) -> AsyncGenerator[Sequence[Reply], None]:
        """See Wire.ask. Raises PolicyStopped."""
        mine = {call.id: asyncio.ensure_future(self._reply(call)) for call in calls}
        self._tasks.update(mine)
        left = set(mine.values())
        try:
            while left:
                done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
                replies = [task.result() for task in done if not task.cancelled()]
                self.replies += len(replies)
                if replies:
                    yield replies
        finally:
            for name, task in mine.items():
                task.cancel()
                self._tasks.pop(name, None)

    def forget(self, ids: Sequence[str]) -> None:
        """See Wire.forget."""
        for name in ids:
            if name in self._tasks:
                self._tasks[name].cancel()

    async def _reply(self, call: Call) -> Reply:
        meter = Budget(seconds=call.seconds, tokens=UNLIMITED_TOKENS).start()
        try:
            thoughts = await self.policy.propose(
                call.state, call.k, sampling=call.sampling, seed=call.seed, meter=meter, first=call.first
            )
        except PolicyStopped:
            raise
        except Exception as error:
            return Reply(call.id, error=f"{type(error).__name__}: {error}")
        return Reply(call.id, tuple(thoughts))


def _seconds(meter: Meter) -> float | None:
    left = meter.seconds_left
    return None if math.isinf(left) else max(left, 1e-6)
