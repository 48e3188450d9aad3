"""The table and the picture of a run of the sweeps."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.decode.guards import Guard
from benchmarks.decode.sweeps import Row

HEAD = """# Performance

How fast thoughts are decoded, on one core, by `make bench`. Models have random weights; one token of about twenty ends
a thought, and none is longer than 40. Rates are medians of {rounds} rounds in one run; only ratios within it mean
anything.
{machine}

## Ratios that have targets

`python -m benchmarks.decode --quick` prints these alone. Operations are two for each parameter that is no embedding,
and attention's. The rate of a matrix product is measured beside each: the ratio is to that of `torch.mm`,
`share_of_the_fastest` to that of the products the decoder uses itself. To `generate`, the ratio is of what a search
sees, and most of it is reading: `generate` reads the prompt and the leaf for every thought, on the clock, and this
decoder has read them before, off the clock. Memory is the most that a process of its own took for weights and work,
above what the libraries take.

| ratio | measured | at least | made of |
|---|---|---|---|
{guards}

## Tokens and thoughts a second

![Tokens a second against live sequences](performance.png)

{tables}
"""


def write_page(rows: Sequence[Row], guards: Sequence[Guard], rounds: int, folder: Path) -> None:
    """Write performance.md and performance.png."""
    roof = next(row for row in rows if row["sweep"] == "machine")
    machine = (f"{_processor()}, torch {torch.__version__}, transformers {transformers.__version__}, Python "
               f"{platform.python_version()}, {date.today()}: products at {roof['gflops']} GFLOP/s, copies at "
               f"{roof['gigabytes_per_second']} GB/s.")
    told = "\n".join(f"| {g.name} | {g.ratio:.2f} | {g.target:g} | "
                     f"{', '.join(f'{name} {value:g}' for name, value in g.parts.items())} |" for g in guards)
    tables = "\n\n".join(_tables(rows))
    (folder / "performance.md").write_text(HEAD.format(rounds=rounds, machine=machine, guards=told, tables=tables))
    _draw(rows, folder / "performance.png")


def _tables(rows: Sequence[Row]) -> Iterator[str]:
    for sweep in dict.fromkeys(row["sweep"] for row in rows if row["sweep"] != "machine"):
        mine = [row for row in rows if row["sweep"] == sweep]
        columns = [name for name in mine[0] if name != "sweep"]
        lines = [columns, ["---"] * len(columns), *([str(row[name]) for name in columns] for row in mine)]
        yield f"By {sweep}:\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _draw(rows: Sequence[Row], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    mine = [row for row in rows if row["sweep"] == "live sequences"]
    shapes = list(dict.fromkeys(row["shape"] for row in mine))
    figure, panels = pyplot.subplots(1, len(shapes), figsize=(4 * len(shapes), 3.4), squeeze=False)
    for panel, shape in zip(panels[0], shapes, strict=True):
        for arm in dict.fromkeys(row["arm"] for row in mine):
            line = [row for row in mine if (row["shape"], row["arm"]) == (shape, arm)]
            panel.plot([row["live"] for row in line], [row["tokens_per_second"] for row in line], marker="o", label=arm)
        panel.set(xscale="log", yscale="log", title=shape, xlabel="live sequences", ylabel="tokens a second")
        panel.grid(alpha=0.3)
    lines, names = panels[0][0].get_legend_handles_labels()
    figure.legend(lines, names, loc="lower center", ncol=len(names))  # below, where it hides nothing
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def _processor() -> str:
    info: Any = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return str(line.partition(":")[2].strip())
    return platform.processor() or "an unknown processor"
