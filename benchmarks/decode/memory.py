"""Memory of each way to decode: the most a process of its own took, above what it had with the libraries loaded.

    python -m benchmarks.decode.memory SHAPE ARM LIVE    one row
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.decode.arms import Arm, Generate, Tree
from benchmarks.decode.engines import here
from benchmarks.decode.models import SHAPES, write
from benchmarks.decode.sweeps import Row, ragged

LIVE = {"shipped": (16, 64, 256, 1024), "30M": (16, 64)}


def by_memory() -> Iterator[Row]:
    """Ragged thoughts after a prompt of 200 tokens, as many as there are live sequences; weights included."""
    for shape, lives in LIVE.items():
        for live in lives:
            for arm in ("tree", "generate", *(engine.name for engine in here() if live <= engine.most)):
                words = [sys.executable, "-m", "benchmarks.decode.memory", shape, arm, str(live)]
                told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
                row: Row = json.loads(told.splitlines()[-1])
                yield row


def taken(shape: str, name: str, live: int) -> Row:
    """Of this process; `name` is of an arm."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        place = write(SHAPES[shape], Path(folder), values=False)
        engines = {engine.name: engine.load for engine in here()}
        before = _megabytes("VmRSS")
        _forget_peak()
        arm: Arm = (Tree(place, threads=1) if name == "tree" else Generate(place, live) if name == "generate"
                    else engines[name]()(place))
        arm.run(ragged(live, live, 200, 0), 0)
        peak = _megabytes("VmHWM")
        if isinstance(arm, Tree):
            arm.close()
    return {"sweep": "memory", "shape": shape, "live": live, "arm": name, "megabytes": peak - before}


def _forget_peak() -> None:
    """Linux tells the most memory since then; elsewhere the peak is that of the whole process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _megabytes(what: str) -> int:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(what):
                return int(line.split()[1]) >> 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    print(json.dumps(taken(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
