"""The comparison of mathematical answers held against a suite of pairs whose equivalence is known."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

from verifiers.conformance.report import Report, percentile
from verifiers.math.workers import shared_workers
from verifiers.math_answer import Relation, compare

OWN = Path(__file__).resolve().parents[2] / "tests" / "adversarial" / "math.jsonl"


def run(path: str | Path | None = None) -> Report:
    """Check every row {id, prediction, gold, equivalent, why} of a JSON-lines file; our own suite if None.

    An unknown outcome rejects. Raises ValueError for a row that lacks a field, OSError for a file that is not there.
    """
    suite = Path(path) if path is not None else OWN
    counts = {"true_accept": 0, "false_accept": 0, "true_reject": 0, "false_reject": 0}
    unknown, milliseconds, mismatched = 0, [], []
    compare(r"\sqrt{2}\cdot\sqrt{3}", r"\sqrt{6}")  # the workers start before the clock does
    for number, line in enumerate(suite.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        row = json.loads(line)
        missing = {"id", "prediction", "gold", "equivalent"} - set(row)
        if missing:
            raise ValueError(f"{suite}, line {number}: no {', '.join(sorted(missing))}")
        started = time.perf_counter()
        outcome = compare(row["prediction"], row["gold"])
        milliseconds.append(1000 * (time.perf_counter() - started))
        unknown += outcome.relation is Relation.UNKNOWN
        name = f"{'true' if outcome.ok == row['equivalent'] else 'false'}_{'accept' if outcome.ok else 'reject'}"
        counts[name] += 1
        if outcome.ok != row["equivalent"]:
            mismatched.append(str(row["id"]))
    own_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Report(
        suite=suite.stem, cases=len(milliseconds), **counts, unknown=unknown,
        mean_ms=round(sum(milliseconds) / max(1, len(milliseconds)), 2),
        p99_ms=round(percentile(milliseconds, 0.99), 2),
        peak_mb=round(max(own_kb, shared_workers().peak_kb) / 1024, 1), mismatched=tuple(mismatched))
