"""Hostile and honest programs: every demand is met, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.verifiers import traces, unprivileged
from verifiers.base import Status, Verdict
from verifiers.conformance import __main__ as conformance
from verifiers.conformance.code import OWN_SUITE, read_rows, run, verdict_of
from verifiers.sandbox import Limits, Sandbox

SHARED_SUITE = Path(__file__).resolve().parents[4] / "shared" / "conformance" / "code_hostile.jsonl"
SUITES = [path for path in (OWN_SUITE, SHARED_SUITE) if path.exists()]
ROWS = [row for path in SUITES for row in read_rows(path)]
SECRET = "VERIFIER_TEST_SECRET"
# What must fail is given little time, so that what hangs does not hang for long; the heavy tests give the usual time.
SHORT, LONG = Limits(cpu_seconds=0.1, wall_seconds=0.3), Limits(cpu_seconds=2.0, wall_seconds=10.0)


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[dict[str, Sandbox]]:
    with Sandbox(SHORT) as short, Sandbox(LONG) as long:
        yield {"fail": short, "pass": long}


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "only the verifier may read this")


def met(row: dict[str, Any], verdict: Verdict) -> bool:
    return verdict.status is not Status.ERROR and verdict.ok == (row["must"] == "pass")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_a_demand_is_met_and_nothing_is_left_behind(row: dict[str, Any], sandboxes: dict[str, Sandbox]) -> None:
    sandbox = sandboxes[row["must"]]
    zygote = traces.zygote_of(sandbox._zygote.pid)
    before = traces.snapshot(zygote)
    verdict = verdict_of(row, sandbox)
    assert met(row, verdict), verdict
    assert traces.difference(before, zygote) == {}


def test_the_own_suite_is_large_and_fair() -> None:
    rows = read_rows(OWN_SUITE)
    assert len({row["id"] for row in rows}) == len(rows) >= 80
    assert len([row for row in rows if row["must"] == "pass"]) >= 20


def test_a_report_counts(tmp_path: Path) -> None:
    test = [[[1], 2]]
    rows = [
        {"id": id_, "entry_point": "f", "program": program, "tests": tests, "must": must, "attack": ""}
        for id_, program, tests, must in (
            ("right", "def f(x): return x + 1", test, "pass"), ("wrong", "def f(x): return x", test, "fail"),
            ("false reject", "def f(x): return x", test, "pass"), ("false accept", "def f(x): return 2", test, "fail"),
            ("no tests", "def f(x): return x", [], "fail"),
        )
    ]
    path = tmp_path / "some.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    report = asdict(run(path))
    assert report.pop("mean_ms") > 0 and report.pop("p99_ms") > 0 and report.pop("peak_mb") > 0
    assert report == {
        "suite": "some", "cases": 5, "true_accept": 1, "false_accept": 1, "true_reject": 2, "false_reject": 1,
        "unknown": 1, "mismatched": ("false reject", "false accept", "no tests"),
    }


@pytest.mark.parametrize("line", [
    "nothing", "{}", "[]", '{"id": "x", "entry_point": "f", "program": "", "must": "pass"}',
    '{"id": "x", "entry_point": "f", "program": "", "tests": [], "must": "maybe"}',
    '{"id": "x", "entry_point": "f", "program": "", "tests": [[1, 2]], "must": "fail"}',
])
def test_a_broken_row_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text(f"\n{line}\n")
    with pytest.raises(ValueError, match=r"broken\.jsonl, line 2"):
        run(path)


SOME = """
import json, sys
from pathlib import Path
from verifiers.conformance.code import read_rows, verdict_of
from verifiers.sandbox import Limits, Sandbox
with Sandbox(Limits(cpu_seconds=1, wall_seconds=2)) as sandbox:
    rows = read_rows(Path(sys.argv[1]))[::int(sys.argv[2])]
    print([r["id"] for r in rows if (v := verdict_of(r, sandbox)).status == "error" or v.ok != (r["must"] == "pass")])
"""


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_some_demands_are_met_without_privileges(path: Path) -> None:
    assert unprivileged.run(SOME, str(path), "29").strip() == "[]"


# --- the whole of it; from threads, event loops and actors in test_everywhere.py ---


@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_all_demands_are_met_without_privileges(path: Path) -> None:
    code = ("import sys\nfrom pathlib import Path\nfrom verifiers.conformance.code import run\n"
            "report = run(Path(sys.argv[1]))\nprint(report.mismatched, report.unknown)")
    assert unprivileged.run(code, str(path)).strip() == "() 0"


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_a_storm_leaves_nobody_behind() -> None:
    before = traces.snapshot()
    row = {"program": "def f():\n    while True: pass", "entry_point": "f", "tests": [[[], 1]]}
    with Sandbox(Limits(cpu_seconds=0.1, wall_seconds=2)) as sandbox, ThreadPoolExecutor(1000) as pool:
        verdicts = list(pool.map(lambda _: verdict_of(row, sandbox), range(1000)))
    assert {verdict.status for verdict in verdicts} == {Status.TIMEOUT}
    assert traces.difference(before) == {}


def test_the_command_line_reads_a_suite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = tmp_path / "some.jsonl"
    row = {"id": "right", "entry_point": "f", "program": "def f(x): return x + 1", "tests": [[[1], 2]], "must": "pass",
           "attack": "none"}
    suite.write_text(json.dumps(row))
    assert conformance.main(["--code", str(suite), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["true_accept"] == 1
    suite.write_text(json.dumps({**row, "must": "fail"}))
    assert conformance.main(["--code", str(suite)]) == 1
    assert "false_accept 1" in capsys.readouterr().out and conformance.main(["--code", str(tmp_path / "absent")]) == 2
