"""Around a cluster: what travels to its nodes, and what killed drivers leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfplay.cluster import join, sweep, travels
from selfplay.pool import PoolBroken
from tests.commands.conftest import ROOT


def test_code_and_the_shipped_policy_travel_and_runs_do_not(tmp_path: Path) -> None:
    assert travels(ROOT / "policy" / "shipped") and travels(ROOT / "conf")
    assert not travels(ROOT / "runs" / "mine" / "model") and not travels(tmp_path)


def test_folders_of_killed_drivers_are_swept(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = [f"ray-{ended.pid}-abc", f"ray-{os.getpid()}-abc", "ray-x-abc", "ray", "other-1-2"]
    for name in names:
        (tmp_path / name / "r").mkdir(parents=True)
    sweep(tmp_path)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == sorted(names[1:])


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "head:abc", "127.0.0.1:1"])
def test_where_no_cluster_can_be(address: str) -> None:
    with pytest.raises(PoolBroken, match=f"cannot join the Ray cluster at '{address}'"):
        join(address, 1)
