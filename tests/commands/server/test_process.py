"""Places, clients that leave, and the end of the process."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from openai import APIStatusError, AsyncOpenAI, RateLimitError

from commands.compose import CONF, load_domain
from commands.engine import load
from commands.serve import _readable
from commands.server.app import _think, create_app
from commands.server.events import Gone, while_connected
from commands.server.requests import Ask
from commands.server.settings import Settings
from policy.budget import Budget
from tests.commands.server.conftest import NEVER, Served
from tests.policy.chatty import write_chatty

CHAT = "/v1/chat/completions"


def asking(server: Served, seconds: float, stream: bool = False) -> http.client.HTTPConnection:
    """A request under way."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    body = {"model": "system-2", "messages": [{"role": "user", "content": NEVER}], "stream": stream,
            "thinking_budget": f"{seconds}s"}
    connection.request("POST", CHAT, json.dumps(body), {"Content-Type": "application/json"})
    return connection


def test_who_finds_all_places_taken_waits_and_is_told(server: Served) -> None:
    waiting = [asking(server, 1.0) for _ in range(4)]  # two places, and two may wait
    server.wait("waiting", 2)
    with pytest.raises(RateLimitError) as refused:
        server.client().chat.completions.create(model="system-2", messages=[{"role": "user", "content": NEVER}])
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 3 and refused.value.code == "rate_limit_exceeded"
    thinking = [json.loads(one.getresponse().read())["thinking"] for one in waiting]
    queued = sorted(one["queue_seconds"] for one in thinking)
    assert queued[2] - queued[1] > 0.5 and all(0.95 < one["seconds"] < 5 for one in thinking), thinking
    assert server.gauge("thinking") == server.gauge("waiting") == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_place(server: Served, stream: bool) -> None:
    gone = [asking(server, 19.0, stream) for _ in range(3)]
    server.wait("waiting", 1)
    for one in gone:
        assert one.sock is not None
        one.sock.close()
        one.close()
    assert server.wait("thinking", 0) < 1.0 and server.gauge("waiting") == 0


def test_a_client_that_leaves_a_stream_in_the_middle(server: Served) -> None:
    stream = server.client().chat.completions.create(
        model="system-2", messages=[{"role": "user", "content": "738*46+(917-58)*23"}], stream=True,
        extra_body={"thinking_budget": "19s"})
    next(iter(stream))
    assert server.gauge("thinking") == 1
    stream.close()
    assert server.wait("thinking", 0) < 1.0


async def test_a_client_that_leaves_frees_its_rows_within_a_token() -> None:
    with load("policy=shipped", "policy.threads=1") as engine:
        service = create_app(engine, Settings()).state.service
        [decoder] = engine._decoders()
        steps, step = 0, decoder.scheduler.step

        def counted() -> None:
            nonlocal steps
            steps += 1
            step()

        decoder.scheduler.step = counted
        leaves = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await leaves.wait()
            return {"type": "http.disconnect"}

        async def left() -> int:
            """Steps decoded between the client's leaving and the end of the last row."""
            while engine.rows < 2:
                await asyncio.sleep(0.01)
            leaves.set()
            before = steps
            while engine.rows:
                await asyncio.sleep(0)
            return steps - before

        asks = [Ask(f"{n} 1 1 1 2 2 -> 9999", Budget(seconds=60.0), None, None, 0) for n in (1, 2)]
        thinking = [while_connected(receive, _think(service, ask, "somebody")) for ask in asks]
        taken, *gone = await asyncio.gather(left(), *thinking, return_exceptions=True)
        assert [type(one) for one in gone] == [Gone, Gone]
        assert taken <= 2, taken  # the step under way, and the one that clears the seats
        assert service.admission.thinking == 0


async def test_at_the_end_those_who_think_answer_and_those_who_wait_are_refused(start: Callable[..., Any]) -> None:
    with start() as served:
        async with AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
            def ask(stream: bool) -> Any:
                return client.chat.completions.create(
                    model="system-2", messages=[{"role": "user", "content": "738*46+(917-58)*23"}], stream=stream,
                    extra_body={"thinking_budget": "19s"})

            async def streamed() -> list[Any]:
                return [chunk async for chunk in await ask(True)]

            whole, chunks = asyncio.create_task(ask(False)), asyncio.create_task(streamed())
            await asyncio.sleep(0.5)
            waiting = asyncio.create_task(ask(False))
            await asyncio.to_thread(served.wait, "waiting", 1)
            started = time.monotonic()
            served.process.send_signal(signal.SIGTERM)
            with pytest.raises(APIStatusError) as refused:
                await waiting
            assert refused.value.status_code == 503 and refused.value.code == "stopping"
            done, pieces = await whole, await chunks
            assert time.monotonic() - started < 5  # long before settings.stop_within
            assert done.choices[0].message.content.isdecimal() and done.thinking["seconds"] < 15
            assert pieces[-1].choices[0].finish_reason == "stop"
        assert await asyncio.to_thread(served.process.wait, 10) == 0
        assert time.monotonic() - started < 10  # settings.stop_within


@pytest.mark.parametrize(("options", "said"), [
    (["host=0.0.0.0"], "without an API key"),
    (["host=::", "allow_open=maybe"], "without an API key"),
    (["host=nowhere.invalid"], "there is no address"),
    (["port=-1"], "port='-1'"),
    (["port=99999"], "99999"),
    (["api_keys_file=nowhere"], "No such file"),
    (["settings.at_once=0"], "at_once must be positive"),
    (["settings.at_onse=1"], "did you mean 'at_once'"),
    (["settings.max_budget=9tok"], "names no seconds"),
])
def test_a_server_that_cannot_be(run: Callable[..., Any], options: list[str], said: str) -> None:
    assert said in run("serve", *options, *([] if options[0].startswith("port") else ["port=0"])).complaint


def test_a_port_that_is_taken(server: Served, run: Callable[..., Any]) -> None:
    assert "cannot listen on 127.0.0.1" in run("serve", f"port={server.port}").complaint


def test_what_is_thought_about_before_anybody_comes() -> None:
    """Domains of data sets have no problems without a file, and can be served all the same."""
    gsm8k = OmegaConf.load(CONF / "domain" / "gsm8k.yaml")
    assert _readable(load_domain(gsm8k)) == "What is 1 + 1?"
    game = load_domain(OmegaConf.load(CONF / "domain" / "game24.yaml"))
    assert game.parse(_readable(game)) is not None


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_an_instruct_model_answers_free_questions(start: Callable[..., Any], tmp_path: Path) -> None:
    """As somebody's own model is served: no data set, no shipped policy."""
    model = write_chatty(tmp_path / "model", "llama")
    with start("domain=gsm8k", "policy=transformer", f"policy.path={model}", "policy.threads=1",
               "policy.max_thought_tokens=16") as served:
        done = served.client().chat.completions.create(
            model="system-2", messages=[{"role": "user", "content": "Tom has 3 apples and buys 4. How many?"}],
            extra_body={"thinking_budget": "600tok"})
        assert done.usage.completion_tokens > 100 and done.thinking["domain"] == "gsm8k"
