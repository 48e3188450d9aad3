"""The fused layers against the model's own forward pass, for every family, with and without stems."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from policy.base import Sampling, Thought
from policy.budget import Budget
from policy.kv import Stem
from policy.transformer import Transformer
from policy.trunk import Trunk
from verifiers.base import Problem, State

SHAPE = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
         "num_attention_heads": 4, "max_position_embeddings": 256}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip


def made(kind: Any, config: Any, **more: Any) -> PreTrainedModel:
    torch.manual_seed(5)
    model: PreTrainedModel = kind(config(**SHAPE, **more)).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(6.0) if parameter.ndim == 2 else parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


MODELS = {
    "one key-value head": lambda: made(LlamaForCausalLM, LlamaConfig, num_key_value_heads=1),
    "one for each head": lambda: made(LlamaForCausalLM, LlamaConfig, num_key_value_heads=4),
    "biases": lambda: made(LlamaForCausalLM, LlamaConfig, num_key_value_heads=2, attention_bias=True, mlp_bias=True),
    "llama3": lambda: made(LlamaForCausalLM, LlamaConfig, num_key_value_heads=2, rope_parameters=LLAMA3),
    "mistral": lambda: made(MistralForCausalLM, MistralConfig, num_key_value_heads=2),
    "qwen2": lambda: made(Qwen2ForCausalLM, Qwen2Config, num_key_value_heads=2),
    "qwen3": lambda: made(Qwen3ForCausalLM, Qwen3Config, num_key_value_heads=2, head_dim=16),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return MODELS[request.param]()


@pytest.fixture(params=["compiled", "eager"])
def trunk_of(request: pytest.FixtureRequest) -> Callable[[PreTrainedModel, int], Trunk]:
    """A trunk whose steps of few tokens are compiled, and one that computes them as a GPU does."""

    def make(model: PreTrainedModel, slots: int) -> Trunk:
        trunk = Trunk(model, None, slots)
        assert trunk.fused is not None and trunk.host is not None
        if request.param == "eager":
            trunk.host = None
        return trunk

    return make


def whole(model: Any, line: list[int]) -> torch.Tensor:
    """The hidden states of a line, by the model's own forward pass."""
    with torch.inference_mode():
        hidden: torch.Tensor = model.base_model(input_ids=torch.tensor([line]), use_cache=False).last_hidden_state
    return hidden[0]


def lines(count: int, length: int) -> list[list[int]]:
    return np.random.default_rng(2).integers(0, 40, (count, length)).tolist()


@torch.inference_mode()
def test_pieces_and_single_tokens_are_the_models_own(model: PreTrainedModel, trunk_of: Any) -> None:
    trunk = trunk_of(model, 5)
    some = lines(5, 24)
    slots = np.array([4, 0, 3, 1, 2])
    pieces = trunk.forward(np.array(some)[:, :20], np.zeros(5, dtype=np.int64), slots=slots)
    for row, line in enumerate(some):
        assert torch.allclose(pieces[row], whole(model, line[:20]), atol=2e-4)
    of = np.argsort(slots)  # which line is in which slot
    for at in range(20, 24):
        tokens = np.array([[some[line][at]] for line in of])
        found = trunk.forward(tokens, np.full(5, at))
        for slot, line in enumerate(of):
            assert torch.allclose(found[slot, 0], whole(model, some[line][: at + 1])[-1], atol=2e-4)


@torch.inference_mode()
@pytest.mark.parametrize("whose", ["all of one", "two and none", "one and none"])
def test_stems_are_as_if_they_were_in_every_slot(model: PreTrainedModel, whose: str, trunk_of: Any) -> None:
    trunk = trunk_of(model, 6)
    prompts = [line[:length] for line, length in zip(lines(2, 30), (30, 17), strict=True)]
    stems = []
    for prompt in prompts:
        trunk.forward(np.array([prompt]), np.zeros(1, dtype=np.int64), slots=np.zeros(1, dtype=np.int64))
        stems.append(Stem(tuple(prompt), trunk.kv.read(0, 0, len(prompt))))
    has = {"all of one": [0] * 6, "two and none": [0, 1, None, 1, 0, None], "one and none": [None, 0, 0, None, 0, 0]}
    mine = has[whose]
    rows = {which: [row for row in range(6) if mine[row] == which] for which in (0, 1) if which in mine}
    groups = [(stems[which], None if len(some) == 6 else torch.tensor(some)) for which, some in rows.items()]
    offsets = np.array([0 if which is None else len(prompts[which]) for which in mine])
    some = [[*([] if which is None else prompts[which]), *tail] for which, tail in zip(mine, lines(6, 9), strict=True)]
    tails = np.array([line[-9:] for line in some])
    starts = offsets.copy()
    pieces = trunk.forward(tails[:, :5], starts, offsets, groups, np.arange(6))
    for row, line in enumerate(some):
        assert torch.allclose(pieces[row], whole(model, line[:-4])[-5:], atol=2e-4)
    for at in range(5, 9):
        found = trunk.forward(tails[:, at : at + 1], starts + at, offsets, groups)
        for row, line in enumerate(some):
            assert torch.allclose(found[row, 0], whole(model, line[: len(line) - 8 + at])[-1], atol=2e-4)


