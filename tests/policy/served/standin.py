"""A server in a thread of the test, by plain sockets: it answers as told, and breaks off where no framework would.

Lines are what their seed says, so that whoever asks can tell which sample was drawn.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Behaviour = Callable[[asyncio.StreamWriter, dict[str, Any]], Awaitable[None]]
"""Writes an answer to the body of a request."""


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


def http(status: int, body: str, **headers: str) -> bytes:
    content = body.encode()
    told = {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status} Some\r\n{lines}\r\n".encode() + content


def says(status: int, content: Any, **headers: str) -> Behaviour:
    """Answers with some JSON, or with a text as it is."""
    text = content if isinstance(content, str) else json.dumps(content)

    async def answer(writer: asyncio.StreamWriter, _: dict[str, Any]) -> None:
        writer.write(http(status, text, **headers))

    return answer


def choice(text: str, chat: bool, index: int = 0, **more: Any) -> dict[str, Any]:
    written = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    return {"index": index, "finish_reason": "stop", **written, **more}


class Standin:
    """See the module.

    Attributes:
        url: of the API.
        asked: every request so far.
        next: behaviours of the next POSTs; then that of `always`.
        modes: of `always`: how many lines there are; which options it ignores, and which it refuses with 400.
        hung_up: requests whose client went away before they were answered.
    """

    def __init__(self, lines: int = 5, ignores: tuple[str, ...] = (), refuses: tuple[str, ...] = ()) -> None:
        self.asked: list[Asked] = []
        self.next: deque[Behaviour] = deque()
        self.lines, self.ignores, self.refuses = lines, ignores, refuses
        self.models = ["some"]
        self.hung_up = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = started.result(10)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def posts(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "POST"]

    async def always(self, writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
        """A good server's answer: the i-th of n samples is the line of seed + i."""
        chat = "messages" in body
        for option in self.refuses:
            if option in body:
                writer.write(http(400, json.dumps({"error": {"message": f"unknown option {option}"}})))
                return
        body = {name: value for name, value in body.items() if name not in self.ignores}
        choices = []
        for i in range(body.get("n", 1)):
            line = f"line {(body.get('seed', 0) + i) % self.lines}"
            pairs = [{"token": letter, "logprob": -0.25} for letter in f"{line}\n"]
            told = {"content": pairs} if chat else {"tokens": [p["token"] for p in pairs],
                                                   "token_logprobs": [p["logprob"] for p in pairs]}
            choices.append(choice(line, chat, i, logprobs=told if body.get("logprobs") else None))
        usage = {"prompt_tokens": 10, "completion_tokens": 7 * len(choices)}
        writer.write(http(200, json.dumps({"choices": choices, "usage": usage})))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                pairs = (line.partition(": ") for line in head[1:] if line)
                headers = {name.lower(): value for name, _, value in pairs}
                content = await reader.readexactly(int(headers.get("content-length", 0)))
                asked = Asked(method, path, headers, json.loads(content or b"{}"))
                self.asked.append(asked)
                if method == "GET":
                    writer.write(http(200, json.dumps({"data": [{"id": name} for name in self.models]})))
                else:
                    answering = asyncio.ensure_future((self.next.popleft() if self.next else self.always)(
                        writer, asked.body))
                    while not (await asyncio.wait({answering}, timeout=0.02))[0]:
                        if reader.at_eof():
                            self.hung_up += 1
                            answering.cancel()
                            return
                    answering.result()
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def silent(writer: asyncio.StreamWriter, _: dict[str, Any]) -> None:
    """Begins an answer, a byte now and then, and never ends it."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def cut(writer: asyncio.StreamWriter, _: dict[str, Any]) -> None:
    """Cuts the connection in the middle of an answer."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"choices\"")
    await writer.drain()
    writer.transport.abort()
