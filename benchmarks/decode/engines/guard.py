"""The ratio to llama.cpp that has a target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.decode.arms import Arm, Tree
from benchmarks.decode.engines import ENGINES, why_not
from benchmarks.decode.guards import Guard, work
from benchmarks.decode.models import SHAPES, write

LLAMA_CPP = next(engine for engine in ENGINES if engine.name == "llama.cpp")
LIVE = (16, 64)


def against_llama_cpp(shape: str, rounds: int) -> Iterator[Guard]:
    """Leaves of a prompt, four times as many as are live, both in float32 and without values, which llama.cpp does not
    give; nothing where it is not installed."""
    if why_not(LLAMA_CPP):
        return
    with TemporaryDirectory() as folder:
        place = write(SHAPES[shape], Path(folder), values=False)
        arms: dict[str, Arm] = {"tree": Tree(place, threads=1), "llama.cpp": LLAMA_CPP.load()(place)}
        for live in LIVE:
            rates: dict[str, list[float]] = {name: [] for name in arms}
            some = work(4 * live, live, 0)
            for number in range(rounds + 1):  # the first one warms up
                for name, arm in arms.items():
                    rate = arm.run(some, number).rate
                    if number:
                        rates[name].append(rate)
            ratio = median(ours / theirs for ours, theirs in zip(*rates.values(), strict=True))
            yield Guard(f"{shape}, float32: tokens/s at {live} live sequences, tree decoder to llama.cpp", ratio, 1.0,
                        {name: round(median(values)) for name, values in rates.items()})
