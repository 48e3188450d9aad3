"""Draw accuracy against thinking time, or a run of self-play: plot RUN_DIR... gives one picture, as PNG and SVG.

The upper row is against seconds, the lower against tokens, one column a domain; every run is a curve. At each point the
latest answer of every problem counts; bands are 95 % bootstrap intervals over problems; a dot is the greedy pass. Of a
run of self-play: ratings, accuracy against thinking time of each policy, what was solved, losses.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from omegaconf import DictConfig

from commands.errors import BadInput, plain, whole
from commands.manifest import write_atomically
from commands.progress import draw_improvement, is_improvement, read_improvement
from commands.statistics import Floats, band, bootstrap_weights
from commands.traces import Run, find_runs
from commands.traces import take_run_dirs as take_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["run", "take_words"]

POINTS = 300
AXES = {"seconds": "thinking time [s]", "tokens": "tokens generated", "dollars": "money [$ for 1,000 problems]"}
LEAST = {"seconds": 1e-3, "tokens": 1e-3, "dollars": 1e-9}  # where an axis begins at the earliest
# Okabe & Ito (2008): told apart by the colour-blind too; the control is always dashed.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
CONTROL = "uniform"


def run(cfg: DictConfig, run_dirs: Sequence[str]) -> int:
    samples, seed = whole("samples", cfg.samples), whole("seed", cfg.seed, 0)
    improved = [path for path in map(Path, run_dirs) if is_improvement(path)]
    if improved:
        if len(run_dirs) > 1:
            raise BadInput("plot draws one run of self-play at a time")
        figure = draw_improvement(read_improvement(improved[0]), cfg.title, samples, seed)
        default = improved[0] / "improvement"
    else:
        runs = find_runs(run_dirs)
        if not runs:
            raise BadInput("plot needs the directories of one or more evaluations, or of a run of self-play")
        if not all(one.ids for one in runs):
            raise BadInput(f"{next(one.path for one in runs if not one.ids)} holds no problem")
        figure, default = draw(runs, cfg.title, samples, seed), runs[0].path / "curves"
    out = Path(str(cfg.out)) if cfg.out is not None else default
    for suffix in ("png", "svg"):
        path = out.with_name(f"{out.name}.{suffix}")
        write_atomically(path, lambda file, suffix=suffix: save(figure, file, suffix))  # type: ignore[misc]
        print(path)
    return 0


def draw(runs: Sequence[Run], title: str | None, samples: int, seed: int) -> Figure:
    """One column a domain and split, one row an axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    columns: dict[tuple[str, str], list[Run]] = {}
    for one in runs:
        columns.setdefault((one.manifest["domain"], str(one.manifest["split"])), []).append(one)
    styles = _styles(runs)
    with plt.rc_context({
        "font.size": 10, "svg.hashsalt": "curves", "axes.spines.top": False, "axes.spines.right": False,
    }):
        figure, table = plt.subplots(2, len(columns), figsize=(max(6.4, 4.1 * len(columns)), 7.0), squeeze=False,
                                     sharey=True, layout="constrained")
        for column, ((domain, split), group) in enumerate(columns.items()):
            for row, axis in enumerate(("seconds", "tokens")):
                draw_panel(table[row][column], group, axis, styles, samples, seed)
            counts = sorted({len(one.ids) for one in group})
            title_of_column = f"{domain}, {split} ({' or '.join(map(str, counts))} problems)"
            table[0][column].set_title(plain(title_of_column), fontsize=11)
        for row in table:
            row[0].set_ylabel("problems solved [%]")
        # One legend for all panels; a run is labelled once however many domains it covers.
        entries: dict[str, Any] = {}
        for panel in table.flat:
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
                entries.setdefault(label, handle)
        dot = Line2D([], [], linestyle="", marker="o", color="#666666", markeredgecolor="white", markersize=7)
        entries["greedy pass"] = dot
        figure.legend(list(entries.values()), list(entries), loc="outside lower center", frameon=False,
                      ncols=min(2 + len(columns), len(entries)))
        figure.suptitle(plain(title) if title else "Accuracy against thinking time", fontsize=13, fontweight="bold")
    return figure


def draw_panel(
    panel: Axes, runs: Sequence[Run], axis: str, styles: Mapping[str, dict[str, Any]], samples: int, seed: int
) -> None:  # fmt: skip
    """A curve with its band for each run, and a dot for its greedy pass."""
    for one in runs:
        style = styles[one.label]
        points, right = curve(one, axis)
        low, high = band(right, bootstrap_weights(len(one.ids), samples, seed))
        shade = 0.13 if style["linestyle"] == "-" else 0.06
        panel.fill_between(points, 100 * low, 100 * high, step="post", color=style["color"], alpha=shade, linewidth=0)
        panel.step(points, 100 * right.mean(axis=0), where="post", label=plain(one.label), **style)
        panel.plot(points[0], 100 * right[:, 0].mean(), "o", color=style["color"], markersize=6,
                   markeredgecolor="white", zorder=5)
    _log_axis(panel)
    panel.set_xlabel(AXES[axis])
    panel.set_ylim(-2, 102)
    panel.grid(True, which="major", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)


def curve(one: Run, axis: str) -> tuple[Floats, Floats]:
    """(points [p], right [problems, p]) of a run's curve.

    Its first point is the greedy pass: its accuracy, at the median time it took. The trace takes over once 95 % of the
    greedy answers are there (lest the ramp up to them look like thinking), up to the budget, or to the most that was
    spent where that is more or the budget is of another kind.
    """
    from policy.budget import Budget

    greedy, spent = one.greedy_at(axis), one.spent(axis)
    limit = getattr(Budget.parse(one.manifest["budget"]), axis, None) or 0.0
    end = max(float(limit), float(spent.max()), LEAST[axis])
    start = float(np.quantile(greedy, 0.95)) if len(greedy) else float(spent[spent > 0].min(initial=end)) / 2
    points = np.geomspace(min(max(start, LEAST[axis]), end), end * 1.0001, POINTS)
    right = one.correct_at(axis, points)
    if not len(greedy):
        return points, right
    first = min(float(np.median(greedy)), points[0])
    return np.r_[first, points], np.c_[one.greedy_correct, right]


def _styles(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """A colour for each searcher (and each label of its own); full lines for policies, dashed ones for the control."""
    def kind(one: Run) -> str:
        return str(one.manifest.get("label") or one.manifest["search"])

    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(sorted(set(map(kind, runs))))}
    styles = {}
    for one in runs:
        control = one.manifest["policy"] == CONTROL
        styles[one.label] = {
            "color": colours[kind(one)], "linestyle": (0, (4, 2)) if control else "-",
            "linewidth": 1.4 if control else 2.0, "alpha": 0.75 if control else 1.0,
        }
    return styles


def _log_axis(panel: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    panel.set_xscale("log")
    low, high = panel.get_xlim()
    steps = (1.0,) if high > 50 * low else (1.0, 2.0, 5.0)
    panel.xaxis.set_major_locator(LogLocator(subs=steps))
    panel.xaxis.set_major_formatter(_plain_number)
    panel.xaxis.set_minor_formatter(NullFormatter())


def _plain_number(value: float, position: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 1000 else f"{value:g}"


def save(figure: Figure, file: BinaryIO, suffix: str) -> None:
    """Write a figure as `png` or `svg`."""
    # Rendered to memory first: what matplotlib raises and what the disk raises are then not mixed up.
    picture = io.BytesIO()
    metadata = {"Date": None} if suffix == "svg" else {}
    figure.savefig(picture, format=suffix, dpi=160, metadata=metadata)
    file.write(picture.getvalue())
