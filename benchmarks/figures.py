"""Every figure of the README, measured anew: python -m benchmarks.figures [GROUP | GROUP/NAME ...]

Runs the evaluations one after another (nothing else should run beside them), skips those already in runs/figures, and
prints a table. Groups: tokens (Game of 24 and countdown-6 at equal tokens), seconds (accuracy against time). Only
evaluations whose GROUP/NAME begins with one of the arguments are run, such as seconds/game24.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs" / "figures"
CONTROLS = ("best_of_n", "tot_dfs", "tot_bfs", "beam", "levin", "mcts")
CURVES = ("mcts", "tot_bfs", "best_of_n", "self_consistency")


def tokens() -> Iterator[tuple[str, list[str]]]:
    """Equal tokens: the shipped policy beside every uniform searcher."""
    for domain, split, budget in (("game24", "tot100", "1000tok"), ("countdown6", "test", "5500tok")):
        where = [f"domain={domain}", f"split={split}", "limit=200", f"budget={budget}", "workers=2"]
        for search in CONTROLS:
            yield f"{domain}_{budget}_uniform_{search}", [*where, "policy=uniform", f"search={search}"]
        for search in ("mcts", "greedy"):
            yield f"{domain}_{budget}_shipped_{search}", [*where, "policy=shipped", f"search={search}"]
        yield (f"{domain}_{budget}_shipped_mcts_unchecked",
               [*where, "policy=shipped", "search=mcts", "search.check_thoughts=false", "label=mcts/unchecked"])


def seconds() -> Iterator[tuple[str, list[str]]]:
    """Accuracy against seconds, two problems at once, one thread each."""
    for domain, split, budget in (("game24", "tot100", "10s"), ("arithmetic", "test", "2s"),
                                  ("countdown6", "test", "2s"), ("equations", "test", "2s")):
        where = [f"domain={domain}", f"split={split}", "limit=200", f"budget={budget}", "workers=2"]
        for search in CURVES:
            yield f"{domain}_{budget}_shipped_{search}", [*where, "policy=shipped", f"search={search}"]
        yield f"{domain}_{budget}_uniform_tot_dfs", [*where, "policy=uniform", "search=tot_dfs"]


GROUPS = {"tokens": tokens, "seconds": seconds}


def main(prefixes: list[str]) -> int:
    known = {f"{group}/{name}": options for group, runs in GROUPS.items() for name, options in runs()}
    chosen = {name: options for name, options in known.items() if name.startswith(tuple(prefixes or GROUPS))}
    if not chosen:
        print(f"nothing begins with {' or '.join(prefixes)}; allowed: {', '.join(known)}", file=sys.stderr)
        return 2
    for name, options in chosen.items():
        folder = RUNS / name
        if not (folder / "summary.json").exists():
            command = [sys.executable, "run_experiment.py", "evaluate", *options, f"hydra.run.dir={folder}"]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
                           env={**os.environ, "OMP_NUM_THREADS": "1"})
        summary = json.loads((folder / "summary.json").read_text())
        low, high = summary["ci95"]
        print(f"{name:48} solved {summary['solved']:3}/{summary['problems']} "
              f"[{low:.2f}, {high:.2f}] greedy {summary['greedy_accuracy']:.2f} "
              f"seconds {summary['mean_seconds']:6.2f} max {summary['max_seconds']:6.2f} "
              f"tokens {summary['mean_tokens']:7.0f} ece {summary['ece']:.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
