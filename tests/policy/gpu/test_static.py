"""Static steps, which a GPU replays, against the eager layers: here they run as they are, on a CPU.

FlashAttention has no kernel for a CPU. A stand-in that does what it is documented to do takes its place, so that what
is said to it is tested: which queries belong to which keys.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from policy.base import Sampling, Thought
from policy.budget import Budget
from policy.gpu.attention import Flash, Products, flash
from policy.gpu.scheduler import DeviceScheduler
from policy.gpu.static import ROWS, STEM_TOKENS, STEMS, TOLERANCE, StaticStep, bucket, checked, disagreement
from policy.gpu.stems import StemTable
from policy.kv import Stem
from policy.transformer import Transformer
from policy.trunk import Trunk
from tests.policy.test_fused import MODELS, made, state_of


def stand_in(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, starts: torch.Tensor, places: torch.Tensor,
    used: torch.Tensor, most: int, longest: int, scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """See slot_attention.flash. What belongs to no line is left as it was found: no number."""
    assert all(tensor.dtype == torch.int32 for tensor in (starts, places, used))
    assert len(starts) == len(places) == len(used) + 1
    found = torch.full_like(queries, torch.nan)
    weight = torch.full((queries.shape[1], len(queries)), torch.nan)
    for line, sees in enumerate(used.tolist()):
        mine, theirs = slice(starts[line], starts[line + 1]), slice(places[line], places[line] + sees)
        assert mine.stop - mine.start <= most and sees <= longest
        if sees == 0:
            found[mine], weight[:, mine] = 0, torch.inf
            continue
        group = queries.shape[1] // keys.shape[1]
        key, value = (part[theirs].repeat_interleave(group, 1).float() for part in (keys, values))
        scores = torch.einsum("qhd,khd->hqk", queries[mine].float(), key) * scale
        weight[:, mine] = scores.logsumexp(-1)
        found[mine] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value).to(queries.dtype)
    return found, weight


class StandIn(Flash):
    """FlashAttention anywhere."""

    varlen = staticmethod(stand_in)


class FindsNothing(Flash):
    """Where it does not matter what is found."""

    @staticmethod
    def varlen(queries: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros_like(queries), torch.zeros(queries.shape[1], len(queries))


KINDS = (Products, StandIn)


@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (28, 4)])
def test_torchs_kernel_takes_what_it_is_given(heads: int, kv_heads: int) -> None:
    """Its signature and its shapes, where nothing is computed."""
    queries = torch.empty(56, heads, 128, dtype=torch.bfloat16, device="meta")
    keys = torch.empty(4096, kv_heads, 128, dtype=torch.bfloat16, device="meta")
    starts, used = (torch.empty(count, dtype=torch.int32, device="meta") for count in (9, 8))
    found, weight = flash(queries, keys, keys, starts, starts, used, 7, 512, 0.1)
    assert found.shape == queries.shape and weight.shape == (heads, 56) and weight.dtype == torch.float32


def static(trunk: Trunk, kind: Any) -> StaticStep:
    assert trunk.fused is not None
    return StaticStep(trunk.fused, trunk.kv, kind)


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_are_those_of_the_eager_layers(name: str, kind: Any) -> None:
    trunk = Trunk(MODELS[name](), None, 12)
    assert disagreement(trunk, static(trunk, kind)) < 1e-5 < TOLERANCE[torch.float32]


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrong_is_noticed(kind: Any) -> None:
    class ForgetsStems(kind):  # type: ignore[misc]
        def stem(self, queries: torch.Tensor, held: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found, weight = super().stem(queries, held)
            return found, weight - torch.inf

    class SeesTooLittle(kind):  # type: ignore[misc]
        def prepare(self, own: torch.Tensor, which: torch.Tensor) -> None:
            super().prepare((own - 1).clamp(min=0), which)

    trunk = Trunk(MODELS["qwen2"](), None, 12)
    for broken in (ForgetsStems, SeesTooLittle):
        assert disagreement(trunk, static(trunk, broken)) > TOLERANCE[torch.float32]


def in_bfloat16() -> Trunk:
    """As on a GPU: everything is rounded, keys and values too."""
    model = MODELS["qwen2"]().to(torch.bfloat16)  # type: ignore[call-overload]
    trunk = Trunk(model, None, 12)
    trunk.kv.buffer = trunk.kv.buffer.to(torch.bfloat16)
    trunk.host = None  # it computes in float32, as everything between the products does on a CPU
    return trunk


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_agrees_to_its_tolerance(kind: Any) -> None:
    trunk = in_bfloat16()
    error = disagreement(trunk, static(trunk, kind))
    assert 1e-4 < error < TOLERANCE[torch.bfloat16]


@torch.inference_mode()
@pytest.mark.parametrize("kind", [Products, FindsNothing])
def test_a_growing_tree_asks_for_few_graphs(kind: Any) -> None:
    """Rows come and go, lines grow, prompts change: what is captured is of a few buckets, and soon all there are."""
    trunk = Trunk(made(Qwen2ForCausalLM, Qwen2Config, num_key_value_heads=2), None, 70)
    trunk.kv.reserve(128, 0)
    step = static(trunk, kind)
    rng = np.random.default_rng(1)
    stems = [Stem(tuple(range(length)), torch.randn(3, 2, 2, length, 8)) for length in (3, 40, 64, 33)]
    seen = []
    for sizes in ((40, 70), (33, 64)):
        for length, rows in itertools.product(range(1, 128), sizes):
            own = rng.integers(length, size=rows)
            own[0] = length - 1
            mine = [(stems[i], torch.arange(i, rows, 4)) for i in range(length % 3 + 1)]
            found = step(rng.integers(40, size=rows), own + 64, own, mine)
            assert found is not None and found.shape == (rows, 32) and bool(found.isfinite().all())
        seen.append(set(step.graphs.keys))
    assert seen[0] == seen[1]  # a second tree adds nothing
    assert len(seen[0]) <= (2 * 3 * 4 if kind is Products else 2 * 3)


@torch.inference_mode()
def test_a_buffer_that_grows_takes_its_graphs_with_it() -> None:
    trunk = Trunk(MODELS["qwen2"](), None, 12)
    step = static(trunk, Products)
    disagreement(trunk, step)
    before = step.graphs
    trunk.kv.reserve(trunk.kv.buffer.shape[4] + 1, 12)
    assert disagreement(trunk, step) < 1e-5 and step.graphs is not before


def test_rows_come_in_buckets() -> None:
    assert [bucket(rows, 300) for rows in (1, 8, 9, 64, 65, 256, 257)] == [8, 8, 32, 64, 128, 256, 300]
    assert bucket(3, 5) == 5 and bucket(600, 1024) == 1024 and tuple(sorted(ROWS)) == ROWS


@torch.inference_mode()
def test_stems_of_no_bucket_are_left_to_the_eager_layers() -> None:
    trunk = Trunk(MODELS["qwen2"](), None, 20)
    step = static(trunk, Products)
    many = [(Stem((1,), torch.zeros(3, 2, 2, 1, 8)), torch.tensor([row])) for row in range(STEMS + 1)]
    long = [(Stem((1,) * (STEM_TOKENS + 1), torch.zeros(3, 2, 2, STEM_TOKENS + 1, 8)), None)]
    tokens, starts = np.ones(17, dtype=np.int64), np.full(17, 5)
    for stems in (many, long):
        assert step(tokens, starts, starts - 1, stems) is None
    assert not step.graphs.keys


@torch.inference_mode()
def test_stems_stay_at_their_places_and_are_not_kept_alive() -> None:
    trunk = Trunk(MODELS["qwen2"](), None, 2)
    table = StemTable(trunk.kv, 2, 8)
    stems = [Stem((1,) * length, torch.full((3, 2, 2, length, 8), float(length))) for length in (3, 5, 8)]
    first, second = table.hold(stems[:2])
    assert table.hold([stems[1]]) == [second] and table.hold([stems[1], stems[0]]) == [second, first]
    assert table.hold([stems[1], stems[2]]) == [second, first]  # the one that nobody has made room
    assert table.lengths[[first, second]].tolist() == [8, 5]
    assert bool((table.kv[:, :, second, :5] == 5).all()) and bool((table.kv[:, :, first] == 8).all())
    del stems[1]
    assert [known() is None for known in table._held if known is not None].count(True) == 1


def test_there_are_no_graphs_on_a_cpu() -> None:
    trunk = Trunk(MODELS["qwen2"](), None, 2)
    assert trunk.static is None and checked(trunk) is None


@pytest.mark.parametrize("sampling", list(Sampling))
@pytest.mark.parametrize("kind", KINDS)
async def test_the_decoder_draws_the_same_thoughts(
    sampling: Sampling, kind: Any, tiny_folder: Callable[..., Path]
) -> None:
    """All that runs on a GPU but its kernels, against the CPU's path: stems, many problems, rows that come and go."""
    prompt = "12+1=" * 40
    states = [state_of(prompt), *(state_of(prompt, f"{a}+{b}") for a in "12ab" for b in "12ab"),
              state_of("1+1=2", "a"), *(state_of("2" * 150, f"{a}+{b}") for a in "12ab" for b in "12a")]
    drawn: list[list[Thought]] = []
    for on_device in (False, True):
        policy = Transformer(str(tiny_folder()), threads=1, max_thought_tokens=12, max_batch=40)
        trunk = policy.decoder.scheduler.trunk
        if on_device:
            with torch.inference_mode():
                trunk.static = static(trunk, kind)
            policy.decoder.scheduler = DeviceScheduler(
                trunk, policy._codec, max_thought_tokens=12, cache_bytes=1 << 28, temperature=1.0
            )
        for seed in (3, 4):
            found = await asyncio.gather(*(
                policy.propose(s, 3, sampling=sampling, seed=seed, meter=Budget(seconds=60).start()) for s in states
            ))
        drawn.append([thought for thoughts in found for thought in thoughts])
        if on_device:
            keys = trunk.static.graphs.keys
            assert {key[2] is not None for key in keys} == {True, False}  # with and without stems
        policy.close()
    assert [t.text for t in drawn[0]] == [t.text for t in drawn[1]]
    for one, other in zip(*drawn, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
        assert one.value == pytest.approx(other.value, abs=1e-3)
