"""The ratios that have targets: this decoder beside transformers' `generate`, and beside the machine.

Each figure is the median of rounds, in which both sides do the same kind of work one after the other.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.decode.arms import Generate, Tree
from benchmarks.decode.models import SHAPES, write
from benchmarks.decode.roofline import blas_rate, product_rate
from benchmarks.decode.work import Done, Work, leaves
from verifiers.base import derive_seed

PROMPT = 200
RAGGED = (5, 40)
"""Tokens of the leaves' own lines."""
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Guard:
    """A ratio, what it should be at least, and what it is made of."""

    name: str
    ratio: float
    target: float
    parts: dict[str, float]


def work(count: int, live: int, round_: int, *, own: tuple[int, int] = RAGGED, longest: int = 40) -> Work:
    rng = np.random.default_rng(derive_seed(0, "decode", f"{count} {live} {round_}"))
    return Work(leaves(count, PROMPT, own, rng), live, longest)


def against_generate(shape: str, rounds: int, dtype: torch.dtype) -> Iterator[Guard]:
    """64 live leaves of a prompt: this decoder, one `generate` for all of them, and one `generate` for each.

    As in a search there is always a next leaf; `generate` has none to wait for in its batch, and gets as many as are
    live.
    """
    with TemporaryDirectory() as folder:
        place = write(SHAPES[shape], Path(folder), dtype=dtype)
        name = str(dtype).removeprefix("torch.")
        tree = Tree(place, threads=1, dtype=name)
        batched, single = Generate(place, 64, dtype), Generate(place, 1, dtype)
        rates: dict[str, list[float]] = {"tree": [], "batched": [], "single": []}
        grown = tree.grow(work(640, 64, 0), RAGGED, 0)  # more than 400 of them
        for number in range(rounds + 1):  # the first one warms up
            found = {
                "tree": tree.run(grown, number).rate,
                "batched": batched.run(first(grown, 64), number).rate,
                "single": single.run(first(grown, 8), number).rate,
            }
            for arm, rate in found.items() if number else ():
                rates[arm].append(rate)
    for arm, target in (("single", 25.0), ("batched", 3.0)):
        ratio = median(ours / theirs for ours, theirs in zip(rates["tree"], rates[arm], strict=True))
        yield Guard(f"{shape}, {name}: tokens/s at 64 leaves, tree decoder to {arm} generate", ratio, target,
                    {key: round(median(values)) for key, values in rates.items()})


def first(work: Work, count: int) -> Work:
    return replace(work, leaves=work.leaves[:count])


def against_the_machine(shape: str, rounds: int, target: float) -> Guard:
    """256 live leaves, 200 shared and 30 to 40 own tokens: the share of the rate of a matrix product, torch's own one.

    Of the faster one, which the decoder uses too, the share is told beside.
    """
    with TemporaryDirectory() as folder:
        tree = Tree(write(SHAPES[shape], Path(folder), endless=True), threads=1)
        some = work(256, 256, 0, own=(30, 30), longest=11)
        found: dict[str, list[float]] = {"share": [], "share_of_the_fastest": [], "tokens_per_second": [],
                                         "gflops_of_torch_mm": [], "gflops_of_the_fastest": []}
        for number in range(rounds + 1):  # the first one reads the leaves
            fastest, plain = product_rate(), blas_rate()
            done: Done = tree.run(some, number)
            # The first token of a thought is drawn from what is known of its leaf: no pass of the model.
            rate = (done.tokens - done.thoughts) * SHAPES[shape].operations(PROMPT + 30 + 5.5) / done.seconds
            figures = rate / plain, rate / fastest, round(done.rate), plain / 1e9, fastest / 1e9
            for name, figure in zip(found, figures, strict=True) if number else ():
                found[name].append(figure)
    parts = {name: round(median(figures), 2) for name, figures in found.items()}
    return Guard(f"{shape}, float32: share of the matrix-product rate at 256 live sequences", parts.pop("share"),
                 target, parts)


def two_processes(shape: str, rounds: int) -> Guard:
    """Tokens a second of two processes with a core each, to those of one alone."""
    command = [sys.executable, "-m", "benchmarks.decode", "--worker", shape]
    workers = [subprocess.Popen([*command, str(core)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL, text=True, bufsize=1) for core in (0, 1)]
    try:
        for one in workers:
            _answer(one)  # it is ready
        alone: list[float] = []
        both: list[float] = []
        for _ in range(rounds):
            for some, rates in ((workers[:1], alone), (workers, both)):
                for one in some:
                    assert one.stdin is not None
                    one.stdin.write("go\n")
                rates.append(sum(float(_answer(one)) for one in some))
    finally:
        for one in workers:
            one.communicate()  # the end of its input is the end
    ratio = median(two / one for one, two in zip(alone, both, strict=True))
    return Guard(f"{shape}, float32: tokens/s of two processes on two cores to one", ratio, 1.8,
                 {"one": round(median(alone)), "two": round(median(both))})


def _answer(of: subprocess.Popen[str]) -> str:
    assert of.stdout is not None
    return of.stdout.readline()


def worker(shape: str) -> None:
    """Say when ready; for each line that comes in, print the rate at 64 live leaves."""
    with TemporaryDirectory() as folder:
        tree = Tree(write(SHAPES[shape], Path(folder)), threads=1)
        grown = tree.grow(work(640, 64, 0), RAGGED, 0)
        tree.run(grown, 0)
        print("ready", flush=True)
        for number, _ in enumerate(sys.stdin, 1):
            print(tree.run(grown, number).rate, flush=True)
