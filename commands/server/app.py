"""The application: OpenAI's routes, and what operators look at."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Literal

from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.responses import Response as HttpResponse

from commands.engine import Engine
from commands.server import chat, responses
from commands.server.admission import Admission
from commands.server.errors import Error, Json, install
from commands.server.events import Events, Gone, while_connected
from commands.server.guard import GONE, Guard
from commands.server.keys import Keys
from commands.server.metrics import Metrics
from commands.server.requests import (
    Ask,
    ChatRequest,
    ResponseRequest,
    ask_of_chat,
    ask_of_response,
    check_model,
)
from commands.server.service import Outcome, Service
from commands.server.settings import Settings
from commands.viewer import live as viewer

REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": Error, "description": text} for code, text in (
        (400, "The request cannot be honoured as it is"), (401, "The API key is missing or wrong"),
        (404, "There is no such model"), (408, "The body took too long"), (413, "The body is too large"),
        (422, "Not used: what is wrong with a body is a 400"), (429, "Too many wait: try again after Retry-After"),
        (500, "The search failed"), (503, "The server is stopping"))
}  # fmt: skip


class Model(BaseModel):
    """A policy that is served."""

    id: str
    object: str
    created: int
    owned_by: str


class Models(BaseModel):
    """All there are."""

    object: str
    data: list[Model]


class Health(BaseModel):
    """How it is.

    Attributes:
        status: `ok`; `degraded`, when the model's server gives no answers; `stopping`; `stopped`, by a failure.
        reason: one line, unless all is well.
    """

    status: Literal["ok", "degraded", "stopping", "stopped"]
    reason: str | None = None


def create_app(
    engine: Engine, settings: Settings, *, keys: Keys | None = None, hosts: Collection[str] | None = None
) -> FastAPI:
    """The application. Other routes may be added: `app.state` has `engine`, `admission`, `service` and `settings`, and
    `request.state.key` is the name under which a request waits:

        async with app.state.admission.enter(request.state.key, budget) as ticket:
            task.meter = ticket.meter

    Args:
        keys, hosts: see Guard.
    """
    app = FastAPI(title="System-2 engine", version="1", description="An OpenAI-compatible server whose completions "
                  "think.", docs_url=None, redoc_url=None,  # those pages run scripts of another server
                  responses={401: REFUSALS[401]} if keys else {})
    admission = Admission(settings.at_once, settings.queue, settings.max_wait)
    metrics = Metrics(engine, admission)
    service = Service(engine, settings, admission, metrics)
    app.state.engine, app.state.settings = engine, settings
    app.state.admission, app.state.service = admission, service
    app.add_middleware(Guard, settings=settings, keys=keys or Keys(), hosts=hosts, metrics=metrics)
    install(app)
    _thinking_routes(app, service)
    _other_routes(app, service, metrics)
    app.router.routes += viewer.routes(service)
    return app


def _thinking_routes(app: FastAPI, service: Service) -> None:
    settings = service.settings

    async def answered(request: Request, work: Any) -> Any:
        return await while_connected(request.receive, work)

    @app.post("/v1/chat/completions", response_model=chat.ChatCompletion, responses=_thinking_answers())
    async def chat_completions(body: ChatRequest, request: Request) -> HttpResponse:
        """Think about the last message of the user. With `stream`, better answers come as reasoning_content."""
        ask = replace(ask_of_chat(body, settings), arrived=request.state.arrived)
        key, said = request.state.key, request.state.said
        if body.stream:
            counted = body.stream_options is not None and bool(body.stream_options.include_usage)
            return Events(chat.chunks(service, ask, key, said, counted))
        try:
            outcome = await answered(request, _think(service, ask, key))
        except Gone:
            return HttpResponse(status_code=GONE)
        said.update(chat.summary(outcome))
        return Json(chat.completion(settings.model, outcome))

    @app.post("/v1/responses", response_model=responses.Response, responses=_thinking_answers())
    async def create_response(body: ResponseRequest, request: Request) -> HttpResponse:
        """Think about the input, or its last message of the user. With `stream`, better answers come as a summary."""
        ask = replace(ask_of_response(body, settings), arrived=request.state.arrived)
        key, said = request.state.key, request.state.said
        if body.stream:
            return Events(responses.events(service, body, ask, key, said))
        try:
            outcome = await answered(request, _think(service, ask, key))
        except Gone:
            return HttpResponse(status_code=GONE)
        said.update(chat.summary(outcome))
        return Json(responses.Form(body).response("completed", outcome))


def _thinking_answers() -> dict[int | str, dict[str, Any]]:
    stream = {"text/event-stream": {"schema": {"type": "string"}}}
    return {200: {"content": stream, "description": "An answer, or a stream of events"}, **REFUSALS}


async def _think(service: Service, ask: Ask, key: str) -> Outcome:
    async with service.session(ask, key) as session:
        async for _ in session.reasoning():
            pass
    return session.outcome


def _other_routes(app: FastAPI, service: Service, metrics: Metrics) -> None:
    served = Model(id=service.settings.model, object="model", created=0, owned_by="system-2")

    @app.get("/v1/models")
    async def list_models() -> Models:
        """What `model` may be."""
        return Models(object="list", data=[served])

    @app.get("/v1/models/{model:path}", responses={404: REFUSALS[404]})
    async def retrieve_model(model: str) -> Model:
        """One of them."""
        check_model(model, service.settings)
        return served

    _health_routes(app, service)

    @app.get("/metrics", response_class=HttpResponse,
             responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Metrics"}})
    async def prometheus() -> HttpResponse:
        """For Prometheus."""
        return HttpResponse(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _health_routes(app: FastAPI, service: Service) -> None:
    unwell: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "It cannot"}}
    stopped = Health(status="stopped", reason="the decoder has stopped")

    def told(health: Health) -> HttpResponse:
        return Json(health.model_dump(), 200 if health.status == "ok" else 503)

    @app.get("/livez", response_model=Health, responses=unwell)
    async def alive() -> HttpResponse:
        """Does the process work, whatever becomes of the servers it asks? If not, it must be started anew."""
        return told(Health(status="ok") if service.engine.alive else stopped)

    @app.get("/readyz", response_model=Health, responses=unwell)
    @app.get("/health", response_model=Health, responses=unwell)
    async def ready() -> HttpResponse:
        """Can requests be served now? For load balancers."""
        if service.admission.closed:
            return told(Health(status="stopping", reason="the server is stopping and admits nobody"))
        if not service.engine.alive:
            return told(stopped)
        trouble = service.engine.trouble()
        return told(Health(status="ok") if trouble is None else Health(status="degraded", reason=trouble))
