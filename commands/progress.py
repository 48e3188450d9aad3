"""What became of a run of self-play, drawn: ratings, accuracies, curves of thinking, losses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.errors import BadInput, plain
from commands.traces import Run, read_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"system1": "#0072B2", "system2": "#D55E00", "third": "#009E73", "fourth": "#CC79A7"}  # Okabe & Ito (2008)
MODES = {"system1": "System 1 (greedy)", "system2": "System 2 (search)"}


@dataclass(frozen=True)
class Improvement:
    """A run of self-play read back.

    Attributes:
        manifest: as written.
        history: a row a generation.
        elo: by mode and generation: rating with its interval, from all matches.
        curves: evaluations of its policies on the same problems in the same way, the first one first.
    """

    path: Path
    manifest: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    elo: Mapping[str, Mapping[int, tuple[float, float, float]]]
    curves: Sequence[Run]

    @property
    def domain(self) -> str:
        return str(self.manifest["config"]["domain"]["name"])

    @property
    def hours(self) -> str:
        """The unit of `core_hours`."""
        return f"{self.manifest.get('hours', 'CPU')}-hours"


def is_improvement(path: Path) -> bool:
    return (path / "state.json").is_file()


def read_improvement(path: Path) -> Improvement:
    """Raises BadInput for a directory that holds no run of self-play, or one without a generation that is over."""
    from selfplay.state import BadState, State

    if not is_improvement(path):
        raise BadInput(f"{path} is no run of self-play: state.json is missing")
    try:
        state = State.load(path)
        manifest = json.loads((path / "manifest.json").read_text())
        str(manifest["config"]["domain"]["name"])
    except (BadState, OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"cannot read the run in {path}: {error}") from error
    if not state.history:
        raise BadInput(f"no generation of the run in {path} is over yet")
    places = sorted((path / "curves").glob("generation-*/summary.json"), key=lambda file: _number(file.parent))
    curves = _alike([read_run(file.parent) for file in places])
    return Improvement(path, manifest, state.history, state.elo(), curves)


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _alike(curves: Sequence[Run]) -> list[Run]:
    """Those made as the newest one was. What curves are of may change when a run is resumed, and a generation whose
    curve is not asked for again keeps its old one; of different problems or budgets they are not one picture.
    """
    def made(one: Run) -> tuple[Any, ...]:
        return *(one.manifest[name] for name in ("split", "budget", "search")), frozenset(one.ids)

    whole = [one for one in curves if not one.manifest.get("partial")]
    # The last generation's may be an old one, where new ones were interrupted; a tie goes to the later generation.
    newest = max(enumerate(whole), key=lambda pair: (str(pair[1].manifest.get("started", "")), pair[0]), default=None)
    return [] if newest is None else [one for one in whole if made(one) == made(newest[1])]


def draw_improvement(run: Improvement, title: str | None, samples: int, seed: int) -> Figure:
    """Elo against generations and hours, accuracy against seconds and tokens for each policy, accuracies, losses."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({
        "font.size": 10, "svg.hashsalt": "improvement", "axes.spines.top": False, "axes.spines.right": False,
    }):
        figure, table = plt.subplots(2, 4, figsize=(19.0, 8.0), layout="constrained")
        _elo(table[0][0], run, [float(n) for n in range(len(run.history) + 1)], "generation")
        _elo(table[1][0], run, [0.0, *(row["core_hours"] for row in run.history)], run.hours)
        for row, axis in enumerate(("seconds", "tokens")):
            _thinking(table[row][1], run.curves, axis, samples, seed)
        _rates(table[0][2], run.history)
        _losses(table[1][2], run.history)
        _figures(table[0][3], run.history, "Variety: kept, or collapsing", "share", {
            "distinct_lines": "independent lines of a problem that differ", "entropy": "entropy, of the base's"})
        _figures(table[1][3], run.history, "What the lines of a problem find", "solutions", {
            "distinct_solutions": "distinct solutions of a solved problem"})
        for panel in table.flat:
            panel.grid(True, which="major", color="#dddddd", linewidth=0.6)
            panel.set_axisbelow(True)
            if panel.get_legend_handles_labels()[0]:
                panel.legend(frameon=False, fontsize=9)
        said = plain(title) if title else f"Self-improvement on {plain(run.domain)}"
        figure.suptitle(said, fontsize=13, fontweight="bold")
    return figure


