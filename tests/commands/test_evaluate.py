from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from commands.traces import RESULTS, TRACE, read_run

FAKES = ("domain=guess", "policy=counting", "search=sweep")
SUMMARY = [
    "domain",
    "split",
    "search",
    "policy",
    "budget",
    "problems",
    "solved",
    "accuracy",
    "ci95",
    "greedy_accuracy",
    "ece",
    "mean_seconds",
    "max_seconds",
    "mean_tokens",
    "unparsable",
    "timeouts",
    "errors",
]


def only_run(tmp_path: Path) -> Path:
    [folder] = tmp_path.glob("runs/evaluate/*")
    return folder


def test_summary_has_exactly_the_promised_keys_and_figures(run, tmp_path: Path):
    # 20 tokens are 10 guesses (0 to 9): ten of the twenty problems, each verified; the rest end refuted at 9.
    result = run("evaluate", *FAKES, "split=twenty", "budget=20tok", "output=json")
    *problems, summary = result.objects
    assert result.code == 0 and result.err == "" and list(summary) == SUMMARY and len(problems) == 20
    figures = {key: value for key, value in summary.items() if "seconds" not in key}
    assert figures == {
        "domain": "guess",
        "split": "twenty",
        "search": "sweep",
        "policy": "counting",
        "budget": "20tok",
        "problems": 20,
        "solved": 10,
        "accuracy": 0.5,
        "ci95": [0.299298, 0.700702],
        "greedy_accuracy": 0.05,
        "ece": 0.0,
        "mean_tokens": 15.5,
        "unparsable": 0,
        "timeouts": 0,
        "errors": 0,
    }
    assert summary["mean_seconds"] <= summary["max_seconds"]
    folder = only_run(tmp_path)
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert sorted(p.name for p in folder.iterdir()) == [
        "manifest.json",
        "results.parquet",
        "summary.json",
        "trace.parquet",
    ]


def test_the_trace_keeps_every_answer_with_its_grade(run, tmp_path: Path):
    run("evaluate", *FAKES, "split=twenty", "budget=20tok", "limit=4")
    folder = only_run(tmp_path)
    assert pq.read_schema(folder / "trace.parquet").names == TRACE.names
    assert pq.read_schema(folder / "results.parquet").names == RESULTS.names
    one = read_run(folder)
    assert [len(one.trace[i]) for i in one.ids] == [1, 2, 3, 4]
    last = one.trace[one.ids[3]]
    assert [row["answer"] for row in last] == ["0", "1", "2", "3"]
    assert [row["correct"] for row in last] == [row["verified"] for row in last] == [False, False, False, True]
    assert [row["tokens"] for row in last] == [2, 4, 6, 8] and [row["greedy"] for row in last] == [True] + 3 * [False]
    assert [row["status"] for row in last] == ["wrong", "wrong", "wrong", "correct"]


def test_the_manifest_tells_how_to_repeat_the_run(run, tmp_path: Path):
    run("evaluate", *FAKES, "split=twenty", "budget=20tok", "limit=2", "seed=7")
    manifest = json.loads((only_run(tmp_path) / "manifest.json").read_text())
    assert manifest["config"]["search"]["_target_"] == "fakes.Sweep" and manifest["seeds"]["seed"] == 7
    assert manifest["policy_version"] == "counting-1" and manifest["status"] == "finished" and not manifest["partial"]
    assert {"git", "machine", "versions", "started", "ended", "command_line"} <= set(manifest)
    assert manifest["machine"]["cores"] >= 1 and manifest["versions"]["numpy"]


def test_failures_are_counted_apart(run):
    # Guesses stop at 13, which grading cannot read; 3 makes the search fail for the problems beyond it.
    unlucky = run("evaluate", "domain=blind", *FAKES[1:], "split=twenty", "search.last=13", "output=json").objects[-1]
    assert (unlucky["unparsable"], unlucky["errors"], unlucky["solved"]) == (20, 0, 0)
    failed = run("evaluate", *FAKES, "split=twenty", "search.fails_at=3", "output=json")
    assert failed.code == 0 and failed.objects[-1]["errors"] == 17 and failed.objects[-1]["solved"] == 3
    assert failed.objects[5]["error"] == "RuntimeError: out of fingers" and failed.objects[5]["status"] == "error"


