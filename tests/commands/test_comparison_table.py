"""The table of a comparison, from traces whose figures are worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from commands.comparison_picture import currencies, draw
from commands.comparison_table import Report, Settings, priced, standing
from commands.errors import BadInput
from commands.grid import AXES, budgets, cells, entries
from commands.manifest import write_json
from commands.prices import Price
from commands.statistics import bootstrap_weights, paired
from commands.traces import MARKS, RESULTS, TRACE, read_run, write_table

# Answers (tokens, seconds, right, proved, status) of four problems, what each spent in all, and an error.
PROBLEMS = [
    ([(10, 0.1, True, True, "correct")], (10, 0.1, 1), None),
    ([(10, 0.1, False, False, "wrong"), (90, 0.5, True, False, "correct")], (200, 1.0, 9), None),
    ([(10, 0.1, False, False, "unparsable"), (60, 0.3, True, True, "correct")], (60, 0.3, 4), None),
    ([], (40, 0.2, 3), "RuntimeError: broken"),
]  # fmt: skip
MARKED = [{"index": index, "budget": "50tok", "seconds": seconds, "tokens": tokens, "simulations": count,
           "prompt_tokens": None} for index, seconds, tokens, count in ((1, 0.25, 55, 4), (2, 0.28, 52, 3))]


def write(place: Path, problems, label: str, policy: str = "shipped", budget: str = "200tok", marks=MARKED) -> None:
    results, trace = [], []
    for index, (answers, (tokens, seconds, simulations), error) in enumerate(problems):
        shared = {"problem_id": f"p{index}", "index": index, "confidence": 0.5}
        for number, (at, when, right, proved, status) in enumerate(answers):
            trace.append({**shared, "answer_number": number, "seconds": when, "tokens": at, "simulations": 1,
                          "answer": "1", "verified": proved, "correct": right, "status": status, "greedy": number == 0})
        last = answers[-1] if answers else (0, 0.0, False, False, "none")
        results.append({**shared, "problem": "p", "answer": "1" if answers else None, "verified": last[3],
                        "correct": last[2], "status": "error" if error else last[4], "detail": "",
                        "greedy_correct": bool(answers and answers[0][2]), "seconds": seconds, "tokens": tokens,
                        "simulations": simulations, "answers": len(answers), "thoughts": [], "error": error})
    write_table(place / "results.parquet", results, RESULTS)
    write_table(place / "trace.parquet", trace, TRACE)
    write_table(place / "marks.parquet", marks, MARKS)
    write_json(place / "manifest.json", {"search": "mcts", "policy": policy, "domain": "game24", "split": "test",
                                         "budget": budget, "label": label, "status": "finished"})


def two_cells():
    policies = entries("policy", OmegaConf.create(["shipped", "uniform"]), "policies")
    return cells(policies, entries("search", "mcts", "searches"), budgets(OmegaConf.create(["50tok", "200tok"])),
                 AXES, 1, 32)


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """Of two policies; the control solves the first problem alone."""
    ours, theirs = two_cells()
    write(tmp_path / "cells" / ours.folder, PROBLEMS, ours.label)
    write(tmp_path / "cells" / theirs.folder, [PROBLEMS[0], *[([], (200, 1.0, 5), None)] * 3], theirs.label, "uniform",
          marks=[])
    settings = Settings(None, 4000, "text", None)
    return Report(tmp_path, [ours, theirs], {"shipped": Price(100.0, 0.0)}, settings,
                  {"domain": "game24", "split": "test"}, 0)


def test_what_stood_at_a_budget(report: Report):
    cell = report.cells[0]
    marks = {(row["index"], row["budget"]): row for row in MARKED}
    early = standing(report.runs[0], cell, cell.budgets[0], marks)
    # At 50 tokens the first is proved, the second wrong, the third not readable yet; the fourth had failed at 40.
    assert early.correct.tolist() == [1, 0, 0, 0] and early.verified.tolist() == [1, 0, 0, 0]
    assert early.statuses == ("correct", "wrong", "unparsable", "error")
    assert early.spent["tokens"].tolist() == [10, 50, 50, 40]
    assert early.spent["seconds"].tolist() == [0.1, 0.25, 0.28, 0.2]
    assert early.spent["simulations"].tolist() == [1, 4, 3, 3]
    late = standing(report.runs[0], cell, cell.budgets[1], marks)
    assert late.correct.tolist() == [1, 1, 1, 0] and late.verified.tolist() == [1, 0, 1, 0]
    assert late.statuses == ("correct", "correct", "correct", "error")
    assert late.spent["tokens"].tolist() == [10, 200, 60, 40]


def test_a_failure_that_came_later_does_not_count_yet(tmp_path: Path):
    cell = two_cells()[0]
    write(tmp_path, [([(10, 0.1, True, False, "correct")], (90, 0.4, 2), "RuntimeError: later")], cell.label, marks=[])
    run = read_run(tmp_path)
    assert standing(run, cell, cell.budgets[0], {}).statuses == ("correct",)
    assert standing(run, cell, cell.budgets[1], {}).statuses == ("error",)


def test_the_figures(report: Report):
    found = report.content()
    assert [(row["policy"], row["budget"], row["read_off"]) for row in found["rows"]] == [
        ("shipped", "50tok", "200tok"), ("shipped", "200tok", None), ("uniform", "50tok", "200tok"),
        ("uniform", "200tok", None)]  # fmt: skip
    early, late, control, _ = found["rows"]
    assert (early["solved"], late["solved"], control["solved"]) == (1, 3, 1) and control["control"] is True
    # Wilson (1927) by hand, 3 of 4: (0.75 + z2/8 -+ z sqrt(0.1875/4 + z2/64)) / (1 + z2/4), z2 = 3.841459.
    assert late["ci95"] == pytest.approx([0.300642, 0.954413], abs=1e-6)
    assert (late["tokens"], late["seconds"], late["simulations"]) == (77.5, pytest.approx(0.4), 4.25)
    assert early["tokens"] == 37.5 and early["unparsable"] == 1 and early["errors"] == late["errors"] == 1
    assert (early["verified"], late["verified"]) == (0.25, 0.5) and late["timeouts"] == 0
    assert late["dollars"] == pytest.approx(77.5 * 100 / 1e6) and control["dollars"] is None
    assert early["difference"]["mean"] == 0.0 and control["difference"] is None
    apart = late["difference"]
    assert (apart["mean"], apart["only_this"], apart["only_baseline"]) == (0.5, 2, 0)
    # Two of four problems are won: their number in a resample is binomial (4, 1/2), 0 of 4 with probability 1/16.
    assert apart["ci95"] == [0.0, 1.0] and apart["excludes_zero"] is False
    assert json.loads(json.dumps(found)) == found


def test_paired_differences_keep_the_pairs():
    a, b = np.array([1.0] * 60 + [0.0] * 40), np.array([1.0] * 50 + [0.0] * 50)
    mean, low, high = paired(a, b, bootstrap_weights(100, 20_000, 0))
    # Ten wins in a hundred: binomial (100, 0.1), whose 2.5 and 97.5 % points are 5 and 16.
    assert mean == pytest.approx(0.1) and (low, high) == (pytest.approx(0.05), pytest.approx(0.16))


GOLDEN_TEXT = """\
game24, test: 4 problems, seed 0

