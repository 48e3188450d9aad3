"""Comparisons evaluated from the command line: same as `evaluate`, whatever ends them, whoever does the work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from commands.traces import RESULTS, read_run
from tests.commands.test_process import start

HERE = Path(__file__).parent
FAKES = ("domain=guess", "policies=[counting]", "searches=[sweep]", "budgets=[10tok,20tok]", "split=twenty")
# The control's thoughts need more room.
BESIDE = (*FAKES[:3], "budgets=[10tok,60tok]", "nested=all", FAKES[4], "count=6")
REAL = ("domain=game24", "split=validation", "policies=[shipped]", "searches=[mcts,best_of_n]",
        "budgets=[100tok,300tok]", "run=runs/one")  # fmt: skip


def table(folder: Path) -> list[dict]:
    return json.loads((folder / "comparison.json").read_text())["rows"]


def timeless(folder: Path) -> list[dict]:
    """The rows of the table and the results of each problem, without seconds."""
    rows = [{**row, "seconds": None} for row in table(folder)]
    for place in sorted((folder / "cells").iterdir()):
        rows += [{**row, "seconds": None} for row in
                 pq.read_table(place / "results.parquet", schema=RESULTS).to_pylist()]
    return rows


def test_counting_up_within_two_budgets(run, tmp_path: Path):
    result = run("compare", *FAKES, "nested=all", "control=false", "output=json", "run=here")
    [said] = result.objects
    assert result.code == 0 and said == json.loads((tmp_path / "here" / "comparison.json").read_text())
    early, late = said["rows"]
    # Each guess takes 2 tokens: 0 to 4 are found within 10 tokens, 0 to 9 within 20, and all of them proved.
    assert (early["solved"], late["solved"], early["verified"], late["verified"]) == (5, 10, 0.25, 0.5)
    assert (early["tokens"], late["tokens"]) == ((2 + 4 + 6 + 8 + 10 + 15 * 10) / 20, 15.5)
    assert early["simulations"] == 4.5 and late["simulations"] == 7.75  # a guess is a simulation
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [
        ".lock", "cells", "comparison.json", "comparison.md", "comparison.png", "comparison.svg", "comparison.txt",
        "manifest.json"]  # fmt: skip
    assert json.loads((tmp_path / "here" / "manifest.json").read_text())["status"] == "finished"


def test_budgets_of_tokens_are_evaluated_each_on_its_own(run, tmp_path: Path):
    assert run("compare", *FAKES, "control=false", "run=here", "samples=50").code == 0
    assert [(row["budget"], row["read_off"], row["solved"]) for row in table(tmp_path / "here")] == [
        ("10tok", None, 5), ("20tok", None, 10)]  # fmt: skip
    assert len(list((tmp_path / "here" / "cells").iterdir())) == 2
    assert "allowed: seconds, all, none" in run("compare", *FAKES, "nested=tokens", "run=other").complaint


def test_a_cell_is_what_evaluate_makes(run, tmp_path: Path):
    run("compare", *BESIDE, "run=here", "seed=3", "samples=50")
    run("evaluate", "domain=guess", "policy=uniform", "search=sweep", "split=twenty", "limit=6", "budget=60tok",
        "seed=3", "hydra.run.dir=alone")
    [control] = (tmp_path / "here" / "cells").glob("*_uniform_*")
    one, other = read_run(control), read_run(tmp_path / "alone")
    assert one.ids == other.ids and one.spent("tokens").tolist() == other.spent("tokens").tolist()
    assert [row["answer"] for row in one.results] == [row["answer"] for row in other.results]
    assert run("compare", str(control), "alone", "output=json").objects[0]["difference"] == 0.0
    assert run("plot", "here/cells", "samples=20").code == 0


def test_failures_are_counted_apart(run, tmp_path: Path):
    broken = "searches={broken: {search: sweep, fails_at: 3}}"
    run("compare", *FAKES[:2], broken, "budgets=[20tok]", "split=twenty", "control=false", "run=a", "samples=50")
    [row] = table(tmp_path / "a")
    assert (row["solved"], row["errors"], row["unparsable"], row["problems"]) == (3, 17, 0, 20)
    unlucky = "searches={unlucky: {search: sweep, last: 13}}"
    run("compare", "domain=blind", FAKES[1], unlucky, "split=twenty", "control=false", "run=b", "samples=50")
    [row] = table(tmp_path / "b")
    assert (row["solved"], row["errors"], row["unparsable"]) == (0, 0, 20)


@pytest.mark.heavy
@pytest.mark.parametrize("killed_by", [signal.SIGKILL, signal.SIGINT])
def test_the_same_command_goes_on(run, tmp_path: Path, killed_by: signal.Signals):
    slow = ("compare", *FAKES[:2], "searches={slow: {search: sweep, pause: 0.02}}", "budgets=[20tok]", "split=twenty",
            "concurrent=1", "samples=50", "control=false", "run=killed")
    process = start(tmp_path, *slow, "--config-dir", str(HERE / "conf"))
    journal = tmp_path / "killed" / "journal" / "0"
    deadline = time.monotonic() + 60
    while len(list(journal.glob("*.json"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(killed_by)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if killed_by is signal.SIGINT else -signal.SIGKILL), err
    assert not (tmp_path / "killed" / "comparison.json").exists()
    before = {kept["problem"][0]: kept["attempt"]["seconds"] for kept in (
        json.loads(path.read_text()) for path in journal.glob("*.json"))}  # fmt: skip
    assert 5 <= len(before) < 20
    result = run(*slow)
    assert result.code == 0, result
    [cell] = (tmp_path / "killed" / "cells").glob("*_counting_*")
    # What was over has kept its very seconds: it was not thought about again.
    after = {row["problem_id"]: row["seconds"] for row in read_run(cell).results}
    assert before.items() <= after.items() and len(after) == 20
    assert run(*slow[:-1], "run=whole").code == 0
    assert timeless(tmp_path / "killed") == timeless(tmp_path / "whole")
    attempts = json.loads((tmp_path / "killed" / "manifest.json").read_text())["attempts"]
    assert [each["status"] for each in attempts] == [
        "cut off" if killed_by is signal.SIGKILL else "interrupted", "finished"]  # fmt: skip
    assert not (tmp_path / "killed" / "journal").exists()


def test_what_is_finished_is_not_done_again_and_other_options_are_refused(run, tmp_path: Path, monkeypatch):
    assert run("compare", *BESIDE, "run=here", "samples=50").code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "here" / "cells").rglob("*.parquet")}
    monkeypatch.setattr("commands.shards.LocalPool.play", None)  # nobody may be asked again
    # The table alone may change: prices, the baseline, resamples, the format.
    again = run("compare", *BESIDE, "run=here", "samples=60", "prices={counting: {per_million_tokens: 1000}}",
                "baseline=counting", "output=markdown")
    assert again.code == 0 and "| $ per 1,000 |" in again.out and "minus counting" in again.out
    assert {path: path.read_bytes() for path in before} == before
    for other, named in (("seed=1", "seed"), ("count=3", "count, problems"), ("searches=[first]", "searches"),
                         ("budgets=[60tok]", "budgets"), ("control=false", "policies.uniform"),
                         ("concurrent=2", "concurrent"), ("nested=none", "nested"), ("domain=blind", "domain")):
        options = [option for option in BESIDE if not option.startswith(other.split("=")[0] + "=")]
        complaint = run("compare", *options, other, "run=here").complaint
        assert "holds a run with other settings" in complaint and named in complaint, complaint


def test_a_policy_that_is_another_one_now_is_refused(run, tmp_path: Path, monkeypatch):
    options = (*FAKES[:2], "searches=[sweep,first]", "budgets=[20tok]", FAKES[4], "control=false", "run=here",
               "samples=50")
    assert run("compare", *options).code == 0
    unfinished = tmp_path / "here" / "cells" / "001_counting_first_20tok" / "manifest.json"
    manifest = json.loads(unfinished.read_text())
    assert manifest["policy_version"] == "counting-1"
    unfinished.write_text(json.dumps({**manifest, "status": "running"}))  # as where it was killed in writing it
    import fakes

    monkeypatch.setattr(fakes.Counting, "version", "counting-2")
    again = run("compare", *options)
    assert again.code == 2 and "the policy counting in its version counting-1, and now it is counting-2" in again.err
    monkeypatch.setattr(fakes.Counting, "version", "counting-1")
    (tmp_path / "here" / "journal" / "1").rename(tmp_path / "aside")
    assert run("compare", *options).code == 0
    assert json.loads(unfinished.read_text())["status"] == "finished"


@pytest.mark.parametrize(("options", "said"), [
    (["policies=[nobody]"], "there is no policy 'nobody'"),
    (["searches=[nothing]"], "there is no search 'nothing'"),
    (["searches={s: {search: sweep, last: -2}}"], "at least 0"),
    (["policies=[missing]"], "nowhere"),
    (["budgets=[soon]"], "cannot read the budget"),
    (["budgets=[1tok]"], "holds no thought"),
    (["workers=-1"], "workers"),
    (["workers=100", "budgets=[1s]"], "each needs a core"),
    (["concurrent=all"], "concurrent"),
    (["concurrent=4", "prices={counting: {per_hour: 1}}"], "allowed: concurrent=1, or auto"),
    (["prices={nobody: {per_hour: 1}}"], "the policies are counting, uniform"),
    (["baseline=nobody"], "allowed: counting, counting/sweep, uniform"),
    (["control=maybe"], "control"),
    (["output=xml"], "allowed: text, json, markdown"),
    (["split=none"], "'none'"),
    (["count=0"], "count"),
    (["along=tokens"], "two run directories"),
    (["policies={uniform: counting}"], "choose another label"),
    (["run=''"], "run"),
])  # fmt: skip
def test_bad_input_gets_one_line(run, tmp_path: Path, options: list[str], said: str):
    kept = [option for option in FAKES if option.split("=")[0] not in {each.split("=")[0] for each in options}]
    complaint = run("compare", *kept, "run=here", *options).complaint if "run=''" not in options else run(
        "compare", *kept, *options).complaint
    assert said in complaint, complaint
    assert not (tmp_path / "here" / "cells").exists()


def test_runs_made_already_take_no_options_of_a_comparison_made_here(run, tmp_path: Path):
    (tmp_path / "a").mkdir()
    assert "without run directories" in run("compare", "a", "a", "policies=[shipped]").complaint
    nothing = run("compare").complaint
    assert "two run directories, not 0" in nothing and "policies=[...]" in nothing


def test_two_at_a_time_are_refused(run, tmp_path: Path):
    from commands.manifest import alone

    with alone(tmp_path / "here"):
        assert "another process is at work" in run("compare", *FAKES, "run=here").complaint


def test_the_shipped_policy_beside_the_control(run, tmp_path: Path):
    assert run("compare", *REAL, "count=4", "samples=200").code == 0
    rows = table(tmp_path / "runs" / "one")
    assert [(row["policy"], row["search"], row["budget"]) for row in rows] == [
        (policy, search, budget) for policy in ("shipped", "uniform") for search in ("mcts", "best_of_n")
        for budget in ("100tok", "300tok")]  # fmt: skip
    assert all(row["problems"] == 4 and row["errors"] == 0 and row["tokens"] > 0 for row in rows)
    assert all(row["tokens"] <= int(row["budget"].removesuffix("tok")) for row in rows)
    assert [row["difference"] is None for row in rows] == [False] * 4 + [True] * 4
    assert {row["control"] for row in rows[4:]} == {True} and rows[1]["solved"] >= rows[0]["solved"] > 0


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_workers_on_ray_find_what_one_process_finds(run, tmp_path: Path):
    """And what is killed with all of its workers goes on in one process."""
    entry = str(HERE.parent.parent / "run_experiment.py")
    command = [sys.executable, entry, "compare", *REAL, "count=12", "samples=50"]
    spread = subprocess.run([*command, "workers=2"], cwd=tmp_path, capture_output=True, text=True, check=False,
                            env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert spread.returncode == 0, spread.stderr
    assert run("compare", *REAL[:-1], "run=alone", "count=12", "samples=50").code == 0
    assert timeless(tmp_path / "runs" / "one") == timeless(tmp_path / "alone")
    killed = subprocess.Popen([*command[:-1], "samples=40", "workers=2", "run=killed"], cwd=tmp_path,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal, deadline = tmp_path / "killed" / "journal", time.monotonic() + 240
    while not list(journal.glob("*/*.json")) and time.monotonic() < deadline and killed.poll() is None:
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    assert run("compare", *REAL[:-1], "run=killed", "count=12", "samples=50").code == 0
    assert timeless(tmp_path / "killed") == timeless(tmp_path / "alone")
