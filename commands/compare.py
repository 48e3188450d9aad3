"""Which policy, searcher and budget is better? compare policies=[...] searches=[...] budgets=[...], or RUN_A RUN_B.

Without run directories it evaluates all of them on the same problems, beside the control (see commands/comparison.py).
With two, of evaluations made already, it tells the paired difference: the accuracies, their difference A - B with its
95 % bootstrap interval over problems, how many problems only one of the two solved, and on how many their final answers
differ. With along=tokens or along=seconds the same for what stood at each point of a 1-2-5 series; those intervals hold
one point at a time. output=json prints it as one object, with accuracies and differences in points of 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from omegaconf import DictConfig

from commands.errors import BadInput, plain, shorten, whole
from commands.statistics import Floats, band, bootstrap_weights, paired
from commands.traces import Run, find_runs
from commands.traces import take_run_dirs as take_words

__all__ = ["run", "take_words"]

ALONG = ("tokens", "seconds")


# What only a comparison that is made here has, by its value where nothing was said.
OF_A_GRID = {"policies": None, "searches": None, "budgets": None, "prices": None, "baseline": None, "workers": 0}


def run(cfg: DictConfig, run_dirs: Sequence[str]) -> int:
    asked = [name for name, unset in OF_A_GRID.items() if cfg[name] != unset]
    if not run_dirs and asked:
        from commands.comparison import run as run_grid

        if cfg.along is not None:
            raise BadInput("along= is for two run directories; the picture has every point of a comparison made here")
        return run_grid(cfg)
    if asked:
        raise BadInput(f"{asked[0]}= is for a comparison that is made here, without run directories")
    runs = find_runs(run_dirs)
    if len(runs) != 2:
        raise BadInput(f"compare needs two run directories, not {len(runs)}: compare RUN_A RUN_B; "
                       "or what to evaluate: policies=[...] searches=[...] budgets=[...]")
    samples, seed = whole("samples", cfg.samples), whole("seed", cfg.seed, 0)
    if cfg.along not in (None, *ALONG):
        raise BadInput(f"along={shorten(str(cfg.along))} cannot be; allowed: {', '.join(ALONG)}")
    if cfg.output not in ("text", "json"):
        raise BadInput(f"there is no output {shorten(str(cfg.output))} of two runs; allowed: text, json")
    found = compare(runs[0], runs[1], samples, seed)
    if cfg.along is not None:
        found["along"] = compare_along(runs[0], runs[1], cfg.along, samples, seed)
    print(json.dumps(found) if cfg.output == "json" else tell(found))
    return 0


def tell(found: Mapping[str, Any]) -> str:
    """What `compare` and `compare_along` found, in lines for people."""
    lines = [
        plain(f"{found['domain']} {found['split']}, {found['problems']} problems"),
        *(f"{side.upper()}: {plain(found[side])}, {plain(budget)}: {100 * found[f'accuracy_{side}']:.1f} % solved, "
          f"{found[f'only_{side}']} by it alone" for side, budget in zip("ab", found["budgets"], strict=True)),
        f"A - B: {_points(found)} (points, 95 % interval), "
        + ("which excludes zero" if found["excludes_zero"] else "which does not exclude zero")
        + f"; {found['answers_differ']} of {found['problems']} answers differ",
    ]
    if along := found.get("along"):
        lines += ["", f"{along['axis']:>10}  {'A [%]':>6}  {'B [%]':>6}  A - B [points]"]
        lines += [f"{point[along['axis']]:>10g}  {100 * point['accuracy_a']:>6.1f}  {100 * point['accuracy_b']:>6.1f}  "
                  f"{_points(point)}" for point in along["points"]]
    return "\n".join(lines)


def _points(of: Mapping[str, Any]) -> str:
    # + 0.0: without it a bound that is a rounding error below zero would be written -0.0
    difference, low, high = (round(100 * each, 1) + 0.0 for each in (of["difference"], *of["ci95"]))
    return f"{difference:+.1f} [{low:+.1f}, {high:+.1f}]"


def compare(a: Run, b: Run, samples: int, seed: int) -> dict[str, Any]:
    """The paired difference of two runs. Raises BadInput unless they posed the same problems."""
    if set(a.ids) != set(b.ids) or not a.ids:
        raise BadInput(f"the runs share {len(set(a.ids) & set(b.ids))} of {len(a.ids)} and {len(b.ids)} problems; "
                       "a comparison needs the same ones")
    order = _order(a, b)
    right_a, right_b = a.correct, b.correct[order]
    difference = right_a - right_b
    mean, low, high = paired(right_a, right_b, bootstrap_weights(len(a.ids), samples, seed))
    return {
        "a": a.label, "b": b.label, "domain": a.manifest["domain"], "split": a.manifest["split"],
        "budgets": [a.manifest["budget"], b.manifest["budget"]],
        "problems": len(a.ids), "accuracy_a": float(right_a.mean()), "accuracy_b": float(right_b.mean()),
        "difference": mean, "ci95": [low, high],
        "only_a": int((difference > 0).sum()), "only_b": int((difference < 0).sum()),
        "excludes_zero": low > 0 or high < 0,
        "answers_differ": sum(row["answer"] != b.results[i]["answer"] for row, i in zip(a.results, order, strict=True)),
    }


def compare_along(a: Run, b: Run, axis: str, samples: int, seed: int) -> dict[str, Any]:
    """The paired difference of the answers that stood when so much was spent.

    Args:
        a, b: runs on the same problems.
        axis: 'tokens' or 'seconds'.

    Returns:
        The points, and at each the accuracies, the difference and its 95 % interval; then the points at which it lies
        above zero, and below.
    """
    points = series(min(one.first(axis) for one in (a, b)), max(float(one.spent(axis).max()) for one in (a, b)))
    right_a, right_b = a.correct_at(axis, points), b.correct_at(axis, points)[_order(a, b)]
    difference = right_a - right_b
    low, high = band(difference, bootstrap_weights(len(a.ids), samples, seed))
    rows = [
        {axis: float(point), "accuracy_a": float(right_a[:, i].mean()), "accuracy_b": float(right_b[:, i].mean()),
         "difference": float(difference[:, i].mean()), "ci95": [float(low[i]), float(high[i])]}
        for i, point in enumerate(points)
    ]  # fmt: skip
    return {"axis": axis, "points": rows, "above_at": [float(p) for p in points[low > 0]],
            "below_at": [float(p) for p in points[high < 0]]}


def series(first: float, last: float) -> Floats:
    """1, 2, 5, 10, 20, 50 and so on, from the last one that is not above `first` to the first not below `last`."""
    steps = np.array([float(f"{digit}e{power}") for power in range(-6, 16) for digit in (1, 2, 5)])
    begin = max(0, int(np.searchsorted(steps, first, side="right")) - 1)
    return steps[begin : int(np.searchsorted(steps, max(first, last))) + 1]


def _order(a: Run, b: Run) -> list[int]:
    """Where each problem of `a` stands in `b`."""
    place = {problem: index for index, problem in enumerate(b.ids)}
    return [place[problem] for problem in a.ids]
