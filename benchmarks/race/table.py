"""The race as a table and a picture: means over seeds, intervals over problems and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MEASURES = {"greedy": "greedy", "pass16": "pass@16", "search": "search, 2 s"}
ROOT = Path(__file__).resolve().parents[2]
SAMPLES = 2000
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")  # Okabe & Ito (2008)


def scores(rows: Sequence[Mapping[str, Any]], measure: str) -> tuple[float, float, float]:
    """Mean over seeds and problems with its 95 % interval: a bootstrap that draws seeds, and problems within them."""
    right: Floats = np.array([row["right"][measure] for row in rows], dtype=float)
    rng = np.random.default_rng(0)
    seeds = rng.integers(len(right), size=(SAMPLES, len(right)))
    problems = rng.integers(right.shape[1], size=(SAMPLES, right.shape[1]))
    means = [right[np.ix_(s, p)].mean() for s, p in zip(seeds, problems, strict=True)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(right.mean()), float(low), float(high)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: the configurations that were tried, then the race; writes docs/race.png too where it was run."""
    tuned = [row for row in rows if row["stage"] == "tune"]
    lines = ["| arm | configuration | greedy (validation) | pass@16 |", "|---|---|---|---|"]
    lines += [f"| {row['arm']} | {row['configuration']} | {100 * row['greedy']:.0f} % | {100 * row['pass16']:.0f} % |"
              for row in sorted(tuned, key=lambda row: (row["arm"], -row["greedy"]))]
    final = [row for row in rows if row["stage"] == "final"]
    if not final:
        return "\n".join(lines)
    lines += ["", f"| arm | minute | seeds | {' | '.join(MEASURES.values())} |", "|---|---|---|---|---|---|"]
    arms = sorted({row["arm"] for row in final})
    for arm in arms:
        for minute in sorted({row["minute"] for row in final}):
            some = [row for row in final if row["arm"] == arm and row["minute"] == minute]
            cells = ["{:.0f} % [{:.0f}, {:.0f}]".format(*(100 * x for x in scores(some, each))) for each in MEASURES]
            lines.append(f"| {arm} | {minute} | {len(some)} | {' | '.join(cells)} |")
    _draw(final, arms)
    return "\n".join(lines)


def _draw(final: Sequence[Mapping[str, Any]], arms: Sequence[str]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(MEASURES), figsize=(13, 4.2), layout="constrained")
    minutes = sorted({row["minute"] for row in final})
    for panel, (measure, name) in zip(panels, MEASURES.items(), strict=True):
        for arm, colour in zip(arms, COLOURS, strict=False):
            points = [scores([r for r in final if r["arm"] == arm and r["minute"] == m], measure) for m in minutes]
            panel.plot(minutes, [100 * p[0] for p in points], color=colour, marker="o", label=arm)
            panel.fill_between(minutes, [100 * p[1] for p in points], [100 * p[2] for p in points], color=colour,
                               alpha=0.13, linewidth=0)
        panel.set_title(name)
        panel.set_xlabel("minutes of processor time")
        panel.grid(color="#dddddd", linewidth=0.6)
    panels[0].set_ylabel("of the 100 puzzles solved [%]")
    panels[0].legend(frameon=False, fontsize=9)
    figure.savefig(ROOT / "docs" / "race.png", dpi=140)
    plt.close(figure)
