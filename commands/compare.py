"""Is one evaluation better than another on the same problems? compare RUN_A RUN_B: paired difference with its interval.

Prints one JSON object: the accuracies, their difference A - B in points of 1, its 95 % bootstrap interval over
problems, how many problems only one of the two solved, and on how many their final answers differ.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from omegaconf import DictConfig

from commands.errors import BadInput, whole
from commands.statistics import bootstrap_weights
from commands.traces import Run, find_runs
from commands.traces import take_run_dirs as take_words

__all__ = ["run", "take_words"]


def run(cfg: DictConfig, run_dirs: Sequence[str]) -> int:
    runs = find_runs(run_dirs)
    if len(runs) != 2:
        raise BadInput(f"compare needs two run directories, not {len(runs)}: compare RUN_A RUN_B")
    samples, seed = whole("samples", cfg.samples), whole("seed", cfg.seed, 0)
    print(json.dumps(compare(runs[0], runs[1], samples, seed)))
    return 0


def compare(a: Run, b: Run, samples: int, seed: int) -> dict[str, Any]:
    """The paired difference of two runs. Raises BadInput unless they posed the same problems."""
    if set(a.ids) != set(b.ids) or not a.ids:
        raise BadInput(f"the runs share {len(set(a.ids) & set(b.ids))} of {len(a.ids)} and {len(b.ids)} problems; "
                       "a comparison needs the same ones")
    place = {problem: index for index, problem in enumerate(b.ids)}
    right_a, right_b = a.correct, b.correct[[place[problem] for problem in a.ids]]
    difference = right_a - right_b
    low, high = np.quantile(bootstrap_weights(len(a.ids), samples, seed) @ difference, [0.025, 0.975])
    return {
        "a": a.label, "b": b.label, "domain": a.manifest["domain"], "split": a.manifest["split"],
        "budgets": [a.manifest["budget"], b.manifest["budget"]],
        "problems": len(a.ids), "accuracy_a": float(right_a.mean()), "accuracy_b": float(right_b.mean()),
        "difference": float(difference.mean()), "ci95": [float(low), float(high)],
        "only_a": int((difference > 0).sum()), "only_b": int((difference < 0).sum()),
        "excludes_zero": bool(low > 0 or high < 0),
        "answers_differ": sum(a.results[i]["answer"] != b.results[place[p]]["answer"] for i, p in enumerate(a.ids)),
    }
