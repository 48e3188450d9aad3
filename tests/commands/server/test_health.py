"""Alive and ready are different things: a model's server that is away is no reason to start anew."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from commands.engine import Engine, SearchFailed, load
from commands.server.app import create_app
from commands.server.settings import Settings
from policy.served import policy as served
from policy.worker import Worker
from tests.policy.served.standin import Standin, says

SAID = "the model's server answers with status 500"


@pytest.fixture
def standin() -> Iterator[Standin]:
    server = Standin()
    yield server
    server.close()


def asking(standin: Standin) -> Engine:
    return load("policy=openai", f"policy.base_url={standin.url}", "policy.model=some", "policy.api_key_env=null",
                "policy.retries=0", "domain=game24", "values=agreement", "search=greedy")


@pytest.fixture
def engine(standin: Standin) -> Iterator[Engine]:
    with asking(standin) as engine:
        yield engine


async def seen(app: FastAPI) -> dict[str, tuple[int, dict[str, Any]]]:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answers = {path: await client.get(f"/{path}") for path in ("livez", "readyz", "health")}
    return {path: (answer.status_code, answer.json()) for path, answer in answers.items()}


async def test_a_failure_that_was_seen_is_told_until_an_answer_comes(standin: Standin, engine: Engine) -> None:
    app = create_app(engine, Settings())
    well = (200, {"status": "ok", "reason": None})
    assert await seen(app) == {"livez": well, "readyz": well, "health": well}
    standin.next.append(says(500, {"error": {"message": "a secret"}}))
    with pytest.raises(SearchFailed):
        await engine.think_async("4 9 10 13", budget="1000tok")
    asked = len(standin.asked)
    away = (503, {"status": "degraded", "reason": SAID})
    assert await seen(app) == {"livez": well, "readyz": away, "health": away}
    assert len(standin.asked) == asked  # by what was heard; nobody is asked for every call
    standin.next.append(says(400, {"error": {"message": "context too long"}}))
    await engine.think_async("4 9 10 13", budget="1000tok", seed=1)  # a refusal of one request is an answer
    assert (await seen(app))["readyz"] == well


async def test_who_is_not_asked_for_long_is_looked_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "FRESH", 0.05)
    standin = Standin()
    with asking(standin) as engine:
        standin.close()
        deadline = time.monotonic() + 20
        while engine.trouble() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert engine.trouble() == "the model's server gives no answer" and engine.alive


async def test_a_server_that_is_back_is_found_without_a_request(
    standin: Standin, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.next.append(says(500, {}))
    with pytest.raises(SearchFailed):
        await engine.think_async("4 9 10 13", budget="1000tok")
    assert engine.trouble() == SAID
    monkeypatch.setattr(served, "FRESH", 0.05)
    posts, deadline = len(standin.posts), time.monotonic() + 20
    while engine.trouble() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(standin.posts) == posts  # only a look at its models


async def test_one_look_at_a_time(standin: Standin, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "FRESH", -1.0)
    begun: list[Any] = []
    begin = Worker.begin

    def counted(worker: Worker, coroutine: Any) -> Any:
        begun.append(begin(worker, coroutine))
        return begun[-1]

    monkeypatch.setattr(Worker, "begin", counted)
    for _ in range(200):
        before = [one for one in begun if not one.done()]
        engine.trouble()
        assert len(before) <= 1
    for one in begun:
        one.result(10)


async def test_what_stops_for_good_is_neither_alive_nor_ready(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(engine, Settings())
    monkeypatch.setattr(Engine, "alive", property(lambda _: False))
    gone = (503, {"status": "stopped", "reason": "the decoder has stopped"})
    assert await seen(app) == {"livez": gone, "readyz": gone, "health": gone}
    monkeypatch.undo()
    app.state.admission.close()
    told = await seen(app)
    assert told["livez"][0] == 200 and told["readyz"] == told["health"] and told["health"][1]["status"] == "stopping"
