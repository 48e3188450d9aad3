"""What the pretrain command refuses before it trains; that it trains is tested in tests/policy and by hand."""

from __future__ import annotations

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
