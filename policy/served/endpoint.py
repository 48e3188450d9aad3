"""One OpenAI-compatible server: requests with retries, what they cost, and failures as one line each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2  # what openai speaks HTTP with
import openai

from policy.base import BadPolicy
from policy.served.usage import Usage

SHOWN = 200  # characters of what a server says
MOST = 64 << 20  # bytes of an answer
FRESH = 10.0  # seconds for which what was last heard of a server counts
LOOK = 5.0  # seconds that a server has for a sign of life
_OF_THE_WAY = ("content-encoding", "content-length", "transfer-encoding")


class ServerFailed(RuntimeError):
    """A server that gave no usable answer; says which and why, in one line.

    Attributes:
        status: of HTTP, if it refused; else None.
        reason: what it said, if anything.
    """

    def __init__(self, message: str, status: int | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class _Client(openai.DefaultAsyncHttpxClient):
    """HTTP whose answers come to an end, in time and before they fill the memory, and from nobody but who was asked.

    The client's own timeout is for each piece of an answer, however many there are.
    """

    def __init__(self, longest: float, **options: Any) -> None:
        super().__init__(timeout=longest, follow_redirects=False, **options)
        self._longest = longest

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """The whole answer. Raises ValueError for one that is too large, and what the client raises."""
        content = bytearray()
        try:
            async with asyncio.timeout(self._longest):
                response = await super().send(request, stream=True, **options)
                try:
                    async for part in response.aiter_bytes():
                        content += part
                        if len(content) > MOST:
                            raise ValueError(f"the answer is longer than {MOST} bytes")
                finally:
                    await response.aclose()
        except TimeoutError:
            raise httpx2.ReadTimeout("the answer took too long", request=request) from None
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_WAY]
        return httpx2.Response(response.status_code, headers=headers, content=bytes(content), request=request,
                               extensions=response.extensions)


class Endpoint:
    """A server's API, by the official client: it retries 408, 409, 429, 5xx and cut connections with growing pauses,
    those that Retry-After asks for where it does. To be made and used inside one event loop.

    Args:
        base_url: of the API, such as http://127.0.0.1:8000/v1.
        key: of the API; never shown.
        timeout: seconds for one attempt.
        retries: attempts after the first one.
        concurrency: requests in flight at most; others wait.
        usage: where requests are counted.

    Attributes:
        heard: when the server was last heard of, by time.monotonic, and what keeps it from answering, if anything: one
            line that quotes nothing.
    """

    def __init__(
        self, base_url: str, key: str | None, *, timeout: float, retries: int, concurrency: int, usage: Usage
    ) -> None:
        self.base_url, self.usage, self._key, self._timeout = base_url, usage, key, timeout
        self._gate = asyncio.Semaphore(concurrency)
        self.heard: tuple[float, str | None] = (time.monotonic(), None)
        self._client = openai.AsyncOpenAI(
            base_url=base_url, api_key=key or "none", timeout=timeout, max_retries=retries,
            http_client=_Client(timeout, event_hooks={"request": [self._count]}),
        )  # fmt: skip

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What the server answers, as JSON or as text. Raises ServerFailed."""
        async with self._gate:
            return await self._ask(path, self._client.post(path, body=dict(body), cast_to=object))

    async def get(self, path: str) -> Any:
        """The same; asked once."""
        once = self._client.with_options(max_retries=0)
        async with self._gate:
            return await self._ask(path, once.get(path, cast_to=object))

    async def look(self) -> None:
        """Is the server there? It is asked for its models, before all that waits; see `heard` for what came of it."""
        once = self._client.with_options(max_retries=0)
        try:
            async with asyncio.timeout(LOOK):
                await self._ask("/models", once.get("/models", cast_to=object))
        except TimeoutError:
            self._hear("the model's server gives no answer")
        except ServerFailed:
            return  # which has been noted

    async def close(self) -> None:
        await self._client.close()

    async def _ask(self, path: str, request: Any) -> Any:
        """What is wrong with one request, such as its length, is no news of the server."""
        try:
            answer = await self._answer(path, request)
        except ServerFailed as error:
            if error.status is None:
                self._hear("the model's server gives no answer")
            else:
                down = error.status >= 500 or error.status in (401, 403)
                self._hear(f"the model's server answers with status {error.status}" if down else None)
            raise
        self._hear(None)
        return answer

    def _hear(self, trouble: str | None) -> None:
        self.heard = (time.monotonic(), trouble)

    async def _answer(self, path: str, request: Any) -> Any:
        where = f"{self.base_url}{path}"
        try:
            return await request
        except openai.APIStatusError as error:
            reason = self._plain(_said(error))
            raise ServerFailed(f"{where} answered with status {error.status_code}: {reason}", error.status_code, reason
                               ) from None
        except openai.APITimeoutError:
            raise ServerFailed(f"{where} did not answer within {self._timeout:g} s") from None
        except openai.APIConnectionError as error:
            cause = error.__cause__
            raise ServerFailed(f"cannot get an answer from {where}: {self._plain(str(cause) or type(cause).__name__)}"
                               ) from None
        except (openai.OpenAIError, ValueError, RecursionError) as error:
            raise ServerFailed(f"{where} gave no usable answer: {self._plain(str(error))}") from None

    async def _count(self, request: Any) -> None:
        self.usage.send(retry=request.headers.get("x-stainless-retry-count", "0") != "0")

    def _plain(self, text: str) -> str:
        """A server's words in one line, without the key, which some servers quote."""
        if self._key:
            text = text.replace(self._key, "[the key]")
        said = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
        return said if len(said) <= SHOWN else f"{said[: SHOWN - 1]}…"


def checked_url(base_url: str) -> str:
    """Without a slash at its end. Raises BadPolicy."""
    try:
        parts = urlsplit(base_url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise BadPolicy(f"policy.base_url={base_url[:80]!r} cannot be; allowed: http://HOST:PORT/v1 or https://HOST/v1")
    if parts.username or parts.password or parts.query:
        raise BadPolicy("policy.base_url must hold no user, password or query: it is written down; keys come from the "
                        "environment variable that policy.api_key_env names")
    return base_url.rstrip("/")


def _said(error: openai.APIStatusError) -> str:
    """The message in an error's body, whatever its shape."""
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        found = inner.get("message", inner.get("detail", body)) if isinstance(inner, dict) else inner
        return str(found)
    return str(body) if body else error.message
