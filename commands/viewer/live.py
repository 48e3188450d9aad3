"""The viewer as routes of a server: a page, and thinking that is watched while it goes on.

    GET /            the page
    POST /api/think  {"problem": "4 9 10 13", "budget": "10s", "search": "mcts", "domain": "game24", "seed": 0}

The second answers with a stream of JSON objects, one a line: {"type": "begin", "about": ...}, then "delta" (see
commands/viewer/snapshot.py) many times, then "end" with the result, or "error" with a message. It ends, and the
thinking with it, when the client goes away. All but the problem may be left out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from commands.compose import CONF
from commands.engine import Engine, SearchFailed, told
from commands.errors import REFUSALS, BadInput, one_line, shorten, whole
from commands.server.errors import failed
from commands.server.events import Gone, while_connected
from commands.server.service import Service
from commands.task import Task
from commands.viewer.document import page, policy
from commands.viewer.watching import Watcher
from policy.budget import Budget
from search.anytime import Anytime
from search.watch import fits

MOST_BYTES = 64 * 1024
"""Of a request."""
MOST_SEED = 2**32 - 1
_FIELDS = {"problem": str, "budget": str, "search": str, "domain": str, "seed": int}


@dataclass(frozen=True)
class Asked:
    """A request that can be served."""

    task: Task
    budget: Budget
    search: str
    seed: int


def routes(service: Service, search: str = "mcts") -> list[Route]:
    """The routes of the viewer.

    Args:
        service: what thinks, and within which bounds.
        search: the searcher that the page proposes and that is taken where none is named.
    """
    offer = {"think": "api/think", "domains": service.engine.domains, "searchers": searchers(), "search": search,
             "longest": service.settings.longest}

    async def show(request: Request) -> Response:
        headers = {"Content-Security-Policy": f"{policy(live=True)}; frame-ancestors 'none'",
                   "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
        return HTMLResponse(page({"offer": offer}, live=True), headers=headers)

    async def think(request: Request) -> Response:
        try:
            asked = _asked(service, await _body(request), search)
        except REFUSALS as error:
            return JSONResponse({"error": {"message": one_line(str(error))}}, 400)
        return _Stream(service, asked, _key(request))

    return [Route("/", show, methods=["GET"]), Route("/api/think", think, methods=["POST"])]


def searchers() -> list[str]:
    """Those of conf/search."""
    return sorted(path.stem for path in (CONF / "search").glob("*.yaml"))


def _key(request: Request) -> str:
    """Under which it waits: what the server calls whoever asks."""
    return str(getattr(request.state, "key", "") or "")


async def _body(request: Request) -> Mapping[str, Any]:
    """Raises BadInput for what is no JSON object, or too large."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BadInput("the content must be of the type application/json")  # no form of another site sends that
    text = b""
    async for part in request.stream():
        text += part
        if len(text) > MOST_BYTES:
            raise BadInput(f"the request is too large; allowed: {MOST_BYTES} bytes")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput("the request is not JSON") from error
    if not isinstance(fields, dict):
        raise BadInput("the request must be a JSON object")
    return fields


def _asked(service: Service, fields: Mapping[str, Any], search: str) -> Asked:
    """Raises BadInput, BadProblem, BadBudget or BadPolicy."""
    engine, most = service.engine, service.settings.max_problem
    for name, value in fields.items():
        if name not in _FIELDS:
            raise BadInput(f"there is no field {shorten(name)}; allowed: {', '.join(_FIELDS)}")
        if not isinstance(value, _FIELDS[name]) or isinstance(value, bool):
            raise BadInput(f"{name} must be {'a whole number' if _FIELDS[name] is int else 'a text'}")
    if "problem" not in fields:
        raise BadInput("there is no problem to think about")
    if (length := len(fields["problem"])) > most:
        raise BadInput(f"a problem of {length} characters is too long; allowed: {most}")
    if fields.get("domain") not in (None, *engine.domains):  # others may read files
        raise BadInput(f"there is no domain {shorten(fields['domain'])}; allowed: {', '.join(engine.domains)}")
    seed = whole("seed", fields.get("seed", 0), 0)
    if seed > MOST_SEED:
        raise BadInput(f"seed={seed} cannot be; allowed: at most {MOST_SEED}")
    search, budget = fields.get("search", search), service.settings.granted(fields.get("budget"))
    if not isinstance(engine.searcher(search), Anytime):
        raise BadInput(f"search={search} keeps no tree; allowed: those that are Anytime")
    task = engine.pose(fields["problem"], fields.get("domain"))
    fits(budget, task.policy)
    return Asked(task, budget, search, seed)


class _Stream(Response):
    """Waits for its turn, thinks, and tells of it, until it is over or nobody listens.

    What the admission raises reaches the server's handlers, since nothing has been sent by then.
    """

    media_type = "application/x-ndjson"

    def __init__(self, service: Service, asked: Asked, key: str) -> None:
        self.status_code, self.background, self.body = 200, None, b""
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no",
                           "X-Content-Type-Options": "nosniff"})
        del self.headers["content-length"]  # of a stream it is not known
        self._service, self._asked, self._key = service, asked, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(Gone):
            await while_connected(receive, self._tell(send))

    async def _tell(self, send: Send) -> None:
        asked = self._asked
        async with self._service.enter(self._key, asked.budget) as ticket:
            asked.task.meter = ticket.meter
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with aclosing(events(self._service.engine, asked)) as told_of:
                async for event in told_of:
                    line = json.dumps(event, separators=(",", ":"), allow_nan=False) + "\n"
                    await send({"type": "http.response.body", "body": line.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def events(engine: Engine, asked: Asked) -> AsyncGenerator[dict[str, Any]]:
    """What a page is told. Leaving early ends the thinking at the next token."""
    task, watcher = asked.task, Watcher(asked.task)
    yield {"type": "begin", "about": {"problem": task.text, "domain": task.domain_name, "search": asked.search,
                                      "budget": str(asked.budget), "seed": asked.seed}}
    thinking = asyncio.ensure_future(
        task.run(engine.searcher(asked.search), asked.seed, watcher.on_thinking))
    try:
        async for delta in watcher.deltas(thinking):
            yield {"type": "delta", **delta}
        await thinking
        if task.record.error is not None:
            yield {"type": "error", "message": str(failed(SearchFailed(task.record.error)))}
        with suppress(SearchFailed):
            yield {"type": "end", "result": asdict(told(task)) | {"failure": None}}  # it may quote a model
    finally:
        thinking.cancel()
        await asyncio.gather(thinking, return_exceptions=True)
