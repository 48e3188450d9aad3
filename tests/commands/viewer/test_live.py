from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from commands.viewer.live import searchers
from tests.commands.viewer.app import KEY


def post(address: str, body: Any, key: str | None = KEY, kind: str = "application/json") -> Any:
    headers = {"Content-Type": kind} | ({} if key is None else {"Authorization": f"Bearer {key}"})
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return urllib.request.urlopen(urllib.request.Request(f"{address}/api/think", text, headers), timeout=60)


def state(address: str) -> dict[str, int]:
    asked = urllib.request.Request(f"{address}/state", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return dict(json.load(answer))


def nobody_thinks(address: str) -> bool:
    deadline = time.monotonic() + 20
    while state(address)["inside"] and time.monotonic() < deadline:
        time.sleep(0.1)
    return state(address)["inside"] == 0


def test_a_stream_tells_of_the_whole_search(server: str) -> None:
    asked = {"problem": "1 2 3 4", "budget": "5000tok", "search": "mcts", "seed": 3}
    with post(server, asked) as answer:
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        told = [json.loads(line) for line in answer]
    assert [told[0]["type"], told[-1]["type"]] == ["begin", "end"] and told[0]["about"]["domain"] == "game24"
    deltas = told[1:-1]
    numbers = [node["id"] for delta in deltas for node in delta["nodes"]]
    assert {delta["type"] for delta in deltas} == {"delta"} and numbers == list(range(len(numbers)))
    answers = [answer for delta in deltas for answer in delta["answers"]]
    assert told[-1]["result"]["verified"] and answers[-1]["text"] == told[-1]["result"]["answer"]
    assert nobody_thinks(server)


@pytest.mark.parametrize(("body", "part"), [
    ({}, "no problem"), ([], "JSON object"), (b"{", "not JSON"), (b"[" * 10_000, "JSON"), ({"problem": 3}, "a text"),
    ({"problem": "1 2 3 4", "seed": True}, "whole number"), ({"problem": "1 2 3 4", "extra": 1}, "extra"),
    ({"problem": "1 2 3 4", "budget": "2h"}, "up to 60s"), ({"problem": "1 2 3 4", "budget": "soon"}, "soon"),
    ({"problem": "1 2 3 4", "search": "../x"}, "no search"), ({"problem": "1 2 3 4", "domain": "no"}, "no domain"),
    ({"problem": "what is love"}, "no domain can read"), ({"problem": "\ud800"}, "Unicode"), ({"problem": ""}, "empty"),
    ({"problem": "1" * 70_000}, "too large"),
    ({"problem": "1" * 3_000}, "allowed: 2000"), ({"problem": "1 2 3 4", "seed": 2**40}, "at most"),
])
def test_refusals_are_one_line(server: str, body: Any, part: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(server, body)
    message = json.load(refused.value)["error"]["message"]
    assert refused.value.code == 400 and part in message and "\n" not in message


def test_what_is_thought_here_is_counted(server: str) -> None:
    def counted() -> tuple[float, float]:
        asked = urllib.request.Request(f"{server}/metrics", headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
        path = 'system2_requests_total{path="/api/think",status="200"}'
        return float(lines.get(path, 0)), float(lines["system2_thinking_seconds_count"])

    before = counted()
    with post(server, {"problem": "1 2 3 4", "budget": "5000tok"}) as answer:
        answer.read()
    assert nobody_thinks(server) and counted() == (before[0] + 1, before[1] + 1)


def test_who_may_think_is_the_admissions_word(server: str) -> None:
    for key in (None, "guess"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(server, {"problem": "1 2 3 4"}, key)
        assert refused.value.code == 401
    with pytest.raises(urllib.error.HTTPError) as form:
        post(server, {"problem": "1 2 3 4"}, kind="text/plain")
    assert form.value.code == 400


def test_thinking_ends_when_the_client_goes_away(server: str) -> None:
    answer = post(server, {"problem": "738*46+(917-58)*23", "budget": "50s", "search": "levin"})
    assert json.loads(answer.readline())["type"] == "begin" and json.loads(answer.readline())["type"] == "delta"
    assert state(server)["inside"] == 1
    answer.close()
    assert nobody_thinks(server)


def test_the_page_asks_watches_and_stops(server: str, visit: Callable[..., Page]) -> None:
    shown = visit(server)
    expect(shown.locator("#empty")).to_be_visible()
    shown.fill("#ask-problem", "738*46+(917-58)*23")
    shown.click("#think")
    expect(shown.locator("#trouble")).to_contain_text("the API key is missing or wrong")
    shown.fill("#ask-key", KEY)
    shown.fill("#ask-problem", "what is love")
    shown.keyboard.press("Enter")
    expect(shown.locator("#trouble")).to_contain_text("no domain can read")
    shown.fill("#ask-problem", "738*46+(917-58)*23")
    shown.locator("#ask-budget").fill("100")
    expect(shown.locator("#ask-budget-shown")).to_have_text("60 s")
    assert shown.locator("#ask-search option").all_inner_texts() == searchers()
    shown.select_option("#ask-domain", "arithmetic")
    shown.click("#think")
    shown.wait_for_function("() => viewer.model.nodes.length > 20")
    before = shown.evaluate("viewer.model.nodes.length")
    shown.wait_for_function("before => viewer.model.nodes.length > before", arg=before)
    assert state(server)["inside"] == 1
    expect(shown.locator("#eyebrow")).to_contain_text("arithmetic")
    shown.focus("#tree")
    shown.keyboard.press("ArrowRight")
    assert shown.evaluate("viewer.view.selected.depth") == 1
    shown.click("#stop")
    expect(shown.locator("#stop")).to_be_hidden()
    expect(shown.locator("#trouble")).to_be_hidden()
    assert nobody_thinks(server)
    assert shown.evaluate("Object.keys(localStorage).length + document.cookie.length") == 0
    assert shown.evaluate("viewer.model.nodes.length") >= before
