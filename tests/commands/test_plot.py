"""Pictures and comparisons from synthetic traces whose curves are known exactly."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from commands.compare import compare, series
from commands.manifest import write_json
from commands.plot import curve
from commands.traces import RESULTS, TRACE, read_run, write_table

# Of four problems: one right from the greedy pass on, one from 1 s (100 tokens) on, one right at 0.5 s but wrong again
# from 2 s on, one that never has an answer.
ANSWERS = [
    [(0.1, 10, True)],
    [(0.1, 10, False), (1.0, 100, True)],
    [(0.1, 10, False), (0.5, 50, True), (2.0, 200, False)],
    [],
]


def rename(folder: Path, ids: list[str]) -> None:
    """Give the problems of a run other ids."""
    for name, schema in (("results", RESULTS), ("trace", TRACE)):
        path = folder / f"{name}.parquet"
        rows = [{**row, "problem_id": ids[row["index"]]} for row in pq.read_table(path, schema=schema).to_pylist()]
        write_table(path, rows, schema)


def make_run(folder: Path, answers=ANSWERS, **names) -> Path:
    results, trace = [], []
    for index, given in enumerate(answers):
        shared = {"problem_id": f"p{index}", "index": index, "confidence": 0.5, "verified": False, "simulations": 1}
        for number, (seconds, tokens, right) in enumerate(given):
            trace.append(
                {
                    **shared,
                    "answer_number": number,
                    "seconds": seconds,
                    "tokens": tokens,
                    "answer": "1",
                    "correct": right,
                    "status": "correct" if right else "wrong",
                    "greedy": number == 0,
                }
            )
        results.append(
            {
                **shared,
                "problem": "p",
                "answer": "1" if given else None,
                "correct": bool(given and given[-1][2]),
                "status": "wrong",
                "detail": "",
                "greedy_correct": bool(given and given[0][2]),
                "seconds": 4.0,
                "tokens": 400,
                "answers": len(given),
                "thoughts": [],
                "error": None,
            }
        )
    folder.mkdir(parents=True)
    write_table(folder / "results.parquet", results, RESULTS)
    write_table(folder / "trace.parquet", trace, TRACE)
    write_json(
        folder / "manifest.json",
        {"search": "mcts", "policy": "shipped", "domain": "game24", "split": "test", "budget": "4s", **names},
    )
    return folder


@pytest.mark.parametrize(
    ("axis", "points"),
    [("seconds", [0.05, 0.1, 0.49, 0.5, 1.0, 1.99, 2.0, 4.0]), ("tokens", [5, 10, 49, 50, 100, 199, 200, 400])],
)
def test_the_latest_answer_by_then_counts(tmp_path: Path, axis, points):
    one = read_run(make_run(tmp_path / "a"))
    accuracy = one.correct_at(axis, np.array(points, dtype=float)).mean(axis=0)
    assert accuracy.tolist() == [0.0, 0.25, 0.25, 0.5, 0.75, 0.75, 0.5, 0.5]


def test_the_curve_runs_from_the_greedy_answers_to_the_budget(tmp_path: Path):
    one = read_run(make_run(tmp_path / "a"))
    points, right = curve(one, "seconds")
    assert points[0] == pytest.approx(0.1) and points[-1] == pytest.approx(4.0, rel=1e-3)
    assert right[:, 0].mean() == one.greedy_correct.mean() == 0.25
    assert right[:, -1].tolist() == one.correct.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_plot_makes_a_png_and_an_svg(run, tmp_path: Path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b=1", search="beam", policy="uniform", label="my own")
    result = run("plot", "a", "b=1", "samples=50")
    assert result.code == 0 and result.out.split() == ["a/curves.png", "a/curves.svg"]
    assert (tmp_path / "a/curves.png").read_bytes().startswith(b"\x89PNG")
    root = ElementTree.parse(tmp_path / "a/curves.svg").getroot()
    assert root.tag.endswith("svg")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b=1"]


def test_plot_names_its_curves_axes_and_problems(run, tmp_path: Path):
    make_run(tmp_path / "runs" / "1")
    make_run(tmp_path / "runs" / "2", search="beam", domain="countdown_6")
    result = run("plot", "runs", "out=pictures/all", "samples=50")
    assert result.code == 0, result
    from commands.plot import draw
    from commands.traces import find_runs

    figure = draw(find_runs(["runs"]), None, 50, 0)
    assert len(figure.axes) == 4
    assert {"game24, test (4 problems)", "countdown_6, test (4 problems)"} <= {a.get_title() for a in figure.axes}
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["mcts / shipped", "beam / shipped", "greedy pass"]
    assert all(a.get_xscale() == "log" for a in figure.axes)


def test_compare_is_paired(run, tmp_path: Path):
    base = [[(0.1, 10, i % 4 == 0)] for i in range(100)]
    better = [[(0.1, 10, i % 4 == 0 or i < 30)] for i in range(100)]
    make_run(tmp_path / "a", better)
    make_run(tmp_path / "b", base, policy="uniform")
    make_run(tmp_path / "c", [*base[:-1], []])
    result = run("compare", "a", "b", "output=json")
    [said] = result.objects
    assert said["difference"] == pytest.approx(0.22) and said["only_a"] == 22 and said["only_b"] == 0
    assert said["ci95"][0] > 0 and said["excludes_zero"] is True and said["a"] == "mcts / shipped"
    # The pairing makes the interval: unpaired, 47 against 25 of 100 would have one nearly twice as wide.
    assert said["ci95"][1] - said["ci95"][0] < 0.18
    same = compare(read_run(tmp_path / "a"), read_run(tmp_path / "a"), 200, 0)
    assert (
        said["answers_differ"] == 0
        and compare(read_run(tmp_path / "c"), read_run(tmp_path / "b"), 9, 0)["answers_differ"] == 1
    )
    assert same["difference"] == 0.0 and same["excludes_zero"] is False


def test_compare_along_what_was_spent(run, tmp_path: Path):
    early = [[(0.1, 10, i % 2 == 0), (1.0, 100, i < 60)] for i in range(100)]
    late = [[(0.1, 10, False), (1.0, 100, i < 90)] for i in range(100)]
    make_run(tmp_path / "a", early)
    make_run(tmp_path / "b", list(reversed(late)))  # the same problems, in another order
    for problem, place in (("a", range(100)), ("b", reversed(range(100)))):
        rename(tmp_path / problem, [f"q{i}" for i in place])
    [said] = run("compare", "a", "b", "along=tokens", "output=json").objects
    along = said["along"]
    assert [point["tokens"] for point in along["points"]] == [10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
    assert along["above_at"] == [10.0, 20.0, 50.0] and along["below_at"] == [100.0, 200.0, 500.0]
    assert along["points"][0]["difference"] == 0.5 and along["points"][-1]["difference"] == pytest.approx(-0.3)
    # Paired by problem: all that the one solves the other does too, so 30 differ and no more.
    assert along["points"][-1]["ci95"] == pytest.approx([-0.39, -0.21], abs=0.03)
    [said] = run("compare", "a", "b", "along=seconds", "output=json").objects
    assert [point["seconds"] for point in said["along"]["points"]] == [0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
    told = run("compare", "a", "b", "along=tokens").out.splitlines()
    assert told[1].startswith("A: mcts / shipped, ") and told[1].endswith(": 60.0 % solved, 0 by it alone")
    assert told[2].endswith(": 90.0 % solved, 30 by it alone") and told[3].startswith("A - B: -30.0 [-")
    assert "which excludes zero" in told[3]
    assert [line.split()[0] for line in told[6:]] == ["10", "20", "50", "100", "200", "500"]
    assert "allowed: tokens, seconds" in run("compare", "a", "b", "along=words").complaint


@pytest.mark.parametrize(("first", "last", "points"), [
    (10, 400, [10, 20, 50, 100, 200, 500]), (0.013, 0.05, [0.01, 0.02, 0.05]), (7, 7, [5, 10]), (0, 1e-6, [1e-6]),
])
def test_the_series_encloses_what_was_spent(first: float, last: float, points: list[float]):
    assert series(first, last).tolist() == points


def test_bad_runs_get_one_line(run, tmp_path: Path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "short", ANSWERS[:2])
    assert "share 2 of 4 and 2" in run("compare", "a", "short").complaint
    assert "two run directories" in run("compare", "a").complaint
    assert "there is no folder 'nowhere'" in run("plot", "nowhere").complaint
    (tmp_path / "empty").mkdir()
    assert "manifest.json is missing" in run("plot", "empty").complaint
    assert "plot needs the directories" in run("plot").complaint
    assert "samples" in run("plot", "a", "samples=abc").complaint
    assert "at least 1" in run("plot", "a", "samples=0").complaint
    assert "seed" in run("compare", "a", "a", "seed=-1").complaint
    assert "allowed: text, json" in run("compare", "a", "a", "output=markdown").complaint
    (tmp_path / "a/trace.parquet").write_bytes(b"PAR1 half a file")
    assert "cannot read the evaluation in a" in run("plot", "a").complaint
    (tmp_path / "short/manifest.json").write_text(json.dumps({"search": "mcts"}))
    assert "cannot read the evaluation in short" in run("plot", "short").complaint


def test_a_full_disk_leaves_no_half_picture(run, tmp_path: Path, monkeypatch):
    make_run(tmp_path / "a")

    def full(figure, file, suffix):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("commands.plot.save", full)
    assert "No space left on device" in run("plot", "a", "samples=50").err
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["manifest.json", "results.parquet", "trace.parquet"]
