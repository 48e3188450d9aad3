"""Results as figures with intervals: a table in Markdown, and a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.race.arms import ARMS
from benchmarks.race.measuring import MEASURES
from benchmarks.race.results import BASE, Refused, Result
from commands.statistics import Floats, bootstrap_weights, wilson

RESAMPLES = 4000
COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#009E73", "#D55E00")  # Okabe and Ito (2008), an arm each
OURS = "expert_iteration"


@dataclass(frozen=True)
class Figure:
    """An accuracy, or a difference of two, with its 95 % interval; in [-1, 1]."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def matrix(rows: Sequence[Result], measure: str) -> Floats:
    """Right answers, 0 or 1, of shape [seeds, problems]; rows of one arm at one mark."""
    return np.array([[float(digit) for digit in row.correct[measure]] for row in sorted(rows, key=lambda r: r.seed)])


def accuracy(correct: Floats) -> Figure:
    """The mean over seeds and problems. With one seed Wilson's interval; with several a bootstrap that draws both seeds
    and problems anew. Where that has no width, as where all is solved, Wilson's for the problems."""
    seeds, problems = correct.shape
    mean = float(correct.mean())
    low, high = wilson(round(mean * problems), problems)
    if seeds > 1:
        bounds = np.quantile(_resampled(correct, 1), [0.025, 0.975]).clip(0, 1)
        if bounds[1] - bounds[0] > 1e-9:  # but for rounding
            low, high = map(float, bounds)
    return Figure(mean, low, high)


def difference(ours: Floats, theirs: Floats) -> Figure:
    """Ours minus theirs on the same problems: problems are drawn together, seeds apart."""
    found = _resampled(ours, 1) - _resampled(theirs, 2)
    low, high = np.quantile(found, [0.025, 0.975])
    return Figure(float(ours.mean() - theirs.mean()), float(low), float(high))


def _resampled(correct: Floats, seed: int) -> Floats:
    """Means of resamples; those of problems are the same for all, so that differences are paired."""
    seeds, problems = correct.shape
    of_problems = bootstrap_weights(problems, RESAMPLES)
    of_seeds = bootstrap_weights(seeds, RESAMPLES, seed)
    means: Floats = ((of_seeds @ correct) * of_problems).sum(1)
    return means


def raced(rows: Sequence[Result], split: str) -> dict[tuple[str, str, float], list[Result]]:
    """Rows of the race by arm, configuration and mark, in the order of the arms. Raises Refused if there is none."""
    chosen = [row for row in rows if row.stage == "race" and row.split == split]
    if not chosen:
        raise Refused(f"nothing has been raced on the split {split}; see `run`")
    order = [BASE, *ARMS]
    groups: dict[tuple[str, str, float], list[Result]] = {}
    for row in sorted(chosen, key=lambda r: (order.index(r.arm), r.config, r.options, r.mark)):
        groups.setdefault((row.arm, row.config, row.mark), []).append(row)
    return groups


def table(rows: Sequence[Result], split: str) -> str:
    """Markdown: a row an arm and mark, then the differences at the last mark."""
    groups = raced(rows, split)
    problems = len(next(iter(groups.values()))[0].correct[MEASURES[0]])
    lines = [f"Game of 24, `{split}`, {problems} problems; mean over seeds, 95 % intervals.", "",
             "| arm (configuration) | minutes | seeds | " + " | ".join(MEASURES) + " |",
             "|---" * (3 + len(MEASURES)) + "|"]
    for (arm, config, mark), group in groups.items():
        label = "the shipped policy" if arm == BASE else f"{ARMS[arm].label} (`{config}`)"
        cells = [str(accuracy(matrix(group, measure))) for measure in MEASURES]
        lines.append(f"| {label} | {mark:g} | {len(group)} | {' | '.join(cells)} |")
    return "\n".join([*lines, *differences(groups)]) + "\n"


def differences(groups: dict[tuple[str, str, float], list[Result]]) -> list[str]:
    """Ours minus each other arm, at the last mark that both have."""
    ours = {mark: group for (arm, _, mark), group in groups.items() if arm == OURS}
    lines = []
    for (arm, _, mark), group in groups.items():
        if arm not in (OURS, BASE) and ours and mark == max(ours):
            cells = []
            for measure in MEASURES:
                found = difference(matrix(ours[mark], measure), matrix(group, measure))
                cells.append(f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]")
            lines.append(f"| {ARMS[OURS].label}, minus {ARMS[arm].label} | {mark:g} | {' | '.join(cells)} |")
    if not lines:
        return []
    head = ["", "Paired differences in points:", "", "| | minutes | " + " | ".join(MEASURES) + " |",
            "|---" * (2 + len(MEASURES)) + "|"]
    return [*head, *lines]


def picture(rows: Sequence[Result], split: str, suffix: str) -> bytes:
    """Accuracy against minutes, a panel a measure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = raced(rows, split)
    with plt.rc_context({"font.size": 10, "svg.hashsalt": "race", "axes.spines.top": False,
                         "axes.spines.right": False}):
        figure, panels = plt.subplots(1, len(MEASURES), figsize=(4.1 * len(MEASURES), 4.2), layout="constrained")
        for panel, measure in zip(panels, MEASURES, strict=True):
            draw(panel, groups, measure)
        panels[0].set_ylabel("problems solved [%]")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
        figure.suptitle(f"Game of 24, {split}: the same minutes from the same policy", fontweight="bold")
        file = io.BytesIO()
        figure.savefig(file, format=suffix, dpi=150, metadata={"Date": None} if suffix == "svg" else None)
        plt.close(figure)
    return file.getvalue()


def draw(panel: Any, groups: dict[tuple[str, str, float], list[Result]], measure: str) -> None:
    """A curve with intervals for each arm; they are moved apart a little, so that intervals can be told apart."""
    start = [(0.0, accuracy(matrix(group, measure))) for (arm, _, _), group in groups.items() if arm == BASE]
    curves: dict[tuple[str, str], list[tuple[float, Figure]]] = {}
    for (arm, config, mark), group in groups.items():
        if arm != BASE:
            curves.setdefault((arm, config), list(start)).append((mark, accuracy(matrix(group, measure))))
    for number, ((arm, config), points) in enumerate(curves.items()):
        minutes = [mark + 0.06 * number for mark, _ in points]
        means = [100 * found.mean for _, found in points]
        spread = [[100 * max(0.0, found.mean - found.low) for _, found in points],
                  [100 * max(0.0, found.high - found.mean) for _, found in points]]
        panel.errorbar(minutes, means, yerr=spread, marker="o", markersize=4, capsize=2, linewidth=1.6,
                       color=COLOURS[list(ARMS).index(arm)], label=f"{ARMS[arm].label} ({config})")
    panel.set_title(measure, fontsize=11)
    panel.set_xlabel("minutes on the clock")
    panel.set_ylim(0, 103)
    panel.grid(alpha=0.25)
