"""The whole command, killed at any moment: nothing that was stored is lost, doubled or played again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from selfplay.store import Store
from tests.commands.conftest import ROOT
from tests.ray_cluster import simulated_nodes
from tests.selfplay.skilled import accounts
from tests.verifiers.traces import children, gone

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1500)]
KILLS = 20
SMALL = ("improve", "domain=game24", "selfplay=local", "selfplay.generations=2", "selfplay.problems=48",
         "selfplay.lines=4", "selfplay.match_problems=40", "budget=250tok", "threads=1", "policy.threads=1",
         "training.max_steps=12", "training.batch_tokens=1024", "training.checkpoint_every=2", "replay.held_out=2",
         "curves.of=none", "scalars=none")  # fmt: skip


def begin(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    log = (folder.parent / "log.txt").open("ab")
    words = [sys.executable, str(ROOT / "run_experiment.py"), *SMALL, *more, f"run={folder}"]
    return subprocess.Popen(words, cwd=folder.parent, stdout=log, stderr=log)


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """All that is stored, by episode; `seconds` tells whether an episode was played again."""
    if not (folder / "store").is_dir():
        return {}
    store = Store(str(folder / "store"))
    return {row["episode_id"]: row for row in store.read(store.generations(), ["episode_id", "seconds", "status",
                                                                               "policy_version", "answer"])}


def begun(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until an attempt has something to lose: what it has stored, learned or decided has changed."""
    before = _traces(folder)
    while process.poll() is None and _traces(folder) == before:
        time.sleep(0.05)


def _traces(folder: Path) -> set[tuple[str, int]]:
    return {(str(file), file.lstat().st_mtime_ns) for file in folder.rglob("*")
            if file.name not in ("manifest.json", ".lock")} if folder.is_dir() else set()


def same(one: Any, other: Any) -> bool:
    """Equal but for rounding: searches share their batches with others when they are interrupted or spread out."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == pytest.approx(other, rel=1e-3, abs=1e-5)) if isinstance(one, float) else bool(one == other)


def differences(folder: Path, whole: Path) -> dict[str, Any]:
    """What is not the same in two runs' accounts: this one's beside the other's."""
    (one, episodes), (other, others) = (account.values() for account in (accounts(folder), accounts(whole)))
    pairs = {"episodes": (episodes, others)} | {name: (one[name], other[name]) for name in one.keys() | other.keys()}
    return {name: pair for name, pair in pairs.items() if not same(*pair)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert begin(folder).wait() == 0, (folder.parent / "log.txt").read_text()
    return folder


def test_the_driver_may_be_killed_at_any_moment(whole: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    kills = runs = 0
    phases: set[str] = set()
    while kills < KILLS:
        runs += 1
        folder = tmp_path / f"{runs}" / "run"
        folder.parent.mkdir()
        stored: dict[str, dict[str, Any]] = {}
        while True:
            process = begin(folder)
            begun(folder, process)
            time.sleep(rng.uniform(0, 2.5))
            if process.poll() is not None or kills == KILLS:
                assert process.wait() == 0, (folder.parent / "log.txt").read_text()
                break
            process.kill()
            process.wait()
            kills += 1
            now = rows(folder)
            assert stored.items() <= now.items()  # nothing is lost, and nothing was played again
            stored = now
            state = folder / "state.json"
            phases.add(json.loads(state.read_text())["phase"] if state.exists() else "play")
        assert stored.items() <= rows(folder).items()
        assert not differences(folder, whole), f"run {runs}"
    assert phases == {"play", "learn", "match"}


def test_ctrl_c_ends_quietly_and_the_same_command_goes_on(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = begin(folder)
    begun(folder, process)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    log = (tmp_path / "log.txt").read_text()
    assert "the same command goes on from" in log and "Traceback" not in log
    stored = rows(folder)
    assert begin(folder).wait() == 0
    assert stored.items() <= rows(folder).items() and not differences(folder, whole)


def test_ray_workers_make_the_same_run(whole: Path, tmp_path: Path) -> None:
    """Killed once while they play: the driver is gone, its workers follow, and the next attempt goes on."""
    folder = tmp_path / "run"
    process = begin(folder, "selfplay=replica")
    begun(folder, process)
    while not rows(folder) and process.poll() is None:
        time.sleep(0.1)
    process.kill()
    process.wait()
    stored = rows(folder)
    assert stored
    assert begin(folder, "selfplay=replica").wait() == 0, (tmp_path / "log.txt").read_text()
    assert stored.items() <= rows(folder).items() and not differences(folder, whole)


def test_a_node_of_a_joined_cluster_may_be_killed(whole: Path, tmp_path: Path) -> None:
    """The command goes on with the node that is left; given again, it finds nothing to do."""
    folder = tmp_path / "run"
    with simulated_nodes(2) as cluster, ExitStack() as ends:
        words = ("selfplay=replica", "selfplay.chunk=2", "selfplay.in_flight=1", f"ray.address={cluster.address}")
        (raylet,) = cluster.list_all_nodes()[1].all_processes["raylet"]
        process = begin(folder, *words)
        ends.callback(process.kill)
        while not rows(folder) and process.poll() is None:
            time.sleep(0.05)
        stored = rows(folder)
        assert 0 < len(stored) < 48 and not (folder / "state.json").exists()  # while the first generation is played
        node = [raylet.process.pid, *children(raylet.process.pid)]
        for pid in node:
            os.kill(pid, signal.SIGKILL)
        assert process.wait() == 0, (tmp_path / "log.txt").read_text()
        assert stored.items() <= rows(folder).items() and not differences(folder, whole)
        before = rows(folder)
        assert begin(folder, *words).wait() == 0, (tmp_path / "log.txt").read_text()
        assert rows(folder) == before and not differences(folder, whole)
    assert gone(node)