@torch.inference_mode()
@pytest.mark.parametrize("at", [-1, 128])
def test_nothing_is_written_beyond_the_slots(at: int) -> None:
    trunk = Trunk(MODELS["qwen2"](), None, 2)
    assert trunk.kv.buffer.shape[4] == 128
    with pytest.raises(IndexError):
        trunk.forward(np.array([[1], [2]]), np.array([0, at]))


@torch.inference_mode()
def test_weights_stay_the_models_own(model: PreTrainedModel) -> None:
    """What is loaded into the model, in place or as new tensors, is what is computed with."""
    untyped: Any = model
    trunk = Trunk(model, None, 1)
    (line,) = lines(1, 6)
    layer = untyped.base_model.layers[1]
    layer.self_attn.k_proj.weight.mul_(1.5)
    layer.mlp.up_proj.weight.data = layer.mlp.up_proj.weight.data * 0.5
    trunk.check(model)
    assert trunk.fused is not None
    found = trunk.forward(np.array([line]), np.zeros(1, dtype=np.int64), slots=np.zeros(1, dtype=np.int64))
    assert torch.allclose(found[0], whole(model, line), atol=2e-4)
    before = found
    layer.self_attn.v_proj.weight.mul_(0.5)
    trunk.check(model)
    after = trunk.forward(np.array([line]), np.zeros(1, dtype=np.int64), slots=np.zeros(1, dtype=np.int64))
    assert torch.allclose(after[0], whole(model, line), atol=2e-4) and not torch.allclose(before, after)


@torch.inference_mode()
def test_matrices_of_bfloat16_and_all_else_in_float32(model: PreTrainedModel) -> None:
    """Rounding to eight bits happens at the matrices alone: nearer to the truth than the model's own forward pass."""
    untyped: Any = model
    exact = [whole(model, line) for line in lines(8, 12)]
    rounded = untyped.to(torch.bfloat16)
    trunk = Trunk(rounded, None, 8)
    assert trunk.fused is not None and trunk.kv.buffer.dtype == torch.float32
    found = trunk.forward(np.array(lines(8, 12)), np.zeros(8, dtype=np.int64), slots=np.arange(8))
    ours = sum(float((a - b).abs().mean()) for a, b in zip(found, exact, strict=True))
    theirs = sum(float((whole(rounded, line) - b).abs().mean()) for line, b in zip(lines(8, 12), exact, strict=True))
    assert ours < theirs


def test_what_does_not_fit_is_left_to_the_model() -> None:
    longrope = made(LlamaForCausalLM, LlamaConfig, rope_parameters={
        "rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0, "original_max_position_embeddings": 64})
    other: Any = made(LlamaForCausalLM, LlamaConfig)
    other.base_model.layers[0].mlp.act_fn = torch.nn.GELU()  # looks like one of the family, and computes otherwise
    for model in (longrope, other):
        trunk = Trunk(model, None, 2)
        assert trunk.fused is None
        (line,) = lines(1, 6)
        with torch.inference_mode():
            found = trunk.forward(np.array([line]), np.zeros(1, dtype=np.int64), slots=np.zeros(1, dtype=np.int64))
        assert torch.allclose(found[0], whole(model, line), atol=2e-4)


def state_of(*lines: str) -> State:
    return State(Problem(lines[0], "toy", lines[0], {}), tuple(lines[1:]))


@pytest.mark.parametrize("sampling", list(Sampling))
async def test_many_rows_of_a_prompt_share_a_stem(sampling: Sampling, tiny_folder: Callable[..., Path]) -> None:
    """Thoughts are those of rows that hold the whole prompt, each for itself; other problems do not mind."""
    prompt = "12+1=" * 40
    lines = [f"{a}+{b}" for a in "12ab" for b in "12ab"]
    states = [state_of(prompt), *(state_of(prompt, line, "ab") for line in lines), state_of("1+1=2", "a")]
    drawn: list[list[Thought]] = []
    kept: list[int] = []
    for shares in (True, False):
        policy = Transformer(str(tiny_folder()), threads=1, max_thought_tokens=12, max_batch=32)
        trunk = policy.decoder.scheduler.trunk
        if not shares:
            trunk.fused = None
        forward, seen = trunk.forward, []

        def watched(*inputs: Any, _forward: Any = forward, _seen: list[int] = seen, **more: Any) -> torch.Tensor:
            _seen.append(sum(len(stem.tokens) for stem, _ in inputs[3]) if len(inputs) > 3 else 0)
            found: torch.Tensor = _forward(*inputs, **more)
            return found

        trunk.forward = watched  # type: ignore[method-assign]
        for seed in (3, 4):  # the second time, everything has been read
            found = await asyncio.gather(*(
                policy.propose(s, 3, sampling=sampling, seed=seed, meter=Budget(seconds=60).start()) for s in states
            ))
        drawn.append([thought for thoughts in found for thought in thoughts])
        kept.append(max(seen))
        while policy.decoder.scheduler.batch:
            await asyncio.sleep(0.01)
        assert not policy.decoder.scheduler.batch._stems  # nothing is kept of what nobody decodes
        gc.collect()
        assert not [found for found in gc.get_objects() if type(found) is Stem]
        policy.close()
    assert kept == [len(prompt) + 2, 0]  # its beginning and its end are tokens, too
    assert [t.text for t in drawn[0]] == [t.text for t in drawn[1]]
    for one, other in zip(*drawn, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
        assert one.value == pytest.approx(other.value, abs=1e-3)
