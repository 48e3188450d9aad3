"""Rates against live sequences, sizes of models, lengths of the prefix and shapes of the tree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.decode.arms import Arm, Generate, Tree
from benchmarks.decode.engines import here
from benchmarks.decode.models import SHAPES, write
from benchmarks.decode.roofline import copy_rate, product_rate
from benchmarks.decode.work import Work, leaves
from policy.base import Sampling
from verifiers.base import State, derive_seed

Row = dict[str, Any]
LIVE = (1, 4, 16, 64, 256, 1024)
PREFIXES = (30, 200, 1000, 2000)
TREES = ((1, 64), (4, 16), (16, 4))
"""Lines below a prompt, and leaves that share each line: the branching at two depths."""


def machine() -> Row:
    """The roofline: of this run, and of this core."""
    return {"sweep": "machine", "gflops": round(product_rate() / 1e9, 1), "gigabytes_per_second":
            round(copy_rate() / 1e9, 1)}


def by_live(shape: str, most: int, rounds: int) -> Iterator[Row]:
    """Ragged thoughts after a prompt of 200 tokens; `generate` in batches of as many, where that can be waited for, and
    other engines that are here. It is given one batch, as its rate is the same in the next; the others, which refill
    slots, up to four times as many thoughts as slots."""
    with TemporaryDirectory() as folder:
        place = write(SHAPES[shape], Path(folder))
        bare = write(SHAPES[shape], place / "bare", values=False)  # as the others have it
        trees = {
            "tree": Tree(place, threads=1), "tree, distinct": Tree(place, Sampling.DISTINCT, threads=1),
            "tree, no values": Tree(bare, threads=1),
        }
        engines = {engine: engine.load()(place) for engine in here()}
        for live in (live for live in LIVE if live <= most):
            others = {engine.name: arm for engine, arm in engines.items() if live <= engine.most}
            single = {"generate": Generate(place, live)} if live <= 256 else {}
            arms: dict[str, Arm] = {**trees, **single, **others}
            for name, arm in arms.items():
                count = live if name == "generate" else min(4 * live, max(64, live))
                some = [ragged(count, live, 200, number) for number in range(rounds)]
                yield {"sweep": "live sequences", "shape": shape, "live": live, "arm": name, **_rates(arm, some)}
            for tree in trees.values():
                tree.close()


def by_prefix(shape: str, rounds: int) -> Iterator[Row]:
    """64 live sequences."""
    with TemporaryDirectory() as folder, closing(Tree(write(SHAPES[shape], Path(folder)), threads=1)) as tree:
        for prefix in PREFIXES:
            some = [ragged(256, 64, prefix, number) for number in range(rounds)]
            yield {"sweep": "prefix", "shape": shape, "prefix": prefix, "arm": "tree", **_rates(tree, some)}


def by_tree(shape: str, rounds: int) -> Iterator[Row]:
    """64 leaves of a prompt of 200 tokens and lines of 60 that some of them share."""
    with TemporaryDirectory() as folder, closing(Tree(write(SHAPES[shape], Path(folder)), threads=1)) as tree:
        for lines, each in TREES:
            some = []
            for number in range(rounds):
                rng = np.random.default_rng(derive_seed(0, "trees", f"{lines} {number}"))
                shared = leaves(lines, 200, (60, 60), rng)
                ends = leaves(lines * each, 200, (8, 8), rng)
                some.append(Work([State(shared[0].problem, (*shared[index // each].thoughts, *end.thoughts))
                                  for index, end in enumerate(ends)], 64))
            yield {"sweep": "tree", "shape": shape, "lines": lines, "leaves of each": each, "arm": "tree",
                   **_rates(tree, some)}


def ragged(count: int, live: int, prefix: int, number: int) -> Work:
    """Thoughts of 5 to 40 tokens."""
    rng = np.random.default_rng(derive_seed(0, "sweeps", f"{count} {live} {prefix} {number}"))
    return Work(leaves(count, prefix, (5, 40), rng), live)


def _rates(arm: Arm, works: list[Work]) -> Row:
    arm.run(works[0], len(works))  # warms up; with other noise, for what was drawn before is remembered
    done = [arm.run(work, number) for number, work in enumerate(works)]
    return {
        "tokens_per_second": round(median(one.rate for one in done)),
        "thoughts_per_second": round(median(one.thoughts / one.seconds for one in done), 1),
    }
