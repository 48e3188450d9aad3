"""What has to be right before anything is fast."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.decode.work import Done
from benchmarks.gpu.arms import Tree
from benchmarks.gpu.figures import Figure
from benchmarks.gpu.made import Made
from policy import sampling
from policy.gpu import sampling as device_sampling
from policy.gpu.static import TOLERANCE, disagreement


def static_and_eager(name: str, model: Made) -> Figure:
    """Hidden states of steps that are captured and replayed, against those of the layers run one by one.

    The ratio is that of what may differ to what does; 0 if nothing could be captured, of which there are warnings.
    """
    tolerance = TOLERANCE[model.trunk.kv.buffer.dtype]
    static = model.trunk.static
    error = float("inf") if static is None else disagreement(model.trunk, static)
    kind = "nothing" if static is None else static.attending.__name__
    return Figure(f"{name}: hidden states of static steps ({kind}), tolerance to difference",
                  tolerance / max(error, 1e-12), 1.0, {"tolerance": tolerance, "difference": error}, error <= tolerance)


def drawn_alike(name: str, vocabulary: int, rows: int, device: torch.device) -> Figure:
    """The share of tokens that are the same, drawn by torch on the device and by numpy on the host."""
    rng = np.random.default_rng(0)
    logprobs = torch.from_numpy(rng.normal(0, 3, (rows, vocabulary))).log_softmax(1).float()
    keys = rng.integers(2**64, size=rows, dtype=np.uint64)
    total, perturbed = -rng.exponential(4, (2, rows))
    given, at = logprobs.numpy(), np.arange(rows)
    ids, kept = sampling.candidates(given)
    best = sampling.two_best(kept, ids, total, perturbed, keys).column
    expected = [sampling.pick_independent(given, keys, at.astype(np.uint64), 1.0),
                best if ids is None else ids[at, best]]
    there = logprobs.to(device)
    parts = keys.view(np.int64), at, total, perturbed
    signed, places, sums, noise = (torch.from_numpy(part).to(device) for part in parts)
    found = [device_sampling.pick_independent(there, signed, places, 1.0),
             device_sampling.walk(there, sums, noise, signed).tokens]
    same = float(np.mean([tokens.cpu().numpy() == numbers for tokens, numbers in zip(found, expected, strict=True)]))
    return Figure(f"{name}: share of tokens drawn on the device as on the host", same, 1.0, {"rows": rows}, same == 1.0)


def waits_and_graphs(name: str, run: Callable[[], Done], tree: Tree) -> Iterator[Figure]:
    """Steps to steps and waits for the GPU that nobody asked for, as torch sees them: besides these, a step waits once,
    for its tokens. And graphs before another round to those after it."""
    forward, steps, before = tree.trunk.forward, 0, tree.graphs

    def counted(*inputs: object, **more: object) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return forward(*inputs, **more)  # type: ignore[arg-type]

    tree.trunk.forward = counted  # type: ignore[method-assign]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if tree.trunk.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            tree.trunk.forward = forward  # type: ignore[method-assign]
            if tree.trunk.device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    waits = sum("synchroniz" in str(one.message) for one in caught)
    yield Figure(f"{name}: steps to steps and unasked waits for the GPU", steps / (steps + waits), 1.0,
                 {"steps": steps, "waits": waits})
    yield Figure(f"{name}: graphs before another round to those after it", before / max(tree.graphs, 1), 1.0,
                 {"before": before, "after": tree.graphs})
