"""How fast are comparisons of mathematical answers, and what does a storm of hanging answers cost honest ones?

    OMP_NUM_THREADS=1 python benchmarks/verifiers_math.py [--references FILE.jsonl] [--storm 1000]

Prints JSON lines: name, value, target. Short numeric answers and ordinary LaTeX ones are compared one after another,
warm; the latter are the references of a JSON-lines file with the field `answer` (MATH-500), each with itself in other
words, and with another. During the storm the same honest comparisons are made again. Exit status: 1 if a target is
missed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from verifiers.conformance.math import OWN
from verifiers.conformance.report import percentile
from verifiers.math.workers import close_workers, shared_workers
from verifiers.math_answer import compare

ROOT = Path(__file__).resolve().parent.parent
HANGS = r"\int_0^1 \frac{\sin(x^{5}+\sqrt{x+2})\ln(x^{3}+x+7)}{1+e^{x\cos x}} dx"
HONEST = [(r"\frac{1}{\sqrt2}", r"\frac{\sqrt2}{2}"), ("(x+1)^2", "x^2+2x+1"), ("4x-2y+6=0", "2x-y+3=0"),
          (r"1\pm\sqrt{19}", r"1-\sqrt{19},1+\sqrt{19}"), (r"\frac{\pi}{3}", r"\frac{\pi}{4}"), ("x<2", r"(-\infty,2)")]


def milliseconds(pairs: list[tuple[str, str]]) -> list[float]:
    taken = []
    for prediction, gold in pairs:
        started = time.perf_counter()
        compare(prediction, gold)
        taken.append(1000 * (time.perf_counter() - started))
    return taken


def told(name: str, value: float, target: str, met: bool) -> bool:
    print(json.dumps({"name": name, "value": round(value, 3), "target": target, "met": met}), flush=True)
    return met


def numeric() -> bool:
    pairs = [(f"{number},{number % 900 + 100}", str(1000 * number + number % 900 + 100)) for number in range(1, 1000)]
    pairs += [(rf"\frac{{{number}}}{{8}}", str(number / 8)) for number in range(1, 1000)]
    rate = 1000 / statistics.mean(milliseconds(pairs))
    return told("short numeric checks per second", rate, ">= 300", rate >= 300)


def ordinary(references: Path) -> bool:
    if references.exists():
        answers = [json.loads(line)["answer"] for line in references.read_text(encoding="utf-8").splitlines()]
        pairs = [pair for one, other in itertools.pairwise(answers)
                 for pair in ((rf"\left({one}\right)" if "," not in one else one, one), (other, one))]
    else:
        rows = [json.loads(line) for line in OWN.read_text().splitlines()]
        pairs = [(row["prediction"], row["gold"]) for row in rows if row["id"].startswith("same_")]
    slow = percentile(milliseconds(pairs), 0.99)
    return told(f"p99 ms of {len(pairs)} LaTeX comparisons", slow, "< 250", slow < 250)


def storm(size: int) -> bool:
    honest = HONEST * 20
    alone = sum(milliseconds(honest))
    request = {"prediction": HANGS, "relative": "0", "digits": None, "bare_numbers": False}
    waiting = [shared_workers().submit({**request, "gold": str(number)}, cost=120) for number in range(size)]
    time.sleep(0.5)
    ratio = sum(milliseconds(honest)) / alone
    under_way = sum(not future.done() for future in waiting)
    processes = descendants(os.getpid())
    close_workers()
    time.sleep(0.5)
    left = len(processes & descendants(1))
    met = told(f"slowdown of honest checks, {under_way} of {size} hanging ones under way", ratio, "<= 2", ratio <= 2)
    return told("processes left after closing", left, "0", left == 0) and met


def descendants(parent: int) -> set[int]:
    """Living processes below a process."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, above = entry.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has ended
        if state != "Z":
            parents[int(entry.parent.name)] = int(above)
    found, more = set[int](), {parent}
    while more:
        more = {pid for pid, above in parents.items() if above in more} - found
        found |= more
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=Path, default=ROOT.parent / "shared" / "data" / "math500.jsonl")
    parser.add_argument("--storm", type=int, default=1000)
    options = parser.parse_args()
    milliseconds(HONEST)  # warm
    return int(not all([numeric(), ordinary(options.references), storm(options.storm)]))


if __name__ == "__main__":
    sys.exit(main())
