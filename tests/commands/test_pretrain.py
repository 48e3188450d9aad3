"""The pretrain command: what it refuses before it trains, and a whole small run that is cut short and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["seed=abc"], ["seed", "at least 0"]),
        (["threads=-1"], ["threads", "at least 1"]),
        (["batch_tokens=abc"], ["batch_tokens"]),
        (["run_dir=null"], ["run_dir", "folder"]),
        (["model.heads=5"], ["heads"]),
        (["imitation.counting.schedule.steps=-1"], ["schedule"]),
        (["device=abacus"], ["abacus", "cpu"]),
        (["run_dir=here/run", "out=here"], ["here", "another place"]),
        (["out=mine"], ["not a policy", "mine"]),
        (["run_dir=broken"], ["manifest.json", "remove it"]),
        (["~seed"], ["remove"]),
    ],
)
def test_bad_options_are_one_line_before_anything_is_trained(run, tmp_path: Path, options, parts):
    for folder, name in (("mine", "thesis.txt"), ("broken", "manifest.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("not JSON")
    before = sorted(tmp_path.rglob("*"))
    result = run("pretrain", *options)
    assert result.code == 2 and all(part in result.complaint for part in parts)
    assert sorted(tmp_path.rglob("*")) == before


DOMAINS = ("game24", "countdown", "arithmetic", "equations", "integrals", "programs")
SMALL = (
    "model.hidden_size=16", "model.layers=1", "model.heads=2", "model.intermediate_size=32", "batch_tokens=256",
    "imitation.counting.schedule.steps=6", "imitation.counting.schedule.warmup=2", "imitation.all.schedule.steps=6",
    "imitation.sums.schedule.steps=6", "imitation.sums.schedule.warmup=2", "valuing.schedule.steps=6",
    "checkpoint_every=2", "log_every=2", "threads=1", "run_dir=training",
    *(f"outcomes.{name}=[2,2]" for name in DOMAINS), "report.problems=2", "report.samples=2",
)  # fmt: skip



@pytest.mark.heavy
def test_a_whole_run_ends_in_a_policy_that_solves_and_can_be_resumed(run, tmp_path: Path):
    assert run("pretrain", *SMALL).code == 0
    policy = tmp_path / "training" / "policy"
    assert {"config.json", "model.safetensors", "value_head.safetensors", "README.md", "loss_curve.png"} <= {
        path.name for path in policy.iterdir()}
    manifest = json.loads((tmp_path / "training" / "manifest.json").read_text())
    assert manifest["status"] == "finished" and [row["domain"] for row in manifest["accuracies"]] == [*DOMAINS]
    said = run("solve", "4 9 10 13", "domain=game24", "policy=transformer", f"policy.path={policy}", "budget=300tok",
               "output=json")
    assert said.code in (0, 1) and said.objects[0]["tokens"] > 0
    weights = (policy / "model.safetensors").read_bytes()
    # What is finished is not done again: the same command writes the same policy, and another one is refused.
    assert run("pretrain", *SMALL).code == 0 and (policy / "model.safetensors").read_bytes() == weights
    assert "seed" in run("pretrain", *SMALL, "seed=1").complaint
