"""What is measured, and what it is measured by."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.decode.models import Shape
from benchmarks.decode.roofline import copy_rate, product_rate
from benchmarks.decode.work import Done, Work, leaves
from benchmarks.gpu.made import Made
from verifiers.base import derive_seed

OWN = (5, 40)  # tokens of the leaves' own lines


@dataclass(frozen=True)
class Figure:
    """A ratio, what it should be at least, what it is made of; and whether it is right, which is more than a target."""

    name: str
    ratio: float
    target: float
    parts: dict[str, float] = field(default_factory=dict)
    right: bool = True

    def as_row(self) -> dict[str, Any]:
        return {"name": self.name, "ratio": float(f"{self.ratio:.4g}"), "target": self.target, "right": self.right,
                **{name: float(f"{value:.4g}") for name, value in self.parts.items()}}


@dataclass(frozen=True)
class Load:
    """Live sequences at once, leaves in all, tokens of their prompt, most tokens of a thought, rounds; and megabytes
    that are copied, and the size of matrices that are multiplied, to see how fast the machine is."""

    live: int
    count: int
    prompt: int
    longest: int
    rounds: int
    megabytes: int
    size: int

    def work(self, count: int | None = None) -> Work:
        rng = np.random.default_rng(derive_seed(0, "gpu", f"{count}"))
        return Work(leaves(count or self.count, self.prompt, OWN, rng), self.live, self.longest)

    def copied(self, device: torch.device) -> float:
        """Bytes a second, read and written."""
        return copy_rate(str(device), self.megabytes)

    def multiplied(self, device: torch.device, dtype: torch.dtype) -> float:
        """Operations a second of a product of matrices."""
        return product_rate(str(device), dtype, self.size)


def machine(device: torch.device, dtype: torch.dtype, load: Load) -> dict[str, Any]:
    """What it can do, measured now."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "a CPU"
    return {"name": "machine", "device": name, "torch": torch.__version__, "transformers": transformers.__version__,
            "copy_gigabytes_per_second": round(load.copied(device) / 1e9, 1),
            "product_teraflops": round(load.multiplied(device, dtype) / 1e12, 3)}


def step_bytes(shape: Shape, width: int, rows: float, prompt: int, own: float) -> float:
    """What a step must read: all weights but the embeddings and the prompt's keys and values once, and every row's own.

    Args:
        width: bytes of a number.
        own: tokens that a row has of its own, in the mean.
    """
    weights = shape.parameters + shape.hidden * shape.vocabulary
    return weights * width + shape.kv_bytes(width) * (prompt + rows * own)


def against_the_memory(
    name: str, shape: Shape, model: Made, work: Work, done: Sequence[Done], load: Load
) -> Figure:
    """The time in which the memory could give what the steps read, to the time they took.

    A step is one with all live sequences in it: the fewer there are towards the end of a round, the worse. The first
    token of a thought takes none, since its leaf has been read. Beside it stands the time that the machine's rate of
    products would take for the same steps, which with so many rows is of the same order.
    """
    copied = load.copied(model.device)
    rate = median(one.rate for one in done)
    length = sum(one.tokens for one in done) / sum(one.thoughts for one in done)
    own = float(np.mean([len(leaf.thoughts[0]) + 1 for leaf in work.leaves])) + length / 2
    prompt = len(model.codec.encode(work.leaves[0].problem.prompt + "\n"))
    width = model.trunk.kv.buffer.element_size()
    read = step_bytes(shape, width, work.live, prompt, own)
    products = 2 * (shape.parameters + shape.hidden * shape.vocabulary) * work.live
    seconds = median(one.seconds / ((one.tokens - one.thoughts) / work.live) for one in done)
    return Figure(
        f"{name}: share of the memory's rate, tree decoder at {work.live} live sequences", read / copied / seconds, 0.5,
        {"tokens_per_second": rate, "tokens_per_thought": length, "milliseconds_per_full_step": 1e3 * seconds,
         "milliseconds_of_memory": 1e3 * read / copied,
         "milliseconds_of_products": 1e3 * products / load.multiplied(model.device, model.model.dtype)},
    )  # fmt: skip


def against_generate(name: str, ours: Sequence[Done], theirs: Sequence[Done]) -> Figure:
    """Tokens a second of useful thoughts."""
    tree, generate = (median(one.rate for one in done) for done in (ours, theirs))
    return Figure(f"{name}: tokens/s, tree decoder to batched generate", tree / generate, 5.0,
                  {"tree": tree, "generate": generate})
