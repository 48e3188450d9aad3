"""What is drawn by torch on the device of the logits is what numpy draws, and what is kept for siblings is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from policy import sampling
from policy.drawing import Drawing, Mode
from policy.frontier import Partial, Walk
from policy.gpu import sampling as device_sampling
from policy.gpu.drawing import DeviceDrawing
from policy.rows import Row
from policy.sampling import SMALL_VOCABULARY, state_key

VOCABULARIES = (7, 98, SMALL_VOCABULARY, 5000)
SLOTS, LONGEST = 12, 9


def logprobs(rows: int, vocabulary: int, seed: int) -> NDArray[np.float32]:
    """Far from uniform, as a model's are."""
    logits = np.random.default_rng(seed).normal(0, 3, (rows, vocabulary))
    found: NDArray[np.float32] = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)
    return found


def random_keys(count: int, seed: int) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(2**64, size=count, dtype=np.uint64)


def signed(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array.view(np.int64))


def test_noise_is_the_same_to_the_last_bit() -> None:
    keys = np.concatenate([random_keys(1000, 0), np.array([0, 1, 2**63 - 1, 2**63, 2**64 - 1], dtype=np.uint64)])
    counters = np.arange(len(keys), dtype=np.uint64) * np.uint64(151)
    words = sampling._words(keys, counters)
    found = device_sampling.words(signed(keys), signed(counters))
    assert np.array_equal(found.numpy().view(np.uint64), words)
    assert np.array_equal(device_sampling.uniforms(found).numpy(), sampling.uniforms(words))


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("temperature", [1.0, 0.3, 2.0])
def test_independent_tokens_are_the_same(vocabulary: int, temperature: float) -> None:
    given, keys, positions = logprobs(200, vocabulary, 1), random_keys(200, 2), np.arange(200) % 40
    expected = sampling.pick_independent(given, keys, positions.astype(np.uint64), temperature)
    found = device_sampling.pick_independent(torch.from_numpy(given), signed(keys), torch.from_numpy(positions),
                                             temperature)
    assert np.array_equal(found.numpy(), expected) and len(set(expected.tolist())) > 3


def test_broken_logits_draw_a_token_that_exists() -> None:
    given = torch.full((3, 50), torch.nan)
    found = device_sampling.pick_independent(given, torch.arange(3), torch.zeros(3, dtype=torch.long), 1.0)
    assert ((found >= 0) & (found < 50)).all()


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_walks_are_the_same(vocabulary: int) -> None:
    given, keys = logprobs(150, vocabulary, 3), random_keys(150, 4)
    total, perturbed = -np.random.default_rng(5).exponential(4, (2, 150))
    ids, kept = sampling.candidates(given)
    best = sampling.two_best(kept, ids, total, perturbed, keys)
    step = device_sampling.walk(torch.from_numpy(given), torch.from_numpy(total), torch.from_numpy(perturbed),
                                signed(keys))
    tokens = best.column if ids is None else np.take_along_axis(ids, best.column[:, None], 1)[:, 0]
    assert np.array_equal(step.tokens.numpy(), tokens)
    assert np.array_equal(step.keys.numpy().view(np.uint64), best.keys)
    np.testing.assert_allclose(step.second.numpy(), best.second, rtol=1e-12)
    assert np.array_equal(step.gained.numpy(), given[np.arange(150), tokens].astype(np.float64))


def test_a_vocabulary_of_one_token_has_no_sibling() -> None:
    step = device_sampling.walk(torch.zeros(1, 1), torch.zeros(1).double(), torch.zeros(1).double(), torch.tensor([9]))
    assert step.tokens.tolist() == [0] and step.second.tolist() == [-np.inf]


class Walker:
    """What stands for a frontier here: nobody asks it for anything."""


def row(slot: int) -> Row:
    """Greedy, independent, walking, or reading, by its slot."""
    made = Row("", (1, 2), 2, [1, 2], Partial((), 0.0, -0.3 * slot, state_key(slot, (1, 2))))
    made.slot = slot
    kinds = (Mode.GREEDY, Mode.INDEPENDENT, Mode.WALK, Mode.WALK)
    made.request = Walker()  # type: ignore[assignment]
    if kinds[slot % 4] == Mode.WALK:
        made.frontier = Walker()  # type: ignore[assignment]
    elif kinds[slot % 4] == Mode.INDEPENDENT:
        made.key = state_key(slot, (1, 2), 5)
    return made


def same_walk(one: Walk, other: Walk) -> None:
    assert one.tokens == other.tokens and one.start == other.start and one.perturbed == other.perturbed
    assert np.array_equal(one.keys, other.keys) and np.array_equal(one.totals, other.totals)
    assert np.array_equal(one.leasts, other.leasts)
    np.testing.assert_allclose(one.seconds, other.seconds, rtol=1e-12)
    for at in range(len(one)):
        mine, theirs = one.children(at), other.children(at)
        assert np.array_equal(mine.tokens, theirs.tokens) and np.array_equal(mine.keys, theirs.keys)
        np.testing.assert_allclose(mine.logprobs, theirs.logprobs, rtol=1e-12)
        np.testing.assert_allclose(mine.perturbed, theirs.perturbed, rtol=1e-12)


@pytest.mark.parametrize("vocabulary", [98, 5000])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_thoughts_and_their_siblings_are_the_same(vocabulary: int, temperature: float) -> None:
    """All kinds of rows in one batch, some of them moved to other slots on the way."""
    drawings = [kind(SLOTS, LONGEST, vocabulary, temperature, 3) for kind in (Drawing, DeviceDrawing)]
    rows = [row(slot) for slot in range(SLOTS)]
    for drawing in drawings:
        for one in rows:
            drawing.seat(one)
    slots = np.arange(SLOTS)
    for step in range(LONGEST):
        some = slots if step % 3 else np.random.default_rng(step).permutation(slots)[:7]
        given = torch.from_numpy(logprobs(len(some), vocabulary, step))
        some = some[drawings[0].count[some] < LONGEST]
        tokens, found = (drawing.draw(some, given[: len(some)]) for drawing in drawings)
        assert np.array_equal(tokens, found)
        if step == 4:
            for drawing in drawings:
                drawing.move(11, 3)
            slots, rows[3] = slots[:-1], rows.pop()
            rows[3].slot = 3
    for one in rows:
        told = []
        for drawing in drawings:
            drawing.tell(one)
            told.append((one.thought, one.logprob, one.least, one.closed))
        assert told[0] == told[1] and told[0][0] and told[0][3]
        if one.frontier is not None:
            walk, other = (drawing.walk(one) for drawing in drawings)
            assert walk is not None and other is not None
            same_walk(walk, other)
            assert all(drawing.walk(one) is None for drawing in drawings)  # it is known now
