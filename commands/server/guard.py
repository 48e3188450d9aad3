"""What stands before every route: keys, the name a browser uses, bodies of a bounded size, and a line of log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from commands.errors import plain
from commands.server.errors import ApiError, log
from commands.server.keys import Keys
from commands.server.metrics import Metrics
from commands.server.settings import Settings

OPEN = ("/", "/health", "/livez", "/readyz", "/openapi.json")
"""What may be asked for without a key: nothing is thought there, and nothing told about what others think."""
GONE = 499


class Guard:
    """ASGI middleware. `request.state.key` is the name under which a request waits its turn.

    Args:
        keys: without any, everybody may ask, and waits under the address.
        hosts: names that the Host header may have, or None for any: a page of another site, whose name was made to
            mean this machine, has its own name there (DNS rebinding).
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, keys: Keys, hosts: Collection[str] | None, metrics: Metrics
    ) -> None:
        self._app, self._settings, self._keys, self._hosts, self._metrics = app, settings, keys, hosts, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, ended = time.monotonic(), GONE, False

        async def observed(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.start":
                status = message["status"]
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        state = scope.setdefault("state", {})
        state["said"], state["arrived"] = {}, started
        try:
            await self._serve(scope, receive, observed)
        except ApiError as error:
            await error.response()(scope, receive, observed)
        except Exception:
            status, ended = 500, True  # what is sent then is sent further out
            raise
        finally:
            path = _path(scope)
            self._metrics.requests.labels(path, str(status if ended else GONE)).inc()
            self._say(scope, path, status if ended else GONE, time.monotonic() - started)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if self._hosts is not None and _host(headers.get("host", "")) not in self._hosts:
            raise ApiError(400, "this server is not called so; allowed: the name that it was started with",
                           code="invalid_host")
        name = self._keys.name(headers.get("authorization")) if self._keys else _address(scope)
        if name is None and scope["path"] not in OPEN:
            raise ApiError(401, "the API key is missing or wrong; it belongs into the header Authorization: Bearer KEY",
                           code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        scope["state"]["key"] = name
        if scope["method"] in ("POST", "PUT", "PATCH"):
            receive = _replay(await self._read(headers, receive), receive)
        await self._app(scope, receive, send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        """The body; refused as soon as it is known to be too large."""
        most, body, more = self._settings.max_body, bytearray(), True
        declared = headers.get("content-length", "")
        try:
            async with asyncio.timeout(self._settings.body_timeout):
                while more:
                    if len(body) > most or (declared.isdecimal() and int(declared[:20]) > most):
                        raise ApiError(413, f"the body is too large; allowed: {most} bytes", code="body_too_large",
                                       headers={"Connection": "close"})
                    message = await receive()
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
        except TimeoutError:
            raise ApiError(408, "the body took too long", code="timeout", headers={"Connection": "close"}) from None
        if len(body) > most:
            raise ApiError(413, f"the body is too large; allowed: {most} bytes", code="body_too_large",
                           headers={"Connection": "close"})
        return bytes(body)

    def _say(self, scope: Scope, path: str, status: int, seconds: float) -> None:
        """One line, without anything that was asked or answered."""
        said = " ".join(f"{name}={value}" for name, value in scope["state"]["said"].items())
        log.info(plain(f"{scope['method'][:10]} {path} {status} {seconds:.3f}s key={scope['state'].get('key')} {said}"))


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _host(header: str) -> str:
    """A Host header without its port."""
    name, _, port = header.rpartition(":")
    return (name if name and port.isdecimal() else header).lower()


def _path(scope: Scope) -> str:
    """The path of a route: one of few, whatever is asked for."""
    if (route := scope.get("route")) is not None:
        return str(route.path)
    return next((route.path for route in scope["app"].routes if route.path == scope["path"]), "other")


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "local"
