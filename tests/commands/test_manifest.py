"""The manifest of a run that is taken up several times."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from commands.errors import BadInput
from commands.manifest import Attempt, reopen, write_json
from commands.report import _attempts


def opened(folder: Path, **options: Any) -> Attempt:
    return reopen(folder, {"budget": "9s", **options}, 0, ("workers",), hours="CPU")


def written(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


def aged(folder: Path, **changes: Any) -> dict[str, Any]:
    """The manifest, as another revision would have written it."""
    old = {"git": {"revision": "old", "dirty": False}, "started": "2000-01-01T00:00:00+00:00", **changes}
    manifest = {**written(folder), **old}
    if "attempts" in manifest:
        manifest["attempts"][0] |= old
    write_json(folder / "manifest.json", manifest)
    return manifest


def test_the_first_attempt_says_what_the_run_was_and_the_list_what_came_later(tmp_path: Path) -> None:
    first = opened(tmp_path, workers=1)
    assert written(tmp_path)["status"] == "running" and len(written(tmp_path)["attempts"]) == 1
    first.end("refused", "the reward is broken")
    before = aged(tmp_path, versions={"python": "2.7"})
    assert before["reason"] == before["attempts"][0]["reason"] == "the reward is broken"
    second = opened(tmp_path, workers=2)
    assert "ended" not in written(tmp_path) and "reason" not in written(tmp_path)
    second.end("finished", accuracies=[1.0])
    after = written(tmp_path)
    for fact in ("git", "versions", "started", "machine", "config", "command_line"):
        assert after[fact] == before[fact]
    assert after["status"] == "finished" and after["accuracies"] == [1.0] and after["ended"] > after["started"]
    assert [each["status"] for each in after["attempts"]] == ["refused", "finished"]
    assert after["attempts"][0] == before["attempts"][0]
    assert after["attempts"][1]["git"] != before["git"] and after["attempts"][1]["versions"]["numpy"]


def test_a_finished_run_that_has_nothing_left_to_do_stays_as_it_is(tmp_path: Path) -> None:
    opened(tmp_path).finish(worked=False)
    assert written(tmp_path)["status"] == "finished"
    before = aged(tmp_path)
    opened(tmp_path).finish(worked=False)
    assert written(tmp_path) == before
    opened(tmp_path).finish(worked=True)
    assert len(written(tmp_path)["attempts"]) == 2
    opened(tmp_path).end("interrupted")
    opened(tmp_path).finish(worked=False)  # whose end had not been written yet
    assert [each["status"] for each in written(tmp_path)["attempts"][2:]] == ["interrupted", "finished"]


def test_an_attempt_that_was_killed_and_a_manifest_without_attempts(tmp_path: Path) -> None:
    opened(tmp_path)
    manifest = written(tmp_path)
    del manifest["attempts"]
    write_json(tmp_path / "manifest.json", manifest)
    aged(tmp_path)
    opened(tmp_path)
    assert [(each["status"], each["started"][:4] == "2000") for each in written(tmp_path)["attempts"]] == [
        ("cut off", True), ("running", False)]


@pytest.mark.parametrize("changes", [{"attempts": [{}]}, {"attempts": 3}, {"config": None}])
def test_what_is_no_manifest_is_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    opened(tmp_path)
    write_json(tmp_path / "manifest.json", {**written(tmp_path), **changes})
    with pytest.raises(BadInput, match="is not the manifest of a run"):
        opened(tmp_path)


def test_a_report_lists_several_attempts(tmp_path: Path) -> None:
    opened(tmp_path).end("refused", "no <reward>")
    aged(tmp_path, versions={**written(tmp_path)["versions"], "numpy": "0.1"})
    assert _attempts(written(tmp_path)["attempts"]) == "" == _attempts(())
    opened(tmp_path).end("finished")
    page = _attempts(written(tmp_path)["attempts"])
    assert "refused: no &lt;reward&gt;" in page and "old" in page and "finished" in page
    assert f"numpy {written(tmp_path)['attempts'][1]['versions']['numpy']}" in page and "torch" not in page


IMPROVE = ("improve", "domain=game24", "selfplay=local", "threads=1", "policy.threads=1", "run=mine")


def test_improve_says_why_it_was_refused(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    complaint = run(*IMPROVE, "scalars=wandb").complaint
    manifest = written(tmp_path / "mine")
    assert manifest["status"] == "refused" and complaint == f"error: {manifest['reason']}"
    assert manifest["attempts"][0]["reason"] == manifest["reason"] and "ended" in manifest


def test_improve_says_that_it_was_interrupted(run, tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    try:
        assert run(*IMPROVE, "scalars=interrupting").code == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert [each["status"] for each in written(tmp_path / "mine")["attempts"]] == ["interrupted"]


def test_improve_says_that_it_failed(run, tmp_path: Path) -> None:
    assert "no room" in run(*IMPROVE, "scalars=failing").complaint
    assert written(tmp_path / "mine")["status"] == "failed" and "no room" in written(tmp_path / "mine")["reason"]
