"""The comparison of mathematical answers held against a suite of pairs whose equivalence is known."""

from __future__ import annotations

import json
import resource
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from verifiers.conformance.report import Report, percentile
from verifiers.math.workers import shared_workers
from verifiers.math_answer import Comparison, Relation, compare

OWN = Path(__file__).resolve().parents[2] / "tests" / "adversarial" / "math.jsonl"


def run(path: str | Path | None = None, threads: int = 1) -> Report:
    """Check every row {id, prediction, gold, equivalent, why} of a JSON-lines file; our own suite if None.

    An unknown outcome rejects. With more than one thread, a row's time includes its waiting for the others.
    Raises ValueError for a row that lacks a field, OSError for a file that is not there.
    """
    suite = Path(path) if path is not None else OWN
    rows = read_rows(suite)
    compare(r"\sqrt{2}\cdot\sqrt{3}", r"\sqrt{6}")  # the workers start before the clock does
    with ThreadPoolExecutor(threads) as pool:
        outcomes = list(pool.map(_timed, rows))
    seen = Counter((outcome.ok == row["equivalent"], outcome.ok)
                   for row, (outcome, _) in zip(rows, outcomes, strict=True))
    milliseconds = [taken for _, taken in outcomes]
    own_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Report(
        suite=suite.stem, cases=len(rows),
        true_accept=seen[True, True], false_accept=seen[False, True],
        true_reject=seen[True, False], false_reject=seen[False, False],
        unknown=sum(outcome.relation is Relation.UNKNOWN for outcome, _ in outcomes),
        mean_ms=round(sum(milliseconds) / max(1, len(milliseconds)), 2),
        p99_ms=round(percentile(milliseconds, 0.99), 2),
        peak_mb=round(max(own_kb, shared_workers().peak_kb) / 1024, 1),
        mismatched=tuple(str(row["id"]) for row, (outcome, _) in zip(rows, outcomes, strict=True)
                         if outcome.ok != row["equivalent"]),
    )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Raises ValueError naming the line that is no row."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        row = json.loads(line)
        missing = {"id", "prediction", "gold", "equivalent"} - set(row)
        if missing:
            raise ValueError(f"{path}, line {number}: no {', '.join(sorted(missing))}")
        rows.append(row)
    return rows


def _timed(row: Mapping[str, Any]) -> tuple[Comparison, float]:
    started = time.perf_counter()
    outcome = compare(row["prediction"], row["gold"])
    return outcome, 1000 * (time.perf_counter() - started)
