"""Answers that are written while they are thought, and clients that go away meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from commands.server.errors import ApiError, as_api_error, log

T = TypeVar("T")
PING = 10.0
"""Seconds of silence after which a comment is sent, so that proxies do not hang up."""


class Gone(Exception):
    """The client has left."""


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work unless the client leaves: then it is cancelled, awaited, and Gone is raised.

    Args:
        receive: of a request whose body has been read.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Gone
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def event(data: dict[str, Any], name: str | None = None) -> str:
    """One server-sent event."""
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {json.dumps(data, allow_nan=False, separators=(',', ':'))}\n\n"


class Events(Response):
    """A stream of server-sent events.

    What fails before the first one is answered as it would be without streaming; afterwards it is an event.

    Args:
        events: texts as `event` makes them; closed when the client leaves.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._run(send))
        except Gone:
            return

    async def _run(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            first = await anext(events)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await self._write(send, first)
            try:
                async with aclosing(pinged(events, PING)) as texts:
                    async for text in texts:
                        await self._write(send, text)
            except Exception as error:
                if not isinstance(error, ApiError):
                    log.exception("a stream had an error")
                await self._write(send, event(as_api_error(error).body, "error"))
        await send({"type": "http.response.body", "body": b""})

    async def _write(self, send: Send, text: str) -> None:
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def pinged(texts: AsyncGenerator[str, None], silence: float) -> AsyncGenerator[str, None]:
    """The same, with comments where nothing comes for so many seconds."""
    while True:
        following = asyncio.ensure_future(anext(texts, None))
        try:
            while not (await asyncio.wait({following}, timeout=silence))[0]:
                yield ": thinking\n\n"
            text = following.result()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        if text is None:
            return
        yield text