def _elo(panel: Axes, run: Improvement, at: Sequence[float], label: str) -> None:
    """Ratings of all candidates; the line joins those that took over."""
    champions = [0, *(row["generation"] for row in run.history if row["promoted"])]
    for mode, name in MODES.items():
        ratings = run.elo.get(mode, {})
        numbers = [number for number in ratings if number < len(at)]
        colour = COLOURS[mode]
        low = [ratings[n][0] - ratings[n][1] for n in numbers]
        high = [ratings[n][2] - ratings[n][0] for n in numbers]
        panel.errorbar([at[n] for n in numbers], [ratings[n][0] for n in numbers], yerr=[low, high], fmt="none",
                       ecolor=colour, elinewidth=1.2, capsize=3, alpha=0.8)
        for promoted, face in ((True, colour), (False, "white")):
            some = [n for n in numbers if (n in champions) is promoted]
            panel.plot([at[n] for n in some], [ratings[n][0] for n in some], "o", color=colour, markerfacecolor=face)
        line = [n for n in champions if n in ratings]
        panel.plot([at[n] for n in line], [ratings[n][0] for n in line], color=colour, label=name)
    panel.set_xlabel(label)
    panel.set_ylabel("Elo, the first policy being 0 (95 % intervals)")
    panel.set_title(f"Rating against {label}; hollow: not promoted", fontsize=11)
    if label == "generation":
        _whole_numbers(panel)


def _thinking(panel: Axes, curves: Sequence[Run], axis: str, samples: int, seed: int) -> None:
    from commands.plot import AXES, draw_panel

    if curves:
        import matplotlib

        shades = matplotlib.colormaps["viridis"]
        styles = {one.label: {"color": shades(0.85 * i / max(1, len(curves) - 1)), "linestyle": "-", "linewidth": 2.0,
                              "alpha": 1.0} for i, one in enumerate(curves)}
        draw_panel(panel, curves, axis, styles, samples, seed)
        panel.set_title(f"{plain(str(curves[0].manifest['split']))}, {len(curves[0].ids)} problems (bands: 95 %)",
                        fontsize=11)
        panel.set_ylabel("problems solved [%]")
    else:
        panel.text(0.5, 0.5, "no evaluations: curves.of=none", ha="center", va="center", transform=panel.transAxes)
        panel.set_xlabel(AXES[axis])


def _rates(panel: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    numbers = [row["generation"] for row in history]
    drawn = (("solve_rate", "sampled lines, training problems", COLOURS["third"], "-"),
             ("greedy_rate", "greedy, training problems", COLOURS["system1"], "--"),
             ("search_rate", "search, training problems", COLOURS["system2"], "--"))
    for key, label, colour, line in drawn:
        panel.plot(numbers, [100 * row[key] for row in history], color=colour, linestyle=line, marker=".", label=label)
    for mode, name in MODES.items():
        seen = [row for row in history if mode in row["accuracies"]]
        for side, (face, label) in enumerate(((COLOURS[mode], f"{name}, held out"), ("white", "_"))):  # _: no legend
            panel.plot([row["generation"] for row in seen], [100 * row["accuracies"][mode][side] for row in seen], "o",
                       color=COLOURS[mode], markerfacecolor=face, label=label)
    panel.set_ylim(-2, 102)
    panel.set_xlabel("generation")
    panel.set_ylabel("solved [%]")
    panel.set_title("Solved; hollow: the champion, on the same problems", fontsize=11)
    _whole_numbers(panel)


def _figures(
    panel: Axes, history: Sequence[Mapping[str, Any]], title: str, unit: str, drawn: Mapping[str, str]
) -> None:
    """Figures of the trainings by name; an entropy is drawn against the base's on the same lines."""
    for (name, label), colour in zip(drawn.items(), COLOURS.values(), strict=False):
        seen = [row for row in history if row.get(name) is not None and row["steps"]]
        values = [row[name] / row[f"base_{name}"] if row.get(f"base_{name}") else row[name] for row in seen]
        panel.plot([row["generation"] for row in seen], values, color=colour, marker=".", label=label)
    panel.set_ylim(bottom=0)
    panel.set_xlabel("generation")
    panel.set_ylabel(unit)
    panel.set_title(title, fontsize=11)
    _whole_numbers(panel)


def _losses(panel: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    colours = dict(zip(("imitation", "value", "objective", "anchor"), COLOURS.values(), strict=True))
    for name, colour in colours.items():
        for row in history:
            points = row["losses"][name]
            if any(points):
                at = [row["generation"] - 1 + (i + 0.5) / len(points) for i in range(len(points))]
                panel.plot(at, points, color=colour, linewidth=1.2,
                           label=name if row is history[0] else None)
    panel.set_xlabel("generation")
    panel.set_ylabel("loss [nats]")
    panel.set_title("Losses of each training", fontsize=11)
    _whole_numbers(panel)


def _whole_numbers(panel: Axes) -> None:
    """There is no half of a generation."""
    from matplotlib.ticker import MaxNLocator

    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
