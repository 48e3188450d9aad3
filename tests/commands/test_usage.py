"""What served policies were asked for stands in what `solve` says, against a stand-in that counts for itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commands.usage import as_usage, asked_for_it, asked_of_servers, together, usage_in_words
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


def test_of_several_problems_each_tells_its_own(run: Callable, standin: Standin, tmp_path: Path) -> None:
    (tmp_path / "some.jsonl").write_text("".join(
        json.dumps({"problem": problem, "domain": "game24"}) + "\n" for problem in ("4 9 10 13", "1 2 3 4", "2 3 4 5")))
    done = run("solve", "--from", "some.jsonl", *options(standin, "output=json", "policy.price_in=2",
                                                        "policy.price_out=8", "policy.retries=1")[1:])
    assert len(done.objects) == 3, done
    own = [told["usage"] for told in done.objects]
    assert all(usage["requests"] > 0 and usage["prompt_tokens"] > 0 and usage["cost"] > 0 for usage in own)
    total, start = done.objects[-1]["usage_so_far"], (1, 10, 14)  # one request at the start, for two samples
    for (name, first) in zip(("requests", "prompt_tokens", "completion_tokens"), start, strict=True):
        first += name == "requests"  # and the list of models
        assert total[name] - first == sum(usage[name] for usage in own), name
    for problem, usage in zip(("4 9 10 13", "1 2 3 4", "2 3 4 5"), own, strict=True):
        about = [asked for asked in standin.posts if problem in str(asked.body.get("prompt", ""))]
        assert usage["prompt_tokens"] == 10 * len(about)


def test_what_asks_for_nothing_of_a_server_is_told_as_nothing() -> None:
    total = {"requests": 3, "retries": 0, "prompt_tokens": 5, "completion_tokens": 7, "cost": 0.5}
    nothing = {name: 0 for name in total}
    assert asked_for_it([], total) == nothing and asked_for_it([], None) is None
    assert asked_for_it([], {**total, "cost": None}) == {**nothing, "cost": None}


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


def answered(server: Standin) -> int:
    return sum("prompt" in asked.body for asked in server.posts)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.heavy)])
def test_an_evaluation_tells_what_all_its_processes_asked(
    run: Callable, standin: Standin, tmp_path: Path, workers: int
) -> None:
    done = run("evaluate", *options(standin)[1:], "limit=4", f"workers={workers}", "hydra.run.dir=kept", "concurrent=1",
               "policy.price_in=2", "policy.price_out=8")
    assert done.code == 0, done
    [line] = [line for line in done.out.splitlines() if line.startswith("asked of the server: ")]
    used = json.loads((tmp_path / "kept" / "summary.json").read_text())["usage"]
    assert used == json.loads((tmp_path / "kept" / "manifest.json").read_text())["usage"]
    # A process that was never handed a problem has not told of the few tokens that it asked for at its start.
    assert 0 <= answered(standin) - used["prompt_tokens"] // 10 <= workers - 1
    assert f"{used['requests']} requests" in line and f"cost {used['cost']:.6g}" in line and used["cost"] > 0


def test_a_comparison_tells_it_and_one_that_has_nothing_left_to_do_changes_nothing(
    run: Callable, standin: Standin, tmp_path: Path
) -> None:
    same = f"{{policy: openai, base_url: '{standin.url}', model: some, api_key_env: null}}"
    asked = ("compare", f"policies={{one: {same}, two: {same}}}", "searches=greedy",
             "budgets=[100tok]", "count=3", "control=false", "domain=game24", "run=mine")
    assert run(*asked).code == 0
    manifest = (tmp_path / "mine" / "manifest.json").read_text()
    used = json.loads(manifest)["usage"]
    assert used["requests"] >= answered(standin) > 2 and used["cost"] is None
    assert used["prompt_tokens"] == 10 * answered(standin)
    assert json.loads(manifest)["attempts"][-1]["usage"] == used
    assert run(*asked).code == 0 and (tmp_path / "mine" / "manifest.json").read_text() == manifest


def test_a_comparison_prices_prompts_too_whoever_asked_before(run: Callable, standin: Standin, tmp_path: Path) -> None:
    one = f"{{policy: openai, base_url: '{standin.url}', model: some, api_key_env: null, price_in: 2, price_out: 8}}"
    asked = ("compare", f"policies={{one: {one}}}", "searches={first: greedy, again: greedy}", "budgets=[100tok]",
             "count=3", "control=false", "domain=game24", "run=mine")
    done = run(*asked)
    assert done.code == 0 and "prompt tokens" in done.out and "tokens generated, prompt tokens and hours" in done.out
    folder = tmp_path / "mine"
    rows = json.loads((folder / "comparison.json").read_text())["rows"]
    used = json.loads((folder / "manifest.json").read_text())["usage"]
    for row in rows:
        assert row["prompt_tokens"] > 0
        assert row["dollars"] == pytest.approx((2 * row["prompt_tokens"] + 8 * row["tokens"]) / 1e6)
    assert rows[0]["prompt_tokens"] == rows[1]["prompt_tokens"]
    # All that was asked, but for the first few tokens of the server: greedy searches draw nothing in vain.
    assert used["prompt_tokens"] - 3 * sum(row["prompt_tokens"] for row in rows) in (10, 20)
    # Other prices make another table of the same answers; those of the command line stand before the policy's.
    posts = len(standin.posts)
    dearer = run(*asked, "prices={one: {per_million_tokens: 0, per_million_prompt_tokens: 1000000}}")
    assert dearer.code == 0 and len(standin.posts) == posts
    rows = json.loads((folder / "comparison.json").read_text())["rows"]
    assert rows[0]["dollars"] == pytest.approx(rows[0]["prompt_tokens"])


def test_attempts_are_added_up() -> None:
    one = {"requests": 2, "retries": 0, "prompt_tokens": 10, "completion_tokens": 7, "cost": 0.5}
    assert together([one, one]) == {name: 2 * value for name, value in one.items()} and together([]) is None
    both = together([one, {**one, "cost": None}])
    assert both is not None and both["cost"] is None and both["requests"] == 4
