"""The tree decoder: one thread that decodes whatever many searches are waiting for in one running batch.

Requests join at the next token and leave when they are done; what a state has in common with what was read before is
not read again. A thought's sequence number, the seed and the state decide its noise, so what else is decoded at the
time changes nothing but rounding.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial

import torch

from policy.base import PolicyStopped, Sampling, Thought
from policy.budget import Meter
from policy.codec import Codec
from policy.gpu.scheduler import DeviceScheduler
from policy.lora import Lora
from policy.rows import Request, Tokens
from policy.scheduler import Scheduler
from policy.trunk import Trunk

Outcome = list[Thought] | BaseException


class DecoderError(PolicyStopped):
    """The decoder's thread ended with an error (its cause) or was closed; nothing can be decoded any more."""


class TreeDecoder:
    """Decodes thoughts for any number of asyncio event loops.

    Args:
        trunk: the model; used by the decoder's thread alone from now on.
        codec, max_thought_tokens, cache_bytes, temperature, speculate: see Scheduler.

    Attributes:
        scheduler: touched by the decoder's thread alone.
    """

    def __init__(
        self, trunk: Trunk, codec: Codec, *, max_thought_tokens: int, cache_bytes: int, temperature: float = 1.0,
        speculate: int = 0,
    ) -> None:
        on_host = trunk.device.type == "cpu" and trunk.static is None
        kind = Scheduler if on_host else DeviceScheduler
        self._new_scheduler = partial(
            kind, trunk, codec,
            max_thought_tokens=max_thought_tokens, cache_bytes=cache_bytes, temperature=temperature,
            speculate=speculate if on_host else 0,
        )  # fmt: skip
        self.scheduler = self._new_scheduler()
        self._wake = threading.Condition()
        self._inbox: list[Request] = []
        self._given_up: list[Request] = []
        self._asked = 0  # calls of propose under way
        self._idle = True
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    @property
    def rows(self) -> int:
        """Sequences in the batch or waiting; from any thread, a moment ago."""
        batch = self.scheduler.batch
        return len(batch.rows) + len(batch.waiting) + batch.following

    @property
    def stopped(self) -> bool:
        """Does it decode nothing any more?"""
        return self._failure is not None

    async def propose(
        self, text: str, tokens: Tokens, prompt: int, k: int, *, sampling: Sampling, seed: int, meter: Meter,
        first: int, lora: Lora | None = None, start: int = 0,
    ) -> list[Thought]:  # fmt: skip
        """Thoughts number first .. first + k - 1 of the state, whose first `prompt` tokens, and `start` characters, are
        not thoughts.

        With an adapter, or of the base as it is. See Policy.propose. Raises DecoderError.
        """
        loop = asyncio.get_running_loop()
        request = Request(text, tokens, prompt, sampling, seed, first, k, meter, loop, loop.create_future(), lora,
                          start)
        with self._wake:
            if self._failure is not None:
                raise self._error()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tree-decoder", daemon=True)
                # A thread inside torch when the interpreter goes away would abort the process.
                atexit.register(self.close)
                self._thread.start()
            self._inbox.append(request)
            self._asked += 1
            self._idle = False
            self._wake.notify_all()
        try:
            return await request.future
        except asyncio.CancelledError:
            with self._wake:
                self._given_up.append(request)
                self._idle = False
                self._wake.notify_all()
            raise
        finally:
            with self._wake:
                self._asked -= 1

    def change(self, change: Callable[[], None]) -> None:
        """Let `change` alter the model while nothing is decoded, and forget what was read and drawn before.

        Raises RuntimeError while thoughts are being asked for, DecoderError if the decoder has stopped, and what
        `change` raises.
        """
        with self._wake:
            if self._asked:
                raise RuntimeError("the policy cannot change while it is asked for thoughts")
            # Rows that nobody wants any more may still be on their way out.
            self._wake.wait_for(lambda: self._idle or self._failure is not None)
            if self._failure is not None:
                raise self._error()
            try:
                change()
            finally:
                self.scheduler = self._new_scheduler()

    def close(self) -> None:
        """End the thread. Calls under way, and later ones, raise DecoderError."""
        with self._wake:
            self._failure = self._failure or DecoderError("it was closed")
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join()
        atexit.unregister(self.close)

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while (mail := self._receive()) is not None:
                    self.scheduler.accept(*mail)
                    self._send()
                    self.scheduler.step()
                    self._send()
        except BaseException as error:
            with self._wake:
                self._failure = error
                self._wake.notify_all()
        self._fail_all()

    def _receive(self) -> tuple[list[Request], list[Request]] | None:
        """What has come in (requests, and those given up), waiting for something to do; None once closed."""
        with self._wake:
            while not (self._failure or self._inbox or self._given_up or self.scheduler.batch):
                self._idle = True
                self._wake.notify_all()
                self._wake.wait()
            if self._failure is not None:
                return None
            mail = self._inbox, self._given_up
            self._inbox, self._given_up = [], []
            return mail

    def _send(self) -> None:
        resolved, self.scheduler.resolved = self.scheduler.resolved, []
        _deliver((request, request.result()) for request in resolved)

    def _fail_all(self) -> None:
        self._send()
        with self._wake:
            left = {request for group in self.scheduler.live.values() for request in group}.union(self._inbox)
        _deliver((request, self._error()) for request in left)

    def _error(self) -> DecoderError:
        error = DecoderError(f"the decoder has stopped: {self._failure}")
        error.__cause__ = self._failure
        return error


def _deliver(outcomes: Iterable[tuple[Request, Outcome]]) -> None:
    """Resolve futures in their own event loops, one wake-up each."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[tuple[Request, Outcome]]] = defaultdict(list)
    for request, outcome in outcomes:
        by_loop[request.loop].append((request, outcome))
    for loop, pairs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, pairs)
        except RuntimeError:  # the loop was closed: nobody waits there any more
            continue


def _settle(outcomes: Iterable[tuple[Request, Outcome]]) -> None:
    for request, outcome in outcomes:
        if request.future.done():
            continue
        if isinstance(outcome, BaseException):
            request.future.set_exception(outcome)
        else:
            request.future.set_result(outcome)
