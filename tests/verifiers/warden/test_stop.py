"""A wish to end something reaches it, whenever it comes."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from verifiers.warden.stop import Stop, Stopped, in_thread


def test_a_wish_ends_what_is_under_way_or_begins_later() -> None:
    stop, ended = Stop(), []
    stop.heed()
    with stop.ending(lambda: ended.append("over")):
        pass
    with stop.ending(lambda: ended.append("outer")), stop.ending(lambda: ended.append("inner")):
        stop.wish()
    with stop.ending(lambda: ended.append("late")):
        assert ended == ["outer", "inner", "late"]
    with pytest.raises(Stopped):
        stop.heed()


async def test_cancelling_a_task_stops_its_thread() -> None:
    begun, ended, told = threading.Event(), threading.Event(), threading.Event()

    def work(stop: Stop) -> None:
        with stop.ending(ended.set):
            begun.set()
            ended.wait(10)
        told.set()

    with ThreadPoolExecutor(1) as threads:
        task = asyncio.create_task(in_thread(work, threads))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set() and await asyncio.to_thread(told.wait, 10)
        assert await in_thread(lambda stop: 7, threads) == 7
