"""The tool as a program of somebody else sees it: the official client, over a process's stdin and stdout."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult

from commands.engine import Engine, composed
from commands.mcp import Thinker, make_server
from policy.budget import Budget

ROOT = Path(__file__).resolve().parents[2]
ENTRY = str(ROOT / "run_experiment.py")
LONG = "What is 1717 * 2424?"  # nothing is proved in arithmetic: it is thought about until the budget ends


@asynccontextmanager
async def over_stdio(*options: str) -> AsyncIterator[Client]:
    environment = {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
    async with Client(StdioServerParameters(command=sys.executable, args=[ENTRY, "mcp", *options],
                                            env=environment)) as client:
        yield client


@asynccontextmanager
async def inside(*options: str, limit: str = "1m", at_once: int = 8) -> AsyncIterator[tuple[Client, Engine]]:
    """The same server in this process."""
    config = composed("mcp", ["policy=uniform", *options])
    with Engine(config) as engine:
        server = make_server(Thinker(engine, 0, Budget.parse(limit), at_once), engine.domains)
        async with Client(server) as client:
            yield client, engine


def text(result: CallToolResult) -> str:
    return "".join(part.text for part in result.content if part.type == "text")


async def test_a_client_thinks_over_stdio() -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async with over_stdio("policy=uniform", "search=tot_dfs") as client:
        [tool] = (await client.list_tools()).tools
        assert tool.name == "think" and "2x + 3 = 7" in (tool.description or "")
        assert set(tool.input_schema["properties"]) == {"problem", "budget", "domain", "search"}
        assert tool.input_schema["required"] == ["problem"]
        found = await client.call_tool("think", {"problem": "1 2 3 4", "budget": "5000tok"})
        told = found.structured_content or {}
        assert not found.is_error and told["verified"] and told["domain"] == "game24"
        assert set(told) == {"answer", "verified", "confidence", "thoughts", "domain", "spent", "failed"}
        assert set(told["spent"]) == {"seconds", "tokens", "simulations"} and len(told["thoughts"]) == 3
        assert json.loads(text(found)) == told
        slow = {"problem": LONG, "budget": "2s", "search": "best_of_n"}
        assert not (await client.call_tool("think", slow, progress_callback=hear)).is_error
        refused = await client.call_tool("think", {"problem": "what is love"})
        assert refused.is_error and "game24 reads four numbers" in text(refused)
    shares = [progress for progress, _, _ in heard]
    assert shares and shares == sorted(set(shares)) and all(0 < share <= 1 for share in shares)
    assert {total for _, total, _ in heard} == {1.0} and all(message for _, _, message in heard)


@pytest.mark.parametrize(("arguments", "allowed"), [
    ({"problem": ""}, "the problem is empty"),
    ({"problem": "1 2 3 4", "budget": "soon"}, "allowed: 10s"),
    ({"problem": "1 2 3 4", "domain": "nothing"}, "game24"),
    ({"problem": "def f(x):", "domain": "humaneval"}, "game24"),
    ({"problem": "1 2 3 4", "domain": "custom"}, "game24"),
    ({"problem": "1 2 3 4", "search": "../mcts"}, "allowed: beam"),
    ({"problem": "2x = 4", "domain": "game24"}, "game24 cannot read"),
    ({"problem": 5}, "problem"),
    ({}, "problem"),
])
async def test_refusals_are_errors_of_the_tool(arguments: dict[str, Any], allowed: str) -> None:
    async with inside() as (client, _):
        result = await client.call_tool("think", arguments)
        assert result.is_error and allowed in text(result) and "Traceback" not in text(result)


async def test_a_domain_that_is_given_is_the_one_that_is_told_of() -> None:
    async with inside("domain=countdown6") as (client, _):
        [tool] = (await client.list_tools()).tools
        assert "- countdown6: " in (tool.description or "")
        found = await client.call_tool("think", {"problem": "1 2 3 4 5 6 -> 100", "budget": "3000tok",
                                                 "domain": "countdown6"})
        assert not found.is_error and (found.structured_content or {})["domain"] == "countdown6"


async def test_cancelling_a_call_ends_its_thinking() -> None:
    async with inside("search=best_of_n", limit="1h", at_once=1) as (client, _):
        before = asyncio.all_tasks()
        call = asyncio.create_task(client.call_tool("think", {"problem": LONG, "budget": "1h"}))
        await asyncio.sleep(0.4)
        assert not call.done()
        call.cancel()
        await asyncio.wait({call})
        # Its turn is over: the next call's has come.
        after = await asyncio.wait_for(client.call_tool("think", {"problem": "1 2 3 4", "budget": "300tok"}), 20)
        assert not after.is_error and asyncio.all_tasks() <= before


async def test_no_call_thinks_longer_than_the_limit() -> None:
    async with inside("search=best_of_n", limit="400tok") as (client, _):
        told = (await client.call_tool("think", {"problem": LONG, "budget": "1h"})).structured_content or {}
        assert 0 < told["spent"]["tokens"] <= 400 and not told["verified"]


async def test_calls_wait_for_their_turn() -> None:
    async with inside("search=best_of_n", at_once=1) as (client, _):
        calls = [client.call_tool("think", {"problem": LONG, "budget": "300ms"}) for _ in range(3)]
        found = await asyncio.gather(*calls)
        assert all((each.structured_content or {})["spent"]["tokens"] > 0 for each in found)


@pytest.mark.heavy
async def test_a_cancelled_call_over_stdio_stops_using_the_processor() -> None:
    async with over_stdio("policy=uniform", "search=best_of_n", "limit=1h", "at_once=1") as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.call_tool("think", {"problem": LONG, "budget": "1h"}), 1)
        after = await asyncio.wait_for(client.call_tool("think", {"problem": "1 2 3 4", "budget": "300tok"}), 30)
        assert not after.is_error


@pytest.mark.parametrize("how", ["the end of stdin", "Ctrl-C"])
def test_the_server_ends(how: str) -> None:
    server = subprocess.Popen([sys.executable, ENTRY, "mcp", "policy=uniform"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    assert server.stdin is not None and server.stdout is not None
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    print(json.dumps(request), file=server.stdin, flush=True)
    assert json.loads(server.stdout.readline())["result"]["serverInfo"]["name"] == "system-2-engine"
    if how == "Ctrl-C":
        server.send_signal(signal.SIGINT)
        server.wait(30)
    out, err = server.communicate(timeout=30)
    assert server.returncode == (-signal.SIGINT if how == "Ctrl-C" else 0) and out == "" and "Traceback" not in err


def test_bad_options_are_one_line(run) -> None:
    for option, named in (("limit=soon", "'soon'"), ("at_once=0", "at_once"), ("policy=none", "shipped"),
                          ("seed=x", "seed"), ("limits=1m", "limit")):
        assert named in run("mcp", option).complaint
