"""The process around the application: its socket, its signals, and clients that dawdle."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from commands.errors import BadInput, shorten
from commands.server.settings import Settings

LAST = 5.0
"""Seconds that are left for closing connections (at most 1) and ending Python when everybody has stopped thinking."""


def bound(host: str, port: int) -> socket.socket:
    """A socket bound to an address and not listening yet. Raises BadInput, and OSError where it is taken."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM,
                                                             flags=socket.AI_PASSIVE)[0]
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        raise BadInput(f"there is no address {shorten(host)}:{port}") from error
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return sock


def is_loopback(sock: socket.socket) -> bool:
    """Can only this machine reach it?"""
    return ipaddress.ip_address(sock.getsockname()[0].partition("%")[0]).is_loopback


def patient(header_timeout: float, send_timeout: float) -> type[H11Protocol]:
    """HTTP/1.1 that waits no longer than that for the head of a request, and for a client to read what it is sent.

    Whoever does not read is cut off, whatever was asked for: else it would keep its connection, and its place to
    think, for as long as it likes.
    """

    class Patient(H11Protocol):
        _head: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=0)  # writing pauses as soon as anything is left unread
            self._head = self.loop.call_later(header_timeout, transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            waits = self.conn.their_state is h11.IDLE
            if waits and self._head is None:
                self._head = self.loop.call_later(header_timeout, self.transport.close)
            elif not waits:
                self._in_time()

        def pause_writing(self) -> None:
            self._unread = self.loop.call_later(send_timeout, self.transport.abort)
            super().pause_writing()

        def resume_writing(self) -> None:
            self._read()
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            self._in_time()
            self._read()
            super().connection_lost(exc)

        def _in_time(self) -> None:
            if self._head is not None:
                self._head.cancel()
                self._head = None

        def _read(self) -> None:
            if self._unread is not None:
                self._unread.cancel()
                self._unread = None

    return Patient


class Server(uvicorn.Server):
    """Leaves signals to `run`, and says when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # uvicorn's own handlers would end the process with the signal instead of code 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


async def run(app: FastAPI, sock: socket.socket, settings: Settings, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends it at once.

    At the first, nobody is admitted any more (503), those who think answer with the best they have, and after
    `settings.stop_within` seconds whatever is left is cut off.
    """
    config = uvicorn.Config(
        app, http=patient(settings.header_timeout, settings.send_timeout), ws="none", lifespan="on", log_config=None,
        access_log=False, server_header=False, proxy_headers=False, limit_concurrency=settings.connections,
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = Server(config, ready)
    stopping: list[asyncio.Task[Any]] = []

    async def stop() -> None:
        app.state.admission.close()
        try:
            async with asyncio.timeout(settings.stop_within - LAST):
                await app.state.admission.empty()
        except TimeoutError:
            pass  # uvicorn cancels what is left
        server.should_exit = True

    def asked_to() -> None:
        if stopping:
            server.should_exit = server.force_exit = True
        else:
            stopping.append(asyncio.create_task(stop()))

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to)
    await server.serve(sockets=[sock])