policy   search  budget         solved [%]  tokens  seconds  simulations  verified [%]  unparsable  no answer  timeouts  errors  $ per 1,000  minus uniform [points]
shipped  mcts    50tok*   25.0 [4.6, 69.9]      38    0.208            3          25.0           1          0         0       1         3.75       +0.0 [+0.0, +0.0]
shipped  mcts    200tok  75.0 [30.1, 95.4]      78      0.4            4          50.0           0          0         0       1         7.75    +50.0 [+0.0, +100.0]
uniform  mcts    50tok*   25.0 [4.6, 69.9]      40    0.775            4          25.0           0          3         0       0            -                       -
uniform  mcts    200tok   25.0 [4.6, 69.9]     152    0.775            4          25.0           0          3         0       0            -                       -

Intervals are 95 %: Wilson's of what is solved, the bootstrap's over problems of paired differences.
Tokens, seconds and simulations are means over problems.
$ per 1,000 problems: tokens generated, prompt tokens and hours, at the prices given for each. Prompt tokens are as a server counts them; its rebate for cached ones is not known.
* Read off an evaluation at the longest budget of its currency: the answer that stood then.
The control plays random legal steps; its tokens are characters, and cost no model.
"""  # noqa: E501


def test_the_golden_table(report: Report, capsys: pytest.CaptureFixture[str]):
    report.write()
    assert (report.folder / "comparison.txt").read_text() == GOLDEN_TEXT
    printed = capsys.readouterr().out
    assert (report.folder / "comparison.txt").read_text() in printed and f"run: {report.folder}" in printed
    told = (report.folder / "comparison.md").read_text().splitlines()
    assert told[2].count("|") == told[3].count("|") == told[5].count("|") == 15
    assert told[5] == ("| shipped | mcts | 200tok | 75.0 [30.1, 95.4] | 78 | 0.4 | 4 | 50.0 | 0 | 0 | 0 | 1 | 7.75 | "
                       "+50.0 [+0.0, +100.0] |")
    assert json.loads((report.folder / "comparison.json").read_text()) == report.content()
    assert (report.folder / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (report.folder / "comparison.svg").read_text()


def test_the_picture_names_its_axes_and_curves(report: Report):
    figure = draw(report)
    assert [(panel.get_xlabel(), panel.get_ylabel()) for panel in figure.axes] == [
        ("thinking time [s]", "problems solved [%]"), ("tokens generated", ""), ("money [$ for 1,000 problems]", "")]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "shipped / mcts", "uniform (control) / mcts", "greedy pass"]  # fmt: skip
    dashes = {line.get_label(): line.get_linestyle() for line in figure.axes[1].lines}
    assert dashes["shipped / mcts"] == "-" and dashes["uniform / mcts"] == "--"
    # What is solved at the end of each curve, in percent.
    assert {line.get_label(): float(line.get_ydata()[-1]) for line in figure.axes[1].lines if " / " in
            str(line.get_label())} == {"shipped / mcts": 75.0, "uniform / mcts": 25.0}


def test_the_baseline_may_be_one_searcher_of_one_policy():
    compared = two_cells()
    for baseline, expected in ((None, ("uniform", None)), ("shipped", ("shipped", None)),
                               ("shipped/mcts", ("shipped", "mcts"))):
        settings = Settings(baseline, 9, "text", None)
        settings.check(compared)
        assert settings.baseline_of(compared) == expected
    with pytest.raises(BadInput, match="allowed: shipped, shipped/mcts, uniform, uniform/mcts"):
        Settings("mcts", 9, "text", None).check(compared)


def test_money_is_a_currency_of_its_own(report: Report):
    run = priced(report.runs[0], Price(per_million_tokens=100, per_hour=36))
    assert run.spent("dollars")[1] == pytest.approx(1000 * (200 * 100 / 1e6 + 1.0 * 36 / 3600))
    at = run.correct_at("dollars", np.array([1000 * (10 * 100 / 1e6 + 0.001), 1e6]))
    assert at[:, 0].tolist() == [1, 0, 0, 0] and at[:, 1].tolist() == [1, 1, 1, 0]
    assert priced(report.runs[0], None) is report.runs[0]


def test_currencies_are_not_mixed():
    policies, searches = entries("policy", "uniform", "p"), entries("search", "mcts", "s")

    def shown(*asked: str, concurrent=None, paid=()):
        found = cells(policies, searches, budgets(OmegaConf.create(list(asked))), ["seconds"], concurrent, 32)
        drawn = currencies(found, set(paid))
        return {axis: [str(cell.budget) for cell in found if cell.number in some] for axis, some in drawn.items()}

    assert shown("1s", "5s", "100tok") == {"seconds": ["5s"], "tokens": ["100tok"]}
    assert shown("5s") == {"seconds": ["5s"], "tokens": ["5s"]}
    assert shown("50tok", "100tok", "70tok") == {"tokens": ["100tok"]}  # the others are points beside its curve
    assert shown("100tok") == {"tokens": ["100tok"]}  # many at once: nobody's seconds
    assert shown("100tok", concurrent=1) == {"seconds": ["100tok"], "tokens": ["100tok"]}
    assert shown("5s", "100tok", paid=["uniform"])["dollars"] == ["5s"]
    assert shown("100tok", paid=["uniform"])["dollars"] == ["100tok"]
