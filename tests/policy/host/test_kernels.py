"""Each kernel against what torch makes of the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import linear, rms_norm, silu

from policy.host import kernels

EPS = np.float32(1e-6)


def some(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("rows", [0, 1, 2, 8])
@pytest.mark.parametrize("outs", [1, 3, 4, 10])
@pytest.mark.parametrize("bias", [False, True])
def test_products_of_few_rows(rows: int, outs: int, bias: bool) -> None:
    x, weight, biases = some(rows, 7), some(outs, 7), some(outs if bias else 0, seed=1)
    out = np.full((rows, outs), np.nan, dtype=np.float32)
    kernels.product(x, weight, biases, out)
    expected = linear(torch.from_numpy(x), torch.from_numpy(weight), torch.from_numpy(biases) if bias else None)
    assert np.allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("width", [1, 8, 50])
def test_normalisation_and_sums(width: int) -> None:
    x, more, weight = some(3, width), some(3, width, seed=1), some(width)
    x[2] = more[2] = 0  # padding
    out = np.empty_like(x)
    kernels.normed(x, weight, EPS, out)
    normed = lambda x: rms_norm(torch.from_numpy(x), (width,), torch.from_numpy(weight), float(EPS))  # noqa: E731
    assert np.allclose(out, normed(x), atol=1e-5)
    total = x + more
    kernels.added(x, more, weight, EPS, out)
    assert np.array_equal(x, total) and np.allclose(out, normed(total), atol=1e-5) and not out[2].any()


def test_the_exponential_is_exact_to_some_units() -> None:
    """Through the gate, silu(-x) = -x / (1 + exp(x)): everywhere that numbers of float32 can be."""
    gate = np.linspace(-120, 120, 200_001, dtype=np.float32)[None]
    out = np.empty_like(gate)
    kernels.gated(np.concatenate([gate, np.ones_like(gate)], 1), out)
    expected = silu(torch.from_numpy(gate).double()).numpy()
    near = np.abs(gate) < 80
    assert np.abs(out / expected - 1)[near & (gate != 0)].max() < 1e-6
    assert np.abs(out - expected).max() < 1e-4 and np.isfinite(out).all()


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_queries_keys_and_values(normed: bool, kv_heads: int) -> None:
    heads, dim, rows = 4, 6, 3
    drawn = some(rows + 1, (heads + 2 * kv_heads) * dim)
    before = torch.from_numpy(drawn.copy())[:rows].view(rows, -1, dim)
    turns, norms = some(2, 20, dim // 2), tuple(some(dim if normed else 0, seed=seed) for seed in (1, 2))
    at, own, slots = np.array([19, 0, 7]), np.array([4, 0, 1]), np.array([0, 3, 3])
    queries = np.empty((kv_heads, rows, heads // kv_heads, dim), dtype=np.float32)
    held = np.zeros((2, 4, kv_heads, 5, dim), dtype=np.float32)
    kernels.turned(drawn, turns, at, own, slots, norms, EPS, np.float32(0.5), queries, held)
    parts = list(before.split([heads, kv_heads, kv_heads], 1))
    if normed:
        parts[:2] = [rms_norm(part, (dim,), torch.from_numpy(norm), float(EPS))
                     for part, norm in zip(parts[:2], norms, strict=True)]
    cos, sin = (torch.from_numpy(turn[at])[:, None].repeat(1, 1, 2) for turn in turns)
    rotated = [part * cos + torch.cat([-part[..., dim // 2 :], part[..., : dim // 2]], -1) * sin for part in parts[:2]]
    assert np.allclose(queries.transpose(1, 0, 2, 3).reshape(rows, heads, dim), rotated[0] * 0.5, atol=1e-5)
    for row in range(rows):
        assert np.allclose(held[0, slots[row], :, own[row]], rotated[1][row], atol=1e-5)
        assert np.array_equal(held[1, slots[row], :, own[row]], parts[2][row])
    assert np.count_nonzero(held.any((0, 2, 4))) == rows  # and nothing else was written


@pytest.mark.parametrize("stems", [[0, 0, 0], [5, 5, 5], [5, 0, 2]])
def test_attention_to_stem_and_slot(stems: list[int]) -> None:
    kv_heads, group, dim, rows = 2, 2, 4, 3
    queries, held = some(kv_heads, rows, group, dim) * 3, some(2, 4, kv_heads, 9, dim)
    own, slots, longest = np.array([8, 0, 3]), np.array([2, 0, 2]), max(stems)
    scores, values = some(kv_heads, rows, group, longest), some(kv_heads, longest, dim, seed=1)
    before = scores.copy()
    weights = np.full((kv_heads, rows, group, 9), np.nan, dtype=np.float32)
    kernels.weighed(queries, held, own, slots, scores, np.array(stems), weights)
    shared = np.einsum("hrgp,hpd->hrgd", scores, values) if longest else scores[:, :0]
    out = np.full((rows + 1, kv_heads * group * dim), np.nan, dtype=np.float32)
    out[rows] = 0
    kernels.gathered(weights, held, own, slots, np.ascontiguousarray(shared), out)
    for row in range(rows):
        for head in range(kv_heads):
            keys, mine = held[:, slots[row], head, : own[row] + 1]
            seen = np.concatenate([before[head, row, :, : stems[row]], queries[head, row] @ keys.T], 1)
            expected = torch.softmax(torch.from_numpy(seen), -1).numpy() @ np.concatenate(
                [values[head, : stems[row]], mine])
            found = out[row].reshape(kv_heads, group, dim)[head]
            assert np.allclose(found, expected, atol=1e-5)
    assert not out[rows].any()
