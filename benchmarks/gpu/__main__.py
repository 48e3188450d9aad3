"""The tree decoder on one GPU, at the shapes of Qwen2.5-0.5B and 7B with random weights.

    python -m benchmarks.gpu                        one GPU, minutes, no network and no weights on disk
    python -m benchmarks.gpu --tiny --device cpu    the same on a CPU, in a size that says nothing about speed

One JSON object a line: name, ratio, target (the least that is aimed at) and what the ratio is made of. Exit code 0 if
what is decoded is right, 1 if it is not, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterator

import torch

from benchmarks.decode.models import SHAPES, Shape
from benchmarks.gpu.arms import GenerateOf, Tree
from benchmarks.gpu.checks import drawn_alike, static_and_eager, waits_and_graphs
from benchmarks.gpu.figures import Figure, Load, against_generate, against_the_memory, machine
from benchmarks.gpu.made import Made, made, speak

TINY = {"tiny": Shape(32, 2, 4, 2, 64, 700)}
QWEN = {name: SHAPES[name] for name in ("0.5B", "7B")}


def figures(name: str, shape: Shape, load: Load, device: torch.device, dtype: torch.dtype) -> Iterator[Figure]:
    """Of one shape: first what must be right, then what should be fast."""
    model = made(shape, load.live, device, dtype)
    yield static_and_eager(name, model)
    yield drawn_alike(name, shape.vocabulary, load.live, device)
    speak(model)
    tree = Tree(model, load.longest)
    try:
        yield from _timed(name, shape, load, model, tree)
    finally:
        tree.close()


def _timed(name: str, shape: Shape, load: Load, model: Made, tree: Tree) -> Iterator[Figure]:
    work = load.work()
    tree.read(work)
    tree.run(work, 0)  # captures what it needs
    yield from waits_and_graphs(name, lambda: tree.run(work, 1), tree)
    done = [tree.run(work, seed) for seed in range(2, 2 + load.rounds)]
    yield against_the_memory(name, shape, model, work, done, load)
    tree.forget()
    generate = GenerateOf(model, load.live)
    generate.run(load.work(load.live), 0)
    yield against_generate(name, done, [generate.run(load.work(load.live), seed) for seed in range(1, 1 + load.rounds)])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and few leaves, for a test of this script")
    parser.add_argument("--shapes", nargs="+", choices=list(QWEN), default=list(QWEN))
    parser.add_argument("--rounds", type=int, default=3, help="of which each figure is the median")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("no GPU here (torch.cuda.is_available() is false); with --tiny --device cpu the script can be tried",
              file=sys.stderr)
        return 2
    device = torch.device(options.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    shapes = TINY if options.tiny else {name: QWEN[name] for name in options.shapes}
    load = (Load(16, 64, 40, 30, options.rounds, 1, 256) if options.tiny else
            Load(256, 1024, 200, 40, options.rounds, 2048, 8192))
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    started, right = time.perf_counter(), True
    print(json.dumps(machine(device, dtype, load)), flush=True)
    for name, shape in shapes.items():
        for figure in figures(name, shape, load, device, dtype):
            print(json.dumps(figure.as_row()), flush=True)
            right = right and figure.right
        gc.collect()  # before the next model comes
        if device.type == "cuda":
            torch.cuda.empty_cache()
    print(json.dumps({"name": "seconds in all", "seconds": round(time.perf_counter() - started, 1)}), flush=True)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
