"""A loop from plain code: in this thread, or beside one that is running."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from selfplay.loops import Loop, run
from tests.selfplay.skilled import loop


async def where() -> tuple[int, int]:
    return threading.get_ident(), id(asyncio.get_running_loop())


async def fails() -> None:
    raise KeyError("it")


def test_in_this_thread() -> None:
    made = Loop()
    assert made.run(where()) == made.run(where()) and made.run(where())[0] == threading.get_ident()
    with pytest.raises(KeyError, match="it"):
        made.run(fails())
    made.close()


async def test_beside_a_running_loop() -> None:
    made = Loop()
    assert made.run(where()) == made.run(where()) and made.run(where())[0] != threading.get_ident()
    with pytest.raises(KeyError, match="it"):
        made.run(fails())
    made.close()
    assert run(where())[1] != id(asyncio.get_running_loop())


async def test_self_play_in_a_notebook(tmp_path: Path) -> None:
    made = loop(tmp_path, [1.0])
    made.run()
    assert made.state.history[0]["promoted"]
    made.parts.pool.close()
