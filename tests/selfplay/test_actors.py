"""A process that works and gets nowhere is noticed, one that idles or is slow is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from selfplay.actors import Process
from selfplay.workers import Hello, Pulse


class Handle:
    """An actor whose methods return what the test says, when it says so."""

    def __init__(self) -> None:
        self.hello = self.pulse = self
        self.calls = 0

    def options(self, **_: object) -> Handle:
        return self

    def remote(self, *_: object) -> int:
        self.calls += 1
        return self.calls


@pytest.fixture
def watched() -> tuple[Process, Callable[[float, Any], bool]]:
    """A process, and a look at it `after` some seconds, when it gives this answer."""
    now = 0.0
    process = Process("worker 0", Handle, clock=lambda: now)

    def look(after: float, answer: Any) -> bool:
        nonlocal now
        now += after
        greeting = process.hello
        return process.stuck(13, lambda call: answer if isinstance(answer, Hello) == (call == greeting) else None)

    return process, look


def test_it_is_given_time_to_start_but_not_to_start_again(
    watched: tuple[Process, Callable[[float, Any], bool]],
) -> None:
    process, look = watched
    process.greet(None)
    assert not look(1000, None) and not process.up  # whoever waits decides how long
    assert not look(1, Hello("here:1", "v")) and process.up and process.version == "v"
    process.greet(None)
    assert not process.up and not look(6, None) and not look(6, None) and look(6, None)


def test_work_without_progress_is_a_stall(watched: tuple[Process, Callable[[float, Any], bool]]) -> None:
    process, look = watched
    process.greet(None)
    look(1, Hello("here:1", "v"))
    assert [look(6, Pulse(True, progress)) for progress in (1, 2, 3, 3, 3)] == [False] * 5
    assert look(6, Pulse(True, 3))


def test_idling_is_no_stall(watched: tuple[Process, Callable[[float, Any], bool]]) -> None:
    process, look = watched
    process.greet(None)
    look(1, Hello("here:1", "v"))
    assert not any(look(6, Pulse(False, 0)) for _ in range(5))
    assert [look(6, Pulse(True, 0)) for _ in range(3)] == [False, False, True]


def test_no_sign_of_life_is_a_stall(watched: tuple[Process, Callable[[float, Any], bool]]) -> None:
    process, look = watched
    process.greet(None)
    look(1, Hello("here:1", "v"))
    assert [look(4, None) for _ in range(4)] == [False, False, False, True]
    assert process.handle.calls == 2  # one question at a time


def test_a_driver_that_was_away_asks_before_it_judges(watched: tuple[Process, Callable[[float, Any], bool]]) -> None:
    process, look = watched
    process.greet(None)
    look(1, Hello("here:1", "v"))
    look(2, Pulse(True, 1))
    assert not look(500, None) and not look(5, Pulse(True, 2))
    assert not look(500, None) and [look(5, Pulse(True, 2)) for _ in range(3)] == [False, False, True]
