"""A policy behind a wire: the same thoughts, few messages, and a host that dies is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from policy.base import PolicyStopped, Sampling, Thought
from policy.budget import UNLIMITED_TOKENS, Budget, Meter
from policy.uniform import Uniform
from selfplay.adapters import Parcel
from selfplay.remote_policy import ATTEMPTS, Call, Card, Host, RemotePolicy, Reply
from tests.selfplay.fakes import DOMAIN, jobs
from verifiers.base import State

PROBLEMS = [job.problem.sealed() for job in jobs(6)]


class Here:
    """A wire to a host in the same process, which can be made to die."""

    def __init__(self, host: Host, deaths: int = 0, silent: int = 0) -> None:
        self.host, self.deaths, self.silent = host, deaths, silent
        self.asked: list[Sequence[Call]] = []
        self.forgotten: list[str] = []

    async def wear(self, parcel: Parcel | None) -> Card:
        return self.host.card

    async def ask(self, calls: Sequence[Call], parcel: Parcel | None) -> AsyncIterator[Sequence[Reply]]:
        self.asked.append(calls)
        async for replies in self.host.answer(calls):
            if self.silent:
                self.silent -= 1
                return
            yield replies
            if self.deaths:
                self.deaths -= 1
                raise ConnectionError("it died")

    async def back(self) -> None:
        await asyncio.sleep(0)

    def forget(self, ids: Sequence[str]) -> None:
        self.forgotten += ids
        self.host.forget(ids)


class Slow(Uniform):
    """Takes its time over the first problem, and fails at the second."""

    def __init__(self) -> None:
        super().__init__(DOMAIN)
        self.cancelled = 0

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        if state.problem == PROBLEMS[1]:
            raise ValueError("not this one")
        if state.problem == PROBLEMS[0]:
            try:
                while not meter.expired:
                    await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            return []
        return await super().propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)


def unlimited() -> Meter:
    return Budget(tokens=UNLIMITED_TOKENS).start()


async def ask(policy: RemotePolicy | Uniform, problems: Sequence[int], meter: Meter) -> list[list[Thought]]:
    return await asyncio.gather(*(
        policy.propose(State(PROBLEMS[n]), 3, sampling=sampling, seed=n, meter=meter, first=1)
        for n in problems for sampling in (Sampling.INDEPENDENT, Sampling.DISTINCT)
    ))  # fmt: skip


async def connect(wire: Here) -> RemotePolicy:
    return RemotePolicy(wire, await wire.wear(None))


async def test_the_same_thoughts_in_one_message() -> None:
    wire = Here(Host(Uniform(DOMAIN)))
    policy = await connect(wire)
    assert (policy.version, policy.max_thought_tokens) == ("uniform", 64)
    assert await ask(policy, range(6), unlimited()) == await ask(Uniform(DOMAIN), range(6), unlimited())
    assert [len(calls) for calls in wire.asked] == [12] and wire.host.calls == 0 and wire.host.replies == 12


@pytest.mark.parametrize("deaths", [1, ATTEMPTS - 1])
async def test_a_host_that_dies_is_asked_again_for_what_is_missing(deaths: int) -> None:
    wire = Here(Host(Uniform(DOMAIN)), deaths)
    assert await ask(await connect(wire), range(6), unlimited()) == await ask(Uniform(DOMAIN), range(6), unlimited())
    sizes = [len(calls) for calls in wire.asked]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == len(sizes) >= 2


class Deadly(Here):
    """A wire whose host dies of every question."""

    async def ask(self, calls: Sequence[Call], parcel: Parcel | None) -> AsyncIterator[Sequence[Reply]]:
        self.asked.append(calls)
        raise ConnectionError("it died")
        yield []


async def test_a_host_that_is_gone_or_silent_stops_the_policy() -> None:
    wire = Deadly(Host(Uniform(DOMAIN)))
    with pytest.raises(PolicyStopped, match="it died"):
        await ask(await connect(wire), [2], unlimited())
    assert len(wire.asked) == ATTEMPTS
    with pytest.raises(PolicyStopped, match="without a reply"):
        await ask(await connect(Here(Host(Uniform(DOMAIN)), silent=1)), [2], unlimited())


async def test_one_call_that_fails_fails_alone() -> None:
    policy = await connect(Here(Host(Slow())))
    both = (ask(policy, [number], unlimited()) for number in (2, 1))
    good, bad = await asyncio.gather(*both, return_exceptions=True)
    assert isinstance(good, list) and isinstance(bad, RuntimeError) and str(bad) == "ValueError: not this one"


async def test_quick_replies_do_not_wait_for_slow_ones_and_nobody_works_for_nothing() -> None:
    slow = Slow()
    wire = Here(Host(slow))
    policy = await connect(wire)
    waiting = asyncio.ensure_future(ask(policy, [0], unlimited()))
    quick = asyncio.ensure_future(ask(policy, [2], unlimited()))
    assert await quick and len(wire.asked) == 1 and not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    for _ in range(5):
        await asyncio.sleep(0.01)
    assert slow.cancelled == 2 and wire.host.calls == 0 and len(wire.forgotten) == 2


async def test_a_deadline_travels_as_the_seconds_left() -> None:
    wire = Here(Host(Slow()))
    policy, meter = await connect(wire), Budget(seconds=0.3).start()
    assert await ask(policy, [0], meter) == [[], []]
    assert meter.expired and all(0 < (call.seconds or 0) <= 0.3 for call in wire.asked[0])
    assert await ask(policy, [0], meter) == [[], []] and len(wire.asked) == 1  # nothing is asked after it
