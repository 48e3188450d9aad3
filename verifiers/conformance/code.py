"""Hold the sandbox against a suite of hostile and honest programs.

A row is JSON: {id, entry_point, program, tests: [[args, expected], ...], must: pass|fail, attack}.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from verifiers.base import Status, Verdict
from verifiers.conformance.report import Report
from verifiers.sandbox import Sandbox
from verifiers.unit_tests import CallTest, Suite, check

OWN_SUITE = Path(__file__).resolve().parents[2] / "tests" / "adversarial" / "code.jsonl"
_SECRET = "VERIFIER_TEST_SECRET"  # some rows look for it in the environment of the verifier


def run(path: Path | None = None, sandbox: Sandbox | None = None, threads: int | None = None) -> Report:
    """Check every row, several at once; the project's own suite by default.

    Raises OSError for a file that cannot be read, ValueError naming the line for a row that is none.
    """
    path = path or OWN_SUITE
    rows = read_rows(path)
    if not rows:
        raise ValueError(f"{path}: no rows")
    with contextlib.ExitStack() as stack:
        sandbox = sandbox or stack.enter_context(Sandbox())
        stack.enter_context(_secret())
        pool = stack.enter_context(ThreadPoolExecutor(threads or os.cpu_count() or 1))
        results = list(pool.map(lambda row: _timed(row, sandbox), rows))
        peak = sandbox.peak_mb
    verdicts = [verdict for verdict, _ in results]
    seen = Counter((row["must"], verdict.ok) for row, verdict in zip(rows, verdicts, strict=True))
    mismatched = [row["id"] for row, verdict in zip(rows, verdicts, strict=True)
                  if verdict.status is Status.ERROR or verdict.ok != (row["must"] == "pass")]
    times = sorted(seconds for _, seconds in results)
    return Report(
        suite=path.stem, cases=len(rows),
        true_accept=seen["pass", True], false_accept=seen["fail", True],
        true_reject=seen["fail", False], false_reject=seen["pass", False],
        unknown=sum(verdict.status is Status.ERROR for verdict in verdicts),
        mean_ms=round(1000 * sum(times) / len(times), 2),
        p99_ms=round(1000 * times[math.ceil(0.99 * len(times)) - 1], 2),
        peak_mb=round(peak, 1), mismatched=tuple(mismatched),
    )


def suite_of(row: Mapping[str, Any]) -> Suite:
    return Suite(tuple(CallTest(tuple(args), expected) for args, expected in row["tests"]), row["entry_point"])


def verdict_of(row: Mapping[str, Any], sandbox: Sandbox) -> Verdict:
    return check(row["program"], suite_of(row), sandbox)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Raises ValueError naming the line that is no row."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            [(list(args), expected) for args, expected in row["tests"]]
            if row["must"] not in ("pass", "fail"):
                raise ValueError("must is neither pass nor fail")
            row["id"], row["entry_point"], row["program"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: {type(error).__name__}: {error}") from error
        rows.append(row)
    return rows


def _timed(row: Mapping[str, Any], sandbox: Sandbox) -> tuple[Verdict, float]:
    start = time.perf_counter()
    verdict = verdict_of(row, sandbox)
    return verdict, time.perf_counter() - start


@contextlib.contextmanager
def _secret() -> Iterator[None]:
    before = os.environ.get(_SECRET)
    os.environ[_SECRET] = "only the verifier may read this"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SECRET]
        else:
            os.environ[_SECRET] = before
