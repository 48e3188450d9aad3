"""The processes of a pool as its driver sees them: whether they are ready, and whether they get on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from selfplay.adapters import Parcel

BEAT = 1.0  # seconds between two questions for a sign of life


@dataclass(eq=False)
class Process:
    """An actor of a PlayingWorker or a PolicyServer.

    Attributes:
        name: for people.
        make: a new actor, when there is none that could be started anew.
        handle: of the actor; its methods have `remote`, which gives something to wait for.
        hello: its greeting while it gets ready; None once it is.
        version: of its policy; empty until it has been ready.
        deaths, in_a_row: how often it was replaced, in all and with nothing done in between.
        greeted, moved: when it was told to get ready, and when it was last seen to get on, or helped to [s].
    """

    name: str
    make: Callable[[], Any]
    handle: Any = field(init=False)
    hello: Any = None
    version: str = ""
    deaths: int = 0
    in_a_row: int = 0
    greeted: float = 0.0
    moved: float = 0.0
    clock: Callable[[], float] = time.monotonic
    _progress: int = -1
    _pulse: Any = None
    _asked: float = 0.0
    _looked: float = 0.0

    def __post_init__(self) -> None:
        self.handle = self.make()

    @property
    def up(self) -> bool:
        return bool(self.version) and self.hello is None

    def greet(self, parcel: Parcel | None) -> None:
        """Tell it to get ready to play with this adapter, as soon as it lives."""
        self.hello, self._pulse = self.handle.hello.options(max_task_retries=-1).remote(parcel), None
        self.greeted = self.clock()

    def stuck(self, seconds: float, answer: Callable[[Any], Any]) -> bool:
        """Has it had work, and got nowhere, for so long? To be asked often.

        Args:
            seconds: how long.
            answer: what a call has returned, None if nothing yet; raises what the call raised.
        """
        now, away = self.clock(), self.clock() - self._looked
        self._looked = now
        if away > seconds / 2:
            self.moved += away  # the driver was busy elsewhere, and has seen nothing
        if self.hello is not None:
            hello = answer(self.hello)
            if hello is None:
                return bool(self.version) and now - max(self.greeted, self.moved) > seconds
            self.hello, self.version, self.moved, self._progress = None, hello.version, now, -1
        if self._pulse is None and now - self._asked >= BEAT:
            self._pulse, self._asked = self.handle.pulse.remote(), now
        pulse = None if self._pulse is None else answer(self._pulse)
        if pulse is not None:
            self._pulse = None
            if not pulse.busy or pulse.progress != self._progress:
                self.moved, self._progress = now, pulse.progress
        return now - self.moved > seconds
