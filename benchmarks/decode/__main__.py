"""How fast thoughts are decoded.

    python -m benchmarks.decode --quick [--json]    the ratios that have targets, on a CPU
    python -m benchmarks.decode [--out docs]        these, and the sweeps; writes performance.md and performance.png

One line a figure. Rates are only compared within a run.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch

from benchmarks.decode.adapters import by_adapters
from benchmarks.decode.engines import presence
from benchmarks.decode.engines.guard import against_llama_cpp
from benchmarks.decode.guards import Guard, against_generate, against_the_machine, two_processes, worker
from benchmarks.decode.memory import by_memory
from benchmarks.decode.overhead import overhead
from benchmarks.decode.page import write_page
from benchmarks.decode.sweeps import Row, by_live, by_prefix, by_tree, machine
from policy.products import BFLOAT16


def quick(rounds: int) -> Iterator[Guard]:
    """The ratios of CPUs."""
    with OneCore(0):
        yield from against_generate("shipped", rounds, torch.float32)
        yield against_the_machine("shipped", rounds, 0.4)
        yield against_the_machine("30M", rounds, 0.75)
        yield from against_llama_cpp("shipped", rounds)
    if cores() > 1:
        yield two_processes("shipped", rounds)


def in_bfloat16(rounds: int) -> Iterator[Guard]:
    """The first ratios once more, where the processor multiplies bfloat16; both sides in it."""
    if BFLOAT16:
        with OneCore(0):
            yield from against_generate("shipped", rounds, torch.bfloat16)


def sweeps(rounds: int) -> Iterator[Row]:
    """All that is measured besides."""
    with OneCore(0):
        yield machine()
        yield from presence()
        for shape, most in (("1M", 1024), ("shipped", 1024), ("10M", 1024), ("30M", 256), ("0.5B", 4)):
            yield from by_live(shape, most, rounds if most > 16 else 1)
        yield from by_prefix("shipped", rounds)
        yield from by_tree("shipped", rounds)
        yield from by_memory()
        yield from overhead(rounds)
        for shape in ("shipped", "30M"):
            yield from by_adapters(shape, rounds)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OneCore:
    """One thread of this process on one of its cores, where the machine lets a process choose."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __enter__(self) -> None:
        torch.set_num_threads(1)
        if hasattr(os, "sched_setaffinity"):
            self._before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {sorted(self._before)[self._number % len(self._before)]})

    def __exit__(self, *_: object) -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, self._before)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the ratios that have targets")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--rounds", type=int, default=5, help="of which each figure is the median")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder for the page and its picture")
    parser.add_argument("--worker", nargs=2, metavar=("SHAPE", "CORE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        with OneCore(int(options.worker[1])):
            worker(options.worker[0])
        return
    guards, rows = [], []
    for guard in chain(quick(options.rounds), () if options.quick else in_bfloat16(options.rounds)):
        guards.append(guard)
        told = f"{guard.ratio:8.2f}  (at least {guard.target:g})  {guard.name}  {guard.parts}"
        print(json.dumps({**vars(guard), "ratio": round(guard.ratio, 3)}) if options.json else told, flush=True)
    for row in () if options.quick else sweeps(options.rounds):
        rows.append(row)
        told = "  ".join(f"{name} {value}" for name, value in row.items())
        print(json.dumps(row) if options.json else told, flush=True)
    if rows:
        write_page(rows, guards, options.rounds, options.out)


if __name__ == "__main__":
    main()
