from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from search.expansion import Flight, pipeline
from search.thinking import Thinking


@pytest.mark.parametrize("in_flight", [1, 3, 50])
async def test_what_was_launched_first_lands_first(in_flight: int) -> None:
    """Each launch sees what landed `in_flight` launches before, whatever finished when (ADR 0005)."""
    log: list[tuple[str, int]] = []
    launched = iter(range(10))

    def launch() -> Flight | None:
        number = next(launched, None)
        if number is None:
            return None
        log.append(("launch", number))
        return cast(Flight, number)

    async def land(flight: Flight) -> None:
        log.append(("land", cast(int, flight)))

    thinking = cast(Thinking, cast(Any, SimpleNamespace(verified=False)))
    assert [answer async for answer in pipeline(thinking, launch, land, lambda: in_flight)] == []
    assert [number for what, number in log if what == "land"] == list(range(10))
    for number in range(10):
        seen = log[: log.index(("launch", number))]
        assert sum(what == "land" for what, _ in seen) == max(0, number + 1 - in_flight)
