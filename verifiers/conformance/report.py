"""What came of a suite of checks whose outcome is known: the same figures for every kind of verifier."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Report:
    """Figures of one suite.

    Attributes:
        suite: its name.
        cases: rows that were checked.
        true_accept, false_accept, true_reject, false_reject: counts; they add up to `cases`.
        unknown: rows that were rejected without being refuted; they are counted above too.
        mean_ms, p99_ms: wall-clock time of one check.
        peak_mb: largest resident memory of a process that checked.
        mismatched: ids of false accepts and false rejects.
    """

    suite: str
    cases: int
    true_accept: int
    false_accept: int
    true_reject: int
    false_reject: int
    unknown: int
    mean_ms: float
    p99_ms: float
    peak_mb: float
    mismatched: tuple[str, ...]

    def line(self) -> str:
        """One line for people, `name value` for each figure."""
        fields = asdict(self)
        fields["mismatched"] = " ".join(self.mismatched) or "none"
        return ", ".join(f"{name} {value}" for name, value in fields.items())

    def json(self) -> str:
        return json.dumps(asdict(self))


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))] if ordered else 0.0
