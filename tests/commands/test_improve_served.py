"""Self-play on a server's model: it plays what the learner trains here, and wears each generation in its turn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from benchmarks.served.__main__ import serving
from policy.served.adapters import content_hash, name_of
from selfplay.store import Store
from tests.commands.conftest import ROOT
from tests.policy.served.standin import Standin, says

SHIPPED = ROOT / "policy" / "shipped"
SMALL = ("domain=game24", "selfplay.generations=2", "selfplay.problems=6", "selfplay.lines=2",
         "selfplay.match_problems=4", "budget=120tok", "threads=1", "training.max_steps=2",
         "training.batch_tokens=512", "replay.held_out=2", "curves.limit=2", "curves.budget=120tok",
         "curves.workers=1", "curves.of=ends", "scalars=none", "run=mine")  # fmt: skip


def asked(url: str, model: str, *more: str) -> list[str]:
    return ["policy=openai", f"policy.base_url={url}", f"policy.model={model}", "policy.api_key_env=null",
            f"training.base={SHIPPED}", *more]


@pytest.fixture
def standin() -> Iterator[Standin]:
    server = Standin()
    yield server
    server.close()


@pytest.mark.parametrize(("more", "told"), [
    (["training.base=null"], "training.base=FOLDER"),
    (["training.base=nowhere"], "nowhere"),
    (["selfplay=shared"], "selfplay=replica"),
    (["training=full", f"training.base={SHIPPED}"], "LoRA adapters only"),
    (["policy.adapter=nowhere"], "nowhere"),
    (["policy.api=chat", "policy.continuation=turns"], "policy.api=completions"),
    (["policy.system=conf/prompts/next_line.txt"], "policy.system=null"),
    (["objective=grpo", "policy.logprobs=false"], "objective=expert_iteration"),
])  # fmt: skip
def test_what_cannot_be_trained_is_one_line(
    run: Callable, standin: Standin, tmp_path: Path, more: list[str], told: str
) -> None:
    where = [] if "selfplay=shared" in more else ["selfplay=local"]
    result = run("improve", *asked(standin.url, "some"), *where, *more)
    assert told in result.complaint
    assert not list(tmp_path.rglob("*.parquet")) and not any("lora" in post.path for post in standin.posts)


def test_a_server_without_the_call_is_refused_before_anything_is_played(
    run: Callable, standin: Standin, tmp_path: Path
) -> None:
    standin.next += [standin.always, says(404, {"detail": "Not Found"})]
    told = run("improve", *asked(standin.url, "some"), *SMALL, "selfplay=local").complaint
    assert "loads no adapters" in told and "--enable-lora" in told
    assert standin.posts[-1].path == "/v1/load_lora_adapter" and not (tmp_path / "mine").exists()


def test_weights_of_its_own_are_the_ones_that_are_trained(run: Callable) -> None:
    assert "policy.path" in run("improve", f"training.base={SHIPPED}", "selfplay=local").complaint


def improve(place: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(ROOT / "run_experiment.py"), "improve", *options], cwd=place,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def versions(run: Path, generation: int, purpose: str) -> set[str]:
    rows = list(Store(str(run / "store")).read(generation, ["policy_version", "purpose", "status"]))
    assert all(row["status"] != "error" for row in rows)
    return {row["policy_version"] for row in rows if row["purpose"] == purpose}


@pytest.mark.heavy
@pytest.mark.parametrize("pool", ["selfplay=local", "selfplay=replica"])
def test_generations_are_played_on_one_server_and_a_killed_run_goes_on(tmp_path: Path, pool: str) -> None:
    with serving(str(SHIPPED)) as (url, model):
        options = [*asked(url, model), *SMALL, pool, "selfplay.workers=2", "selfplay.gate=false"]
        begun = improve(tmp_path, *options)
        run, limit = tmp_path / "mine", time.monotonic() + 300
        while not (run / "generation-1").exists() and begun.poll() is None and time.monotonic() < limit:
            time.sleep(0.05)
        os.killpg(begun.pid, signal.SIGKILL)
        said, _ = begun.communicate()
        assert (run / "generation-1").exists(), said
        done = improve(tmp_path, *options)
        said, _ = done.communicate(timeout=400)
        assert done.returncode == 0, said
        history = json.loads((run / "state.json").read_text())["history"]
        assert [row["generation"] for row in history if row["promoted"]] == [1, 2]
        first, second = versions(run, 1, "train"), versions(run, 2, "train")
        assert len(first) == len(second) == 1 and first != second
        names = {name_of(content_hash(run / f"generation-{number}")) for number in (1, 2)}
        with urlopen(f"{url}/models") as answer:
            listed = {entry["id"] for entry in json.load(answer)["data"]}
        assert names <= listed  # the second for its curve alone
        assert {folder.name for folder in (run / "curves").iterdir()} >= {"generation-0", "generation-2"}
        used = json.loads((run / "manifest.json").read_text())["usage"]
        curve = json.loads((run / "curves" / "generation-2" / "summary.json").read_text())["usage"]
        assert used["completion_tokens"] > 200 and curve["completion_tokens"] > 0


@pytest.mark.heavy
def test_a_match_is_played_through_the_server(tmp_path: Path) -> None:
    with serving(str(SHIPPED)) as (url, model):
        done = improve(tmp_path, *asked(url, model), *SMALL, "selfplay=local", "selfplay.generations=1",
                       "curves.of=none", "objective=grpo")
        said, _ = done.communicate(timeout=400)
        assert done.returncode == 0, said
        run = tmp_path / "mine"
        [row] = json.loads((run / "state.json").read_text())["history"]
        base, candidate = versions(run, 0, "match"), versions(run, 1, "match")
        assert row["errors"] == 0 and len(base) == len(candidate) == 1
        assert base == versions(run, 1, "train") and base != candidate
