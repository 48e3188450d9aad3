"""Time to accuracy beside other search libraries.

    python -m benchmarks.peers FILE [--seconds 10] [--limit 100] [--split tot100]

Appends a row to FILE for each puzzle and search, goes on where it stopped, and prints a JSON line for each peer: its
accuracy when the time is out, when it got there, and when `mcts` was there. Needs `pip install treequest` and `pip
install --no-deps llm-reasoners==1.0.2`; set OMP_NUM_THREADS=1 and one core for all, as by `taskset -c 0`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch

from benchmarks.peers.arms import ARMS
from verifiers.base import derive_seed
from verifiers.domains.countdown import Countdown

OURS = "mcts"
Times = Mapping[str, Sequence[float]]
"""Of a search: the seconds of the puzzles it solved, in order."""


def game24() -> Countdown:
    return Countdown(name="game24", counts=[4], low=1, high=13, target_low=24, target_high=24, target=24,
                     named_splits=["tot100"])


def measure(file: Path, split: str, limit: int, seconds: float) -> list[dict[str, object]]:
    """All rows, those that were in the file already among them; a puzzle after another, all searches on each."""
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    known = {(row["arm"], row["problem"]) for row in rows}
    domain = game24()
    arms = {name: make(Path("policy/shipped")) for name, make in ARMS.items()}
    problems = list(islice(domain.problems(split, 0), limit))
    for arm in arms.values():
        arm(problems[-1].sealed(), domain.judge(), 0.5, 0)  # what is slow for the first time only
    for problem in problems:
        for name, arm in arms.items():
            if (name, problem.id) in known:
                continue
            solved = arm(problem.sealed(), domain.judge(), seconds, derive_seed(0, name, problem.id))
            rows.append({"arm": name, "problem": problem.id, "split": split, "budget": seconds, "seconds": solved})
            with file.open("a") as out:
                out.write(json.dumps(rows[-1]) + "\n")
    return rows


def summary(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """For each peer: what it reached, when, and when `mcts` had solved as many; null where that never did."""
    times: dict[str, list[float]] = {str(row["arm"]): [] for row in rows}
    for row in rows:
        if isinstance(row["seconds"], float):
            times[str(row["arm"])].append(row["seconds"])
    told: list[dict[str, object]] = []
    for arm, solved in times.items():
        solved.sort()
        total = sum(row["arm"] == arm for row in rows)
        line: dict[str, object] = {"arm": arm, "problems": total, "accuracy": len(solved) / total}
        if arm != OURS and solved:
            ours = sorted(times[OURS])
            when = ours[len(solved) - 1] if len(ours) >= len(solved) else None
            line |= {"name": f"time to the accuracy of {arm}", "theirs": round(solved[-1], 3),
                     "ours": None if when is None else round(when, 3),
                     "ratio": None if when is None else round(solved[-1] / when, 2), "target": 5.0}
        told.append(line)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="of rows, a JSON object a line")
    parser.add_argument("--split", default="tot100")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for line in summary(measure(options.file, options.split, options.limit, options.seconds)):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
