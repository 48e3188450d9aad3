"""What a run over a conformance suite comes to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """Counts and costs of one suite.

    Attributes:
        suite: its name.
        cases: rows.
        true_accept, false_accept, true_reject, false_reject: against what the rows demand.
        unknown: rows without a verdict, counted in none of the four.
        mean_ms, p99_ms: of one case on the clock.
        peak_mb: the most memory that any one process held.
        mismatched: ids of the rows that came out otherwise than demanded.
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
