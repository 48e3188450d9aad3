"""The compiled next token of walks against what is made of the same numbers in arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from policy.host.draws import walk
from policy.sampling import perturb, state_key, two_best


def drawn(logprobs: Any, total: Any, perturbed: Any, keys: Any, count: Any) -> dict[str, Any]:
    """By `walk`, in slots from behind."""
    rows, vocabulary = logprobs.shape
    slots = np.arange(rows)[::-1].copy()
    floats = np.zeros((3, rows, 9))
    notes = {"key": keys[slots], "total": total[slots], "least": -np.ones(rows), "perturbed": perturbed[slots]}
    tokens, kept = np.full(rows, -1), np.full((rows, 9, vocabulary), np.nan, dtype=np.float32)
    noise = np.zeros((rows, 9), dtype=np.uint64)
    walk(logprobs, slots, count, *notes.values(), tokens, kept, floats[0], floats[1], noise, floats[2])
    at = count[slots]
    assert np.array_equal(kept[slots, at], logprobs) and np.count_nonzero(kept == kept) == logprobs.size
    assert np.array_equal(floats[0, slots, at], total) and np.array_equal(floats[1, slots, at], -np.ones(rows))
    assert np.array_equal(noise[slots, at], keys)
    found = {name: note[slots] for name, note in notes.items()}
    assert np.array_equal(found.pop("perturbed"), perturbed)
    return {"tokens": tokens, "seconds": floats[2, slots, at], **found}


@pytest.mark.parametrize("vocabulary", [1, 2, 50, 512])
@pytest.mark.parametrize("sharp", [0.01, 1.0, 100.0])
def test_it_is_what_arrays_make_of_it(vocabulary: int, sharp: float) -> None:
    rng = np.random.default_rng([vocabulary, int(100 * sharp)])
    rows = 500
    with np.errstate(divide="ignore"):
        logprobs = np.log(rng.dirichlet(np.full(vocabulary, 1 / sharp), size=rows)).astype(np.float32)
    keys = np.array([state_key(1, (row,)) for row in range(rows)], dtype=np.uint64)
    total, perturbed = -30 * rng.random(rows), 5 - 30 * rng.random(rows)
    found = drawn(logprobs, total, perturbed, keys, rng.integers(0, 9, rows))
    best = two_best(logprobs, None, total, perturbed, keys)
    gained = logprobs[np.arange(rows), best.column].astype(float)
    assert np.array_equal(found["tokens"], best.column) and np.array_equal(found["key"], best.keys)
    assert np.allclose(found["seconds"], best.second, rtol=1e-12, atol=1e-12)
    assert np.array_equal(found["total"], total + gained) and np.array_equal(found["least"], np.minimum(-1, gained))


def test_siblings_follow_the_first_two() -> None:
    """What `perturb` finds later agrees with what was drawn."""
    rng = np.random.default_rng(3)
    logprobs = np.log(rng.dirichlet(np.ones(60), size=200)).astype(np.float32)
    keys = np.array([state_key(2, (row,)) for row in range(200)], dtype=np.uint64)
    total, perturbed = np.zeros(200), -rng.random(200)
    found = drawn(logprobs, total, perturbed, keys, np.zeros(200, dtype=np.int64))
    children = perturb(logprobs, total, perturbed, keys)
    assert np.array_equal(found["tokens"], children.tokens[:, 0])
    assert np.allclose(found["seconds"], children.perturbed[:, 1], rtol=1e-12, atol=1e-12)


def test_what_cannot_be_drawn_never_is() -> None:
    logprobs = np.full((200, 40), -np.inf, dtype=np.float32)
    logprobs[:, 17] = 0
    keys = np.array([state_key(3, (row,)) for row in range(200)], dtype=np.uint64)
    found = drawn(logprobs, np.zeros(200), np.zeros(200), keys, np.zeros(200, dtype=np.int64))
    assert (found["tokens"] == 17).all() and np.isneginf(found["seconds"]).all()
