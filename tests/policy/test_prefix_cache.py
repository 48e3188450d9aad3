from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from policy.prefix_cache import PrefixCache
from policy.reading import Reading


def kv(tokens: tuple[int, ...]) -> Tensor:
    """Keys and values that tell for each position which prefix they belong to."""
    marks = [float(hash(tokens[: i + 1]) % 1_000_003) for i in range(len(tokens))]
    return torch.tensor(marks).view(1, 1, 1, -1, 1).expand(1, 2, 1, -1, 4).clone()


def insert(cache: PrefixCache, tokens: tuple[int, ...], reading: Reading | None = None) -> list[tuple[int, int]]:
    asked: list[tuple[int, int]] = []

    def read(start: int, end: int) -> Tensor:
        asked.append((start, end))
        return kv(tokens)[:, :, :, start:end].clone()

    cache.insert(tokens, read, reading)
    return asked


def found(cache: PrefixCache, tokens: tuple[int, ...]) -> int:
    pieces, length = cache.find(tokens)
    if length:
        assert torch.equal(torch.cat(pieces, dim=3), kv(tokens[:length]))
    return length


def test_the_longest_prefix_is_found_even_inside_an_edge() -> None:
    cache = PrefixCache(1 << 20)
    insert(cache, (1, 2, 3, 4))
    assert found(cache, (1, 2, 3, 4)) == 4
    assert found(cache, (1, 2, 3, 4, 5)) == 4
    assert found(cache, (1, 2, 9)) == 2
    assert found(cache, (1, 2)) == 2
    assert found(cache, (2,)) == 0
    assert found(cache, ()) == 0


def test_only_what_is_new_is_read() -> None:
    cache = PrefixCache(1 << 20)
    assert insert(cache, (1, 2, 3, 4)) == [(0, 4)]
    assert insert(cache, (1, 2, 7, 8, 9)) == [(2, 5)]
    assert insert(cache, (1, 2)) == []
    assert insert(cache, (1, 2, 3, 4)) == []


def test_readings_belong_to_exactly_one_prefix() -> None:
    cache = PrefixCache(1 << 20)
    longer, shorter = Reading(torch.arange(3.0)), Reading(torch.ones(3))
    insert(cache, (1, 2, 3), longer)
    insert(cache, (1, 2))
    assert cache.reading((1, 2)) is None
    assert cache.reading((1, 2, 3)) is longer
    insert(cache, (1, 2), shorter)
    assert cache.reading((1, 2)) is shorter


def test_the_bound_holds_and_what_is_found_stays_right() -> None:
    rng = np.random.default_rng(0)
    cache = PrefixCache(20_000)
    lengths = []
    for _ in range(600):
        tokens = tuple(rng.integers(0, 3, size=rng.integers(1, 12)).tolist())
        insert(cache, tokens, Reading(torch.zeros(8)))
        assert cache.bytes <= cache.limit
        lengths.append(found(cache, tuple(rng.integers(0, 3, size=12).tolist())))
    assert cache.bytes == sum(node.bytes for node in cache._recent)
    assert max(lengths) > 3


def test_the_least_recently_used_ends_go_first() -> None:
    cache = PrefixCache(1 << 20)
    for tokens in ((1, 2, 3), (1, 2, 4), (1, 2, 5)):
        insert(cache, tokens)
    cache.find((1, 2, 3))
    cache.limit = cache.bytes
    insert(cache, (7, 7, 7))
    assert found(cache, (1, 2, 3)) == 3
    assert found(cache, (7, 7, 7)) == 3
    assert found(cache, (1, 2, 4)) == 2


def test_a_bound_that_nothing_fits_in_keeps_nothing() -> None:
    cache = PrefixCache(10)
    insert(cache, (1, 2, 3))
    assert cache.bytes == 0
    assert found(cache, (1, 2, 3)) == 0


def test_readers_whose_last_line_is_forgotten_leave_nothing() -> None:
    cache = PrefixCache(4000)
    for number in range(50):
        cache.insert((1, 2, 3, number), lambda start, end: torch.ones(1, 2, 1, end - start, 4), reader=f"v{number}")
        assert cache.find((1, 2, 3, number), reader=f"v{number}")[1] == 4
        assert cache.find((1, 2), reader="nobody") == ([], 0)
    assert 0 < len(cache) == len(cache._roots) < 50
    assert cache.find((1, 2, 3, 0), reader="v0")[1] == 0
