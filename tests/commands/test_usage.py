"""What served policies were asked for stands in what `solve` says, against a stand-in that counts for itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commands.usage import as_usage, asked_of_servers, usage_in_words
from tests.policy.served.standin import Standin, says


@pytest.fixture
def standin() -> Iterator[Standin]:
    server = Standin()
    yield server
    server.close()


def options(server: Standin, *more: str) -> list[str]:
    return ["4 9 10 13", "domain=game24", "policy=openai", f"policy.base_url={server.url}", "policy.model=some",
            "policy.api_key_env=null", "budget=400tok", "search=mcts", *more]


def test_json_tells_what_was_asked_and_what_it_cost(run: Callable, standin: Standin, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    prices = ("policy.price_in=2", "policy.price_out=8")
    done = run("solve", *options(standin, "output=json", *prices, f"run_dir={folder}"))
    assert done.objects, done
    (told,) = done.objects
    usage = told["usage"]
    answered = [asked for asked in standin.posts if "n" in asked.body or "prompt" in asked.body]
    assert usage["requests"] >= len(answered) > 1 and usage["retries"] == 0
    assert usage["prompt_tokens"] == 10 * len(answered)  # the stand-in says 10 for each request
    assert usage["completion_tokens"] == sum(7 * asked.body.get("n", 1) for asked in answered)
    assert usage["cost"] == pytest.approx((2 * usage["prompt_tokens"] + 8 * usage["completion_tokens"]) / 1e6)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "finished" and manifest["usage"] == usage


def test_text_tells_it_in_its_last_line_retries_too(run: Callable, standin: Standin) -> None:
    standin.next.append(says(500, {"error": {"message": "passing"}}))
    done = run("solve", *options(standin))
    assert done.out, done
    last = done.out.splitlines()[-1]
    assert last.startswith("asked of the server: ") and "(1 retries)" in last and "cost" not in last


def test_a_policy_around_a_served_one_tells_it(run: Callable, standin: Standin) -> None:
    done = run("solve", *options(standin, "output=json", "values=agreement", "budget=2000tok"))
    assert done.objects and done.objects[0]["usage"]["requests"] > 1, done


def test_without_a_server_nothing_is_said(run: Callable) -> None:
    done = run("solve", "4 9 10 13", "domain=game24", "policy=uniform", "budget=200tok", "output=json")
    assert "usage" not in done.objects[0]


def test_a_cost_that_one_policy_does_not_know_is_not_told() -> None:
    class Asked:
        def __init__(self, cost: float | None) -> None:
            self.requests, self.retries, self.prompt_tokens, self.completion_tokens, self.cost = 1, 0, 5, 7, cost

    class Asking:
        def __init__(self, *costs: float | None) -> None:
            self.usages = tuple(Asked(cost) for cost in costs)

    priced = Asking(0.5, 0.25)
    whole = asked_of_servers([priced, priced])  # type: ignore[list-item]  # one that is shared counts once
    assert whole is not None and (whole["requests"], whole["cost"]) == (2, 0.75)
    assert "cost 0.75" in usage_in_words(whole)
    part = asked_of_servers([priced, Asking(None)])  # type: ignore[list-item]
    assert part is not None and part["cost"] is None
    assert asked_of_servers([object()]) is None and as_usage(None) == {}  # type: ignore[list-item]