def test_no_answer_is_neither_wrong_nor_unparsable(run, tmp_path: Path):
    result = run("evaluate", *FAKES, "split=twenty", "limit=1", "budget=0.001ms", "output=json")
    assert result.objects[0]["answer"] is None and result.objects[0]["status"] == "none"
    assert result.objects[-1]["unparsable"] == 0 and result.objects[-1]["ece"] == 0.0


@pytest.mark.parametrize(
    "extra", [("workers=2",), ("concurrent=1",), ("budget=20tok+60s",), ("budget=20tok+60s", "workers=2")]
)
def test_results_do_not_depend_on_how_the_work_is_spread(run, monkeypatch, extra):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    plain = run("evaluate", *FAKES, "split=twenty", "budget=20tok", "output=json").objects
    spread = run("evaluate", *FAKES, "split=twenty", "budget=20tok", "output=json", *extra).objects
    drop = {"seconds", "mean_seconds", "max_seconds", "budget"}

    def kept(objects):
        return sorted(json.dumps({k: v for k, v in o.items() if k not in drop}) for o in objects)

    assert kept(plain) == kept(spread)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["split=tests"], ["'tests'", "twenty"]),
        (["limit=0"], ["limit", "at least 1"]),
        (["limit=x"], ["limit"]),
        (["limit=null", "split=test"], ["no end", "limit=N"]),
        (["workers=0"], ["workers"]),
        (["concurrent=no"], ["concurrent", "auto"]),
        (["search.last=many"], ["search.last='many'", "whole number"]),
        (["search={a: 1}"], ["search is chosen by name", "greedy"]),
        (["budget=0tok"], ["positive"]),
        (["output=xml"], ["json"]),
        (["policy=missing"], ["nowhere"]),
        (["policy=missing", "workers=2"], ["nowhere"]),
        (["search.last=-2"], ["at least 0"]),
        (["splt=test"], ["'split'"]),
        (["seed=-1"], ["seed"]),
        (["search.pause=[1"], ["search.pause"]),
    ],
)
def test_bad_input_gets_one_line_and_leaves_no_run(run, monkeypatch, tmp_path: Path, options, parts):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    defaults = [d for d in FAKES if not any(o.startswith(f"{d.split('=')[0]}=") for o in options)]
    complaint = run("evaluate", *defaults, *options).complaint
    assert all(part in complaint for part in parts), complaint
    assert list(tmp_path.iterdir()) == []


def test_two_runs_never_share_a_directory(run, tmp_path: Path):
    options = (*FAKES, "split=twenty", "budget=20tok", "limit=2")
    assert run("evaluate", *options, "hydra.run.dir=runs/one").code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "runs" / "one").iterdir()}
    assert "holds a run already" in run("evaluate", *options, "hydra.run.dir=runs/one").complaint
    assert "holds a run already" in run("solve", "guess 3", *FAKES, "run_dir=runs/one").complaint
    assert {path: path.read_bytes() for path in (tmp_path / "runs" / "one").iterdir()} == before


def test_a_run_that_has_not_ended_is_not_read(run, tmp_path: Path):
    run("evaluate", *FAKES, "split=twenty", "budget=20tok", "limit=2")
    manifest = only_run(tmp_path) / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "status": "running"}))
    for command in (["plot"], ["compare", str(manifest.parent)]):
        assert "has not ended" in run(*command, str(manifest.parent)).complaint


def test_a_disk_that_fills_up_leaves_nothing_half_written(run, monkeypatch, tmp_path: Path):
    def full(table, file):
        file.write(b"PAR1")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("commands.traces.pq.write_table", full)
    result = run("evaluate", *FAKES, "split=twenty", "budget=20tok", "output=json")
    assert result.code == 2 and list(result.objects[-1]) == SUMMARY
    [line] = result.err.splitlines()
    assert "No space left on device" in line and "results.parquet" in line
    assert [p.name for p in only_run(tmp_path).iterdir()] == ["manifest.json"]


def test_sweeps_make_one_run_each(run, tmp_path: Path):
    result = run(
        "evaluate",
        "domain=guess",
        "policy=counting",
        "search=sweep",
        "split=twenty",
        "budget=20tok",
        "output=json",
        "-m",
        "limit=2,3",
    )
    assert result.code == 0 and [o["problems"] for o in result.objects if "problems" in o] == [2, 3]
    assert len(list(tmp_path.glob("runs/evaluate/*/*/trace.parquet"))) == 2
