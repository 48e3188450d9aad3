"""Rates with adapters merged into the weights and beside them, and how long it takes to change one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.decode.arms import Tree
from benchmarks.decode.models import SHAPES, write
from benchmarks.decode.work import Work, leaves
from policy.base import Policy
from policy.experts import Experts
from policy.transformer import Transformer
from policy.weights import load_model
from verifiers.base import State, derive_seed

LIVE, RANK, DOMAINS = 64, 16, ("first", "second", "third", "fourth")


class Given(Tree):
    """This project's decoder with a policy that is there already."""

    def __init__(self, folder: Path, policy: Policy) -> None:
        super().__init__(folder)
        self._given: Any = policy

    def policy(self, work: Work) -> Transformer:
        """See Tree."""
        given: Transformer = self._given
        return given


def by_adapters(shape: str, rounds: int) -> Iterator[dict[str, Any]]:
    """64 live sequences of four problems, each the business of one adapter where there are four; and the changes."""
    with TemporaryDirectory() as name:
        folder = write(SHAPES[shape], Path(name) / "base")
        adapters = [str(_adapter(folder, Path(name) / domain, seed)) for seed, domain in enumerate(DOMAINS)]
        arms = {kind: Given(folder, policy) for kind, policy in _policies(str(folder), adapters).items()}
        work = four_problems()
        rates: dict[tuple[int, str], list[float]] = {kind: [] for kind in arms}
        for number in range(rounds + 1):  # the first time, all warm up: what is read stays in their caches
            for kind, arm in arms.items():
                rates[kind].append(arm.run(work, number).rate)
        for (count, how), found in rates.items():
            yield {"sweep": "adapters", "shape": shape, "live": LIVE, "adapters": count, "how": how,
                   "tokens_per_second": round(median(found[1:])),
                   "of none": round(median(a / b for a, b in zip(found[1:], rates[0, "none"][1:], strict=True)), 2)}
        for merge in (True, False):
            yield {"sweep": "change of adapters", "shape": shape, "how": _how(merge),
                   "milliseconds": round(_change(str(folder), adapters, merge, rounds), 1)}


def _how(merge: bool) -> str:
    return "merged" if merge else "beside"


def _policies(folder: str, adapters: list[str]) -> dict[tuple[int, str], Policy]:
    """By the number of adapters and how they are worn."""
    options: dict[str, Any] = {"threads": 1, "max_batch": LIVE, "max_thought_tokens": 40, "cache_mb": 2048}
    quarter = options | {"max_batch": LIVE // len(DOMAINS)}  # four models have as many live sequences together
    found: dict[tuple[int, str], Policy] = {(0, "none"): Transformer(folder, **options)}
    for merge in (True, False):
        found[1, _how(merge)] = Transformer(folder, adapters[0], merge=merge, **options)
        bare = Transformer(folder, merge=merge, **options)
        found[4, _how(merge)] = Experts(bare, {
            domain: Transformer(folder, adapter, **quarter) if merge else bare.beside(adapter)
            for domain, adapter in zip(DOMAINS, adapters, strict=True)})
    return found


def _adapter(base: Path, folder: Path, seed: int) -> Path:
    """Of all linear modules; what it changes is small, so that thoughts stay as long as they are."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    model: Any = get_peft_model(load_model(str(base), True, "float32"), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=1e-3)
    model.save_pretrained(folder)
    return folder


def four_problems() -> Work:
    """64 leaves of each, by turns."""
    found: list[State] = []
    for domain in DOMAINS:
        rng = np.random.default_rng(derive_seed(0, "adapters", domain))
        some = leaves(LIVE, 200, (5, 40), rng)
        problem = replace(some[0].problem, domain=domain)
        found += [replace(leaf, problem=problem) for leaf in some]
    return Work([found[at] for row in range(LIVE) for at in range(row, len(found), LIVE)], LIVE)


def _change(folder: str, adapters: list[str], merge: bool, rounds: int) -> float:
    """Milliseconds from one adapter to another, the first changes not counted: then the base is read again."""
    policy = Transformer(folder, merge=merge, threads=1, max_batch=LIVE)
    taken = []
    for adapter in [*adapters[:2], *adapters * rounds]:
        started = time.perf_counter()
        policy.load_adapter(adapter)
        taken.append(time.perf_counter() - started)
    policy.close()
    return 1000 * median(taken[2:])
