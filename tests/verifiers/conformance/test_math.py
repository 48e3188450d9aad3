"""The report over a suite, and the command that prints it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from verifiers.conformance import __main__ as conformance
from verifiers.conformance.math import OWN, run
from verifiers.conformance.report import Report, percentile

ROWS = [
    {"id": "ta", "prediction": "1/2", "gold": "0.5", "equivalent": True, "why": ""},
    {"id": "fa", "prediction": "1/2", "gold": "0.5", "equivalent": False, "why": "mislabelled, so counted"},
    {"id": "tr", "prediction": "1", "gold": "2", "equivalent": False, "why": ""},
    {"id": "tu", "prediction": "f(1", "gold": "2", "equivalent": False, "why": ""},
    {"id": "fr", "prediction": "f(1", "gold": "2", "equivalent": True, "why": "mislabelled, so counted"},
]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    return path


def test_every_outcome_is_counted(suite: Path) -> None:
    report = run(suite)
    assert (report.suite, report.cases, report.true_accept, report.false_accept) == ("pairs", 5, 1, 1)
    assert (report.true_reject, report.false_reject, report.unknown, report.mismatched) == (2, 1, 2, ("fa", "fr"))
    assert 0 < report.mean_ms <= report.p99_ms and report.peak_mb > 1


def test_the_command_prints_a_line_or_json(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert conformance.main(["--math", str(suite), "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == list(Report.__dataclass_fields__) and printed["mismatched"] == ["fa", "fr"]
    assert conformance.main(["--math", str(suite)]) == 1
    assert capsys.readouterr().out.startswith("suite pairs, cases 5, true_accept 1, false_accept 1,")


@pytest.mark.parametrize("text", ['{"id": "x", "gold": "1", "equivalent": true}', "no json"])
def test_a_bad_row_is_named(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    assert conformance.main(["--math", str(path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert conformance.main(["--math", str(tmp_path / "absent.jsonl")]) == 2


def test_our_own_suite_is_found() -> None:
    rows = [json.loads(line) for line in OWN.read_text().splitlines()]
    assert len(rows) >= 200
    assert len({row["id"] for row in rows}) == len(rows)


def test_percentile() -> None:
    assert percentile([], 0.99) == 0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(value) for value in range(1, 101)], 0.99) == 99.0
