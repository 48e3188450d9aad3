from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest

from commands.server.admission import Admission, Closed, Full
from policy.budget import Budget

BUDGET = Budget(seconds=30.0)


class Visitors:
    """Who has come in, in order; everybody stays until told to leave."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.inside: list[str] = []
        self.doors: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, *names: str) -> None:
        for name in names:
            self.doors[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._visit(name))
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)

    async def _visit(self, name: str) -> None:
        async with self.admission.enter(name.rstrip("0123456789"), BUDGET):
            self.inside.append(name)
            await self.doors[name].wait()

    async def leave(self, *names: str) -> None:
        for name in names:
            self.doors[name].set()
            await asyncio.sleep(0.01)


async def test_places_go_to_who_has_fewest_and_then_in_turns() -> None:
    visitors = Visitors(Admission(2, 10, 60.0))
    await visitors.come("a1", "a2", "a3", "a4", "b1", "b2", "c1")
    assert visitors.inside == ["a1", "a2"] and visitors.admission.waiting == 5
    await visitors.leave("a1")
    assert visitors.inside[-1] == "b1"  # a has one place already
    await visitors.leave("a2", "b1", "c1", "b2")
    assert visitors.inside == ["a1", "a2", "b1", "a3", "c1", "b2", "a4"]
    await visitors.leave("a3", "a4")
    assert (visitors.admission.thinking, visitors.admission.waiting) == (0, 0)


async def test_too_many_of_one_key_are_refused_and_those_of_others_are_not() -> None:
    visitors = Visitors(Admission(1, 1, 60.0))
    await visitors.come("a1", "a2", "a3", "b1")
    with pytest.raises(Full) as refused:
        await visitors.tasks["a3"]
    assert 30 <= refused.value.retry_after <= 60  # one budget runs, one waits
    await visitors.leave("a1", "a2", "b1")
    assert set(visitors.inside) == {"a1", "a2", "b1"}


async def test_waiting_is_bounded_and_not_part_of_the_budget() -> None:
    admission = Admission(1, 5, 0.05)
    async with admission.enter("a", BUDGET):
        with pytest.raises(Full):
            async with admission.enter("b", BUDGET):
                pass
    admission = Admission(1, 5, 5.0)

    async def short() -> None:
        async with admission.enter("a", BUDGET):
            await asyncio.sleep(0.05)

    task, started = asyncio.create_task(short()), time.monotonic()
    await asyncio.sleep(0)
    async with admission.enter("b", BUDGET) as ticket:
        assert ticket.queued >= 0.04
        assert ticket.queued + ticket.meter.seconds <= time.monotonic() - started
    await task


async def test_who_leaves_while_waiting_holds_nothing() -> None:
    visitors = Visitors(Admission(1, 5, 60.0))
    await visitors.come("a1", "a2", "a3")
    visitors.tasks["a2"].cancel()
    await asyncio.sleep(0.01)
    await visitors.leave("a1")
    assert visitors.inside == ["a1", "a3"]
    # a turn that comes in the same moment in which one leaves goes to the next
    await visitors.come("a4", "a5")
    visitors.doors["a3"].set()
    while visitors.admission.waiting == 2:
        await asyncio.sleep(0)
    visitors.tasks["a4"].cancel()
    await asyncio.sleep(0.01)
    assert visitors.inside[-1] == "a5"
    await visitors.leave("a5")
    assert visitors.admission.thinking == 0


async def test_closing_refuses_those_who_wait_and_ends_the_budgets_of_those_inside() -> None:
    admission = Admission(1, 5, 60.0)
    async with admission.enter("a", BUDGET) as ticket:
        waiting = asyncio.create_task(admission.enter("a", BUDGET).__aenter__())
        await asyncio.sleep(0.01)
        admission.close()
        assert ticket.meter.expired
        with pytest.raises(Closed):
            await waiting
        with pytest.raises(Closed):
            await admission.enter("b", BUDGET).__aenter__()
        with suppress(TimeoutError):
            await asyncio.wait_for(admission.empty(), 0.01)
            pytest.fail("somebody is inside")
    await asyncio.wait_for(admission.empty(), 1.0)
