"""Places are handed out fairly: nobody waits for a whole crowd, and nobody for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from verifiers.warden.lanes import NEWEST, OLDEST, Lane
from verifiers.warden.stop import Stop, Stopped


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Crowd:
    """Threads that wait for a place, one after the other, and note when they got one."""

    def __init__(self, lane: Lane, size: int) -> None:
        self.lane, self.served, self.ends = lane, [], []  # type: ignore[var-annotated]
        self.threads = [threading.Thread(target=self.wait, args=(number,)) for number in range(size)]
        for number, thread in enumerate(self.threads):
            thread.start()
            until(lambda number=number: len(lane._waiting) == number + 1)  # type: ignore[misc]

    def wait(self, number: int) -> None:
        end = self.lane.enter(Stop())
        self.ends.append(end)
        self.served.append(number)


def test_a_lane_holds_no_more_than_its_capacity() -> None:
    lane = Lane(2)
    assert lane.try_enter() and lane.try_enter() and not lane.try_enter()
    lane.leave(NEWEST, 1.0)
    assert lane.try_enter() and not lane.try_enter()


def test_the_newest_get_seven_eighths_of_the_time_and_the_oldest_one() -> None:
    lane = Lane(1)
    lane.enter(Stop())
    crowd = Crowd(lane, 10)
    end = NEWEST
    for count in range(1, 11):
        lane.leave(end, 1.0)
        until(lambda count=count: len(crowd.served) == count)  # type: ignore[misc]
        end = crowd.ends[-1]
    # One second went to the newest at first, so the oldest is due; its second then pays for seven newcomers.
    assert crowd.served == [0, 9, 8, 7, 6, 5, 4, 3, 1, 2]
    assert crowd.ends == [OLDEST, *[NEWEST] * 7, OLDEST, NEWEST]
    for thread in crowd.threads:
        thread.join(5)


def test_everybody_is_served_in_the_end() -> None:
    lane = Lane(3)
    done = []

    def work(number: int) -> None:
        end = lane.enter(Stop())
        time.sleep(0.001)
        lane.leave(end, 0.001)
        done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(done) == list(range(60))
    assert all(lane.try_enter() for _ in range(3)) and not lane.try_enter()


def test_who_gives_up_leaves_the_queue_and_takes_no_place() -> None:
    lane, stop, raised = Lane(1), Stop(), threading.Event()
    lane.enter(Stop())

    def wait() -> None:
        with pytest.raises(Stopped):
            lane.enter(stop)
        raised.set()

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: len(lane._waiting) == 1)
    assert not raised.is_set()
    stop.wish()
    assert raised.wait(10) and not lane._waiting
    thread.join(5)
    lane.leave(NEWEST, 1.0)
    assert lane.try_enter() and not lane.try_enter()
