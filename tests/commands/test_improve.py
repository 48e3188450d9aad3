"""The improve command: what it refuses in one line, a whole small run, and everything that is made of one."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from commands.manifest import write_json
from commands.progress import draw_improvement, read_improvement
from selfplay.state import Phase, State
from selfplay.store import Store
from tests.commands.conftest import ROOT

SHIPPED = ROOT / "policy" / "shipped"
SMALL = ("domain=game24", "selfplay=local", "selfplay.generations=1", "selfplay.problems=8", "selfplay.lines=2",
         "selfplay.match_problems=6", "budget=150tok", "threads=1", "policy.threads=1", "training.max_steps=3",
         "training.batch_tokens=512", "replay.held_out=2", "curves.limit=4", "curves.budget=150tok",
         "curves.workers=1", "curves.of=all", "run=mine")  # fmt: skip


@pytest.mark.parametrize(("options", "parts"), [
    (["domain=chess"], ["chess", "game24"]),
    (["selfplay.workers=0"], ["workers", "at least 1"]),
    (["selfplay.generations=0"], ["generations must be at least 1"]),
    (["selfplay.pool=cloud"], ["cloud", "ray, local"]),
    (["selfplay.layout=ring"], ["ring", "replica, shared"]),
    (["selfplay.confidence=2"], ["confidence"]),
    (["selfplay.problems=many"], ["selfplay.problems", "whole number"]),
    (["budget=10s"], ["budget='10s'", "tokens"]), (["match_budget=1s"], ["match_budget='1s'", "tokens"]),
    (["policy=uniform"], ["weights", "policy=shipped"]),
    (["policy.path=nowhere/at/all"], ["nowhere/at/all"]),
    (["policy.adapter=nowhere"], ["adapter", "nowhere"]),
    (["policy.adapters.game24=nowhere"], ["policy.adapters must be null"]),
    (["easier=countdown"], ["easier=[countdown]"]),
    (["easier=[game24]"], ["each domain once"]),
    (["objective=luck"], ["luck", "expert_iteration"]),
    (["training.optimiser=sgd"], ["optimiser", "adamw, muon"]),
    (["+experiment=unheard"], ["unheard", "smoke"]),
    (["curves.of=some"], ["curves.of='some'", "ends"]), (["curves.budget=long"], ["long"]),
    (["curves.split=none_such"], ["none_such", "tot100"]), (["curves.limit=null", "domain=arithmetic"], ["no end"]),
    (["device=abacus", "selfplay=local"], ["abacus", "cpu"]),
    (["seed=-1"], ["seed"]), (["selfplay.lines=-1"], ["lines", "at least 0"]),
    (["selfplay.gpus=1.5"], ["gpus", "whole"]), (["selfplay.store=memory://x"], ["memory://x", "share"]),
    (["ray.address=6379"], ["ray.address='6379'", "HOST:PORT"]),
    (["ray.address=127.0.0.1:99999"], ["127.0.0.1:99999"]),
    (["domain=paying", "selfplay=local"], ["the reward of guess pays 100% of answers"]),
    (["domain=failing", "selfplay=local"], ["the verifier of guess fails on 100%"]),
    (["run=null"], ["run", "folder"]),
    (["ray.address=127.0.0.1:1"], ["cannot join the Ray cluster at '127.0.0.1:1'"]),
])  # fmt: skip
def test_bad_options_are_one_line_and_nothing_is_lost(run, tmp_path: Path, options: list[str], parts: list[str]):
    result = run("improve", *options)
    assert result.code == 2 and all(part in result.complaint for part in parts), result
    assert not list(tmp_path.rglob("*.parquet"))


def test_without_ray_there_is_the_local_pool(run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "ray", None)
    complaint = run("improve", "domain=game24").complaint
    assert "Ray is not installed" in complaint and "selfplay.pool=local" in complaint
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_start_that_cannot_be_trained_is_refused_before_anything_is_played(run, tmp_path: Path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    assert "export it first: run_experiment.py export ADAPTER out=FOLDER, then policy.path=FOLDER" in run(
        "improve", "training=full", "policy.adapter=adapter", "run=new").complaint
    assert "has no adapter_config.json, and an adapter is to be trained" in run(
        "improve", f"policy.adapter={SHIPPED}", "run=new").complaint
    (adapter / "engine.json").write_text('{"base_version": "abc"}')
    assert "was made for the base abc" in run("improve", "policy.adapter=adapter", "run=new").complaint
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run that has ended."""
    place = tmp_path_factory.mktemp("improve")
    done = subprocess.run([sys.executable, str(ROOT / "run_experiment.py"), "improve", *SMALL], cwd=place,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "generation 1: solve rate" in done.stderr and "1 generation; " in done.stdout
    return place / "mine"


@pytest.fixture
def mine(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, where `run` works."""
    shutil.copytree(finished, tmp_path / "mine", symlinks=True)
    return tmp_path / "mine"


def test_a_run_leaves_what_it_promises(finished: Path):
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["status"] == "finished" and manifest["hours"] == "CPU"
    state = json.loads((finished / "state.json").read_text())
    [row] = state["history"]
    assert row["played"] == 8 and row["errors"] == 0 and row["steps"] > 0 and state["generation"] == 2
    assert (finished / "generation-1" / "adapter_model.safetensors").is_file()
    assert any((finished / "scalars").iterdir())
    assert {folder.name for folder in (finished / "curves").iterdir()} >= {"generation-0"}
    assert (finished / "champion").exists() == row["promoted"]
    store = Store(str(finished / "store"))
    assert store.generations() == [0, 1]
    versions = {row["policy_version"] for row in store.read(1, ["policy_version", "purpose"]) if
                row["purpose"] == "train"}
    assert len(versions) == 1


def test_the_same_command_has_nothing_left_to_do(run, mine: Path):
    before = [(mine / name).read_bytes() for name in ("state.json", "manifest.json")]
    result = run("improve", *SMALL)
    assert result.code == 0
    assert [(mine / name).read_bytes() for name in ("state.json", "manifest.json")] == before


def test_what_is_done_later_is_another_attempt(run, mine: Path):
    manifest = json.loads((mine / "manifest.json").read_text())
    write_json(mine / "manifest.json", {**manifest, "git": {"revision": "old", "dirty": False}})
    assert run("improve", *SMALL, "curves.limit=2").code == 0  # new curves
    after = json.loads((mine / "manifest.json").read_text())
    assert after["git"]["revision"] == "old" and after["started"] == manifest["started"]
    assert [each["status"] for each in after["attempts"]] == ["finished", "finished"]
    assert run("report", "mine", "samples=50").code == 0 and "Attempts" in (mine / "report.html").read_text()


def test_a_run_of_another_configuration_is_refused_by_its_names(run, mine: Path):
    complaint = run("improve", *SMALL, "seed=1", "budget=200tok", "selfplay.workers=3").complaint
    assert "other settings of budget, seed;" in complaint


def test_two_at_once_are_refused(run, mine: Path):
    with (mine / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another process is at work in mine" in run("improve", *SMALL).complaint


def test_an_adapter_of_another_base_is_refused(run, mine: Path):
    about = mine / "generation-1" / "engine.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "base_version": "abc"}))
    result = run("improve", *SMALL, "policy.adapter=mine/generation-1", "run=new")
    assert "was made for the base abc" in result.complaint


ROUNDING = 1e-3
"""By how much logits may differ (they are of some 10 nats), merged weights being rounded where an adapter adds."""


def logits(folder: Path, adapter: Path | None = None) -> torch.Tensor:
    """Of one sequence, by the libraries alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    with torch.no_grad():
        return model.eval()(torch.arange(5, 25)[None]).logits


@pytest.mark.parametrize("damage", ["not a number", "cut short", "gone"])
def test_a_candidate_whose_weights_were_damaged_is_refused(run, mine: Path, damage: str):
    state = State.load(mine)
    row = state.history.pop()
    state.current = {key: value for key, value in row.items() if key not in ("seconds", "core_hours")}
    state.generation, state.phase, state.champion, state.matches = 1, Phase.MATCH, 0, []
    state.save(mine)
    (mine / "champion").unlink(missing_ok=True)
    store = Store(str(mine / "store"))
    store.forget(1, [one["episode_id"] for one in store.read(1) if one["purpose"] == "match"])
    weights = mine / "generation-1" / "adapter_model.safetensors"
    if damage == "not a number":
        save_file({name: tensor * float("nan") for name, tensor in load_file(weights).items()}, weights)
    elif damage == "cut short":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        shutil.rmtree(mine / "generation-1")
    assert run("improve", *SMALL).code == 0
    [found] = State.load(mine).history
    assert not found["promoted"] and found["reason"].startswith("the candidate cannot be played: "), found["reason"]
    assert not (mine / "champion").exists()


def test_its_adapters_are_standard(run, mine: Path, tmp_path: Path):
    assert run("export", str(mine / "generation-1"), "out=merged").code == 0
    worn, merged, base = logits(SHIPPED, mine / "generation-1"), logits(tmp_path / "merged"), logits(SHIPPED)
    assert torch.allclose(worn, merged, rtol=0, atol=ROUNDING)
    assert (worn - base).abs().max() > 10 * ROUNDING and (merged - base).abs().max() > 10 * ROUNDING


def test_solve_uses_an_adapter_and_experts(run, mine: Path):
    plain = run("solve", "4 9 10 13", "domain=game24", "budget=300tok", "output=json").objects[0]
    worn = run("solve", "4 9 10 13", "domain=game24", "budget=300tok", "output=json",
               f"policy.adapter={mine}/generation-1").objects[0]
    expert = run("solve", "4 9 10 13", "domain=game24", "budget=300tok", "output=json",
                 f"policy.adapters.game24={mine}/generation-1").objects[0]
    other = run("solve", "4 9 10 13", "domain=game24", "budget=300tok", "output=json",
                f"policy.adapters.arithmetic={mine}/generation-1").objects[0]
    assert len({one["policy"] for one in (plain, worn, expert, other)}) == 4
    assert (logits(SHIPPED, mine / "generation-1") - logits(SHIPPED)).abs().max() > 10 * ROUNDING
    assert expert["thoughts"] == worn["thoughts"] and other["thoughts"] == plain["thoughts"]


def test_export_merges_an_adapter_into_a_plain_model(run, mine: Path, tmp_path: Path):
    assert run("export", str(mine / "generation-1"), "out=merged").code == 0
    assert (tmp_path / "merged" / "value_head.safetensors").is_file()
    said = [run("solve", "4 9 10 13", "domain=game24", "budget=300tok", "output=json", *options).objects[0]
            for options in (["policy=transformer", f"policy.path={tmp_path}/merged", "policy.max_thought_tokens=48"],
                            [f"policy.adapter={mine}/generation-1"])]
    assert said[0]["thoughts"] == said[1]["thoughts"]


@pytest.mark.parametrize(("words", "part"), [
    ([], "one adapter"), (["mine/generation-1"], "out is missing"), (["nowhere", "out=x"], "no adapter folder"),
    (["mine/generation-1", "out=x", "policy=uniform"], "weights"),
    (["mine/generation-1", "out=mine"], "mine is there already"),
    (["mine/generation-1", "out=mine/generation-1"], "mine/generation-1 is there already"),
    (["mine/generation-1", "out=mine/state.json"], "is there already"),
    (["mine/generation-1", "out=link"], "link is there already"),
    (["mine/generation-1", "out=dangling"], "dangling is there already"),
])  # fmt: skip
def test_export_refuses_and_destroys_nothing(run, mine: Path, tmp_path: Path, words: list[str], part: str):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "dangling").symlink_to("nothing")
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert part in run("export", *words).complaint
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_run_is_plotted(run, mine: Path):
    result = run("plot", "mine", "samples=50")
    assert result.code == 0 and result.out.split() == ["mine/improvement.png", "mine/improvement.svg"]
    assert (mine / "improvement.png").read_bytes().startswith(b"\x89PNG")
    figure = draw_improvement(read_improvement(mine), None, 50, 0)
    labels = {panel.get_xlabel() for panel in figure.axes}
    assert labels == {"generation", "CPU-hours", "thinking time [s]", "tokens generated"}
    drawn = {line.get_label() for line in figure.axes[1].lines} & {"generation 0", "generation 1"}
    assert "generation 0" in drawn


def test_a_run_is_reported_on_one_page_that_escapes_everything(run, mine: Path):
    state = json.loads((mine / "state.json").read_text())
    state["history"][0]["reason"] = "<script>alert(1)</script>\x1b[31m"
    (mine / "state.json").write_text(json.dumps(state))
    assert run("report", "mine", "samples=50").code == 0
    page = (mine / "report.html").read_text()
    assert "<script" not in page and "\x1b" not in page and "&lt;script&gt;" in page
    assert "data:image/png;base64," in page and not re.search(r"(?:src|href)=.(?!data:)|@import|url\(", page)


@pytest.mark.parametrize(("command", "words", "part"), [
    ("report", [], "one run of self-play"), ("report", ["."], "state.json is missing"),
    ("plot", ["mine", "mine"], "one run of self-play at a time"),
])  # fmt: skip
def test_plot_and_report_refuse(run, mine: Path, command: str, words: list[str], part: str):
    assert part in run(command, *words).complaint


def test_a_run_without_a_generation_has_nothing_to_show(run, mine: Path):
    state = json.loads((mine / "state.json").read_text())
    (mine / "state.json").write_text(json.dumps({**state, "history": []}))
    assert "no generation of the run in mine is over yet" in run("plot", "mine").complaint
    (mine / "state.json").write_text("{")
    assert "cannot read the run in mine" in run("report", "mine").complaint


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_the_smoke_experiment_is_a_whole_run_on_ray(tmp_path: Path):
    words = [str(ROOT / "run_experiment.py"), "improve", "+experiment=smoke", "run=smoke"]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    state = json.loads((tmp_path / "smoke" / "state.json").read_text())
    assert [row["generation"] for row in state["history"]] == [1, 2]
    assert sum(row["errors"] for row in state["history"]) == 0


@pytest.mark.heavy
@pytest.mark.parametrize(("options", "codes", "said"), [
    ((), [0, 0], ""), (("training.lr=inf",), [0, 0], "the weights are nan at step 1; try a smaller lr"),
    (("training.entropy_floor=9", "selfplay.problems=20"), [2, 0], "below entropy_floor=9"),
], ids=["to the end", "a refused candidate", "a failure"])
def test_a_second_process_trains_beside_the_first_and_does_nothing_else(
    tmp_path: Path, options: tuple[str, ...], codes: list[int], said: str
):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "run_experiment.py"), "improve", *SMALL, "curves.of=none", *options]
    both = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
                             env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == codes, errors
    assert said in errors[0] and errors[1] == ""
    assert (tmp_path / "mine" / "generation-1").exists() == (not options)
