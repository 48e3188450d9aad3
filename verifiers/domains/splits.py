"""Splits of the domains that make their own problems: streams of distinct problems, told apart by content alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from verifiers.base import BadProblem, Problem, split_of

SPLITS = ("train", "validation", "test")


def require_split(split: str, name: str, known: Sequence[str] = SPLITS) -> None:
    """Raises BadProblem unless the domain `name` has the split."""
    if split not in known:
        raise BadProblem(f"unknown split {split[:40]!r} of {name}; there are {', '.join(known)}")


def distinct(
    pose: Callable[[np.random.Generator], Problem], split: str, seed: int, *,
    belongs: Callable[[str], str] = split_of, patience: float = math.inf,
) -> Iterator[Problem]:
    """Problems of the split, each once, in an order that the seed decides.

    Args:
        pose: draws a problem, of any split.
        belongs: the split of a problem id.
        patience: draws in a row without a new problem after which there is taken to be none left.
    """
    rng = np.random.default_rng(seed)
    seen: set[str] = set()
    vain = 0
    while vain < patience:
        problem = pose(rng)
        vain += 1
        if problem.id not in seen and belongs(problem.id) == split:
            seen.add(problem.id)
            vain = 0
            yield problem
