"""The picture of a comparison: accuracy against each currency, a curve with its band for each policy and searcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from commands.comparison_table import Report, priced
from commands.errors import plain
from commands.grid import AXES, Cell
from commands.plot import COLOURS, draw_panel
from commands.statistics import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONTROL_COLOUR = "#444444"
DASHES = (0, (4, 2))


def draw(report: Report) -> Figure:
    """A column a currency. Of several policies under several searchers each searcher has a row; else one is enough."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cells = report.cells
    policies = {cell.policy.label for cell in cells if not cell.policy.control}
    searches = list(dict.fromkeys(cell.search.label for cell in cells))
    apart = len(policies) > 1 and len(searches) > 1
    rows = [(name, [cell for cell in cells if cell.search.label == name]) for name in searches] if apart \
        else [("", list(cells))]
    shown = currencies(cells, {label for label in report.prices})
    styles = _styles(cells, by_policy=len(policies) > 1)
    with plt.rc_context({
        "font.size": 10, "svg.hashsalt": "comparison", "axes.spines.top": False, "axes.spines.right": False,
    }):
        figure, table = plt.subplots(len(rows), len(shown), squeeze=False, sharex="col", sharey=True,
                                     layout="constrained", figsize=(max(6.4, 4.8 * len(shown)), 1.6 + 3.4 * len(rows)))
        for row, (name, some) in zip(table, rows, strict=True):
            for panel, (axis, drawn) in zip(row, shown.items(), strict=True):
                lines = [cell for cell in some if cell.number in drawn]
                _panel(panel, lines, report, axis, styles)
                _points(panel, [cell for cell in some if cell.axis == axis and cell not in lines], report, styles)
            row[0].set_title(plain(name), fontsize=11, fontweight="bold", loc="left")
            row[0].set_ylabel("problems solved [%]")
        for panel in table[:-1].flat:
            panel.set_xlabel("")
        _legend(figure, table, {cell.label: _name(cell, apart) for cell in cells})
        title = report.settings.title or (f"{report.names['domain']}, {report.names['split']}: "
                                          f"{len(report.runs[0].ids)} problems (bands: 95 %)")
        figure.suptitle(plain(title), fontsize=13, fontweight="bold")
    return figure


def currencies(cells: Sequence[Cell], priced_labels: set[str]) -> dict[str, set[int]]:
    """What there are panels of, and the numbers of the cells on each.

    Against tokens, evaluations under budgets of tokens, and of each policy and searcher the longest; against seconds
    likewise. Where there are none of one kind, the others (or those of mixed budgets) take their place, against seconds
    only if they thought about one problem at a time. Never two of one policy and searcher, unless budgets were mixed.
    """
    kinds = {axis: _longest(cells, axis) for axis in AXES}
    longest = [cell for cell in cells if cell.axis is None] or cells
    timed = [cell for cell in kinds["tokens"] or longest if cell.concurrent == 1]
    shown = {"seconds": kinds["seconds"] or timed, "tokens": kinds["tokens"] or kinds["seconds"] or longest}
    paid = [cell for cell in shown["seconds"] or shown["tokens"] if cell.policy.label in priced_labels]
    return {axis: {cell.number for cell in some} for axis, some in {**shown, "dollars": paid}.items() if some}


def _longest(cells: Sequence[Cell], axis: str) -> list[Cell]:
    """Of each policy and searcher the cell with the most of a currency."""
    found: dict[str, Cell] = {}
    for cell in cells:
        if cell.axis == axis and (cell.label not in found
                                  or cell.limit(cell.budget) > found[cell.label].limit(found[cell.label].budget)):
            found[cell.label] = cell
    return list(found.values())


def _panel(panel: Axes, cells: Sequence[Cell], report: Report, axis: str, styles: Mapping[str, dict[str, Any]]) -> None:
    runs = [priced(report.runs[cell.number], report.prices.get(cell.policy.label)) for cell in cells]
    runs = [run for run in runs if run.spent(axis).max() > 0]  # what costs nothing has no place on a log axis
    draw_panel(panel, runs, axis, styles, min(report.settings.samples, 2000), report.seed)


def _points(panel: Axes, cells: Sequence[Cell], report: Report, styles: Mapping[str, dict[str, Any]]) -> None:
    """What evaluations at shorter budgets of their own came to: beside the curve, not on it (see commands/grid.py)."""
    for cell in cells:
        right = report.runs[cell.number].correct
        low, high = wilson(int(right.sum()), len(right))
        panel.errorbar([cell.limit(cell.budget)], [100 * right.mean()],
                       yerr=[[100 * (right.mean() - low)], [100 * (high - right.mean())]], marker="s", markersize=6,
                       color=styles[cell.label]["color"], alpha=styles[cell.label]["alpha"], elinewidth=1, capsize=3,
                       markerfacecolor="white" if cell.policy.control else None, zorder=6)


def _styles(cells: Sequence[Cell], by_policy: bool) -> dict[str, dict[str, Any]]:
    """A colour for each policy, the control grey; or for each searcher, where all but the control is one policy."""
    def kind(cell: Cell) -> str:
        return cell.policy.label if by_policy else cell.search.label

    names = list(dict.fromkeys(kind(cell) for cell in cells if not (by_policy and cell.policy.control)))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    return {cell.label: {
        "color": colours.get(kind(cell), CONTROL_COLOUR), "linestyle": DASHES if cell.policy.control else "-",
        "linewidth": 1.6 if cell.policy.control else 2.0, "alpha": 0.8 if cell.policy.control else 1.0,
    } for cell in cells}


def _name(cell: Cell, by_row: bool) -> str:
    """In the legend, of the policy alone where rows are searchers."""
    policy = f"{cell.policy.label} (control)" if cell.policy.control else cell.policy.label
    return policy if by_row else f"{policy} / {cell.search.label}"


def _legend(figure: Figure, table: Any, names: Mapping[str, str]) -> None:
    """One for all panels, below."""
    from matplotlib.lines import Line2D

    found: dict[str, Any] = {}
    for panel in table.flat:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    entries = {name: found[label] for label, name in names.items() if label in found}
    entries["greedy pass"] = Line2D([], [], linestyle="", marker="o", color="#666666", markeredgecolor="white",
                                    markersize=7)
    if any(panel.containers for panel in table.flat):
        entries["a budget of its own"] = Line2D([], [], linestyle="", marker="s", color="#666666", markersize=6)
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", frameon=False,
                  ncols=min(3, len(entries)))
