"""How long from typing `solve` to its first answer? The median of several processes, each started anew.

    python benchmarks/cold_start.py [--starts 5]

Prints one JSON line: the whole life of a process that solves a puzzle under the smallest of budgets, in seconds. The
first answer is the greedy pass, which that budget has room for; Python, the libraries and the weights are the rest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=5)
    taken = []
    for _ in range(parser.parse_args().starts):
        started = time.monotonic()
        subprocess.run([sys.executable, "run_experiment.py", "solve", "4 9 10 13", "domain=game24", "search=greedy",
                        "budget=10s"], cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
        taken.append(time.monotonic() - started)
    print(json.dumps({"starts": len(taken), "median_seconds": round(statistics.median(taken), 2),
                      "max_seconds": round(max(taken), 2), "target_seconds": 8}))
    return int(statistics.median(taken) > 8)


if __name__ == "__main__":
    sys.exit(main())
