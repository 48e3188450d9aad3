"""What a race consists of: trainings, and measurements at their marks, each done once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.race.arms import ARMS, Kind
from benchmarks.race.job import Taken
from benchmarks.race.measuring import measure, worn
from benchmarks.race.results import BASE, Result, Results
from benchmarks.race.training import Track, place, train
from verifiers.base import Problem
from verifiers.domains.countdown import Countdown


@dataclass(frozen=True)
class Race:
    """A folder with what was done, and how more is done.

    Attributes:
        stage: `tune` or `race`.
        split: name of the domain's split that policies are measured on.
        measures: see measuring.py.
    """

    folder: Path
    stage: str
    track: Track
    results: Results
    domain: Countdown
    split: str
    problems: Sequence[Problem]
    measures: Sequence[str]

    def go(self, arm: str, config: str, seed: int) -> None:
        """One training and its measurements, unless they are there."""
        options = ARMS[arm].options(config)
        wanted = [self._row(arm, config, options, seed, Taken(mark, 0, 0, None), {}) for mark in self.track.marks]
        if all(self.results.has(row, self.measures) for row in wanted):
            return
        folder = place(self.folder, self.stage, arm, config, options, seed)
        for taken in train(ARMS[arm].kind, options, seed, folder, self.track):
            row = self._row(arm, config, options, seed, taken, {})
            if not self.results.has(row, self.measures):
                self._measure(row, ARMS[arm].kind, taken.folder, folder)

    def begin(self) -> None:
        """Measure the policy that all begin with."""
        row = self._row(BASE, "", (), 0, Taken(0.0, 0.0, 0, None), {})
        if not self.results.has(row, self.measures):
            self._measure(row, Kind.IMPROVE, None, self.folder / "runs" / self.stage / BASE)

    def _measure(self, row: Result, kind: Kind, policy: str | None, folder: Path) -> None:
        found = measure(worn(kind, policy), self.domain, self.split, self.problems, self.measures, self.track.threads,
                        folder / f"search-{self.split}-{row.mark:g}")
        done = Result(**{**vars(row), "correct": found.correct, "policy": found.version})
        self.results.append(done)
        told = "  ".join(f"{name} {100 * done.accuracy(name):.1f} %" for name in self.measures)
        print(f"{row.arm} {row.config} seed {row.seed}, {row.mark:g} min ({row.seconds:.0f} s, {row.steps} steps): "
              f"{told}", flush=True)

    def _row(self, arm: str, config: str, options: Sequence[str], seed: int, taken: Taken,
             correct: dict[str, str]) -> Result:
        return Result(self.stage, arm, config, tuple(options), seed, taken.mark, self.split, taken.seconds, taken.steps,
                      correct)
