"""Adapters beside the weights against the same ones merged into them, for every option that is read; others refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from policy.base import BadPolicy
from policy.kv import Stem
from policy.lora import Lora, worn_by
from policy.lora import load as load_lora
from policy.transformer import Transformer
from policy.trunk import Trunk
from policy.weights import load_model, merge
from tests.policy.loras import lora, said

OPTIONS: dict[str, dict[str, Any]] = {
    "two matrices": {},
    "all of rank 1": {"r": 1, "lora_alpha": 3, "target_modules": "all-linear"},
    "rank-stabilised": {"r": 8, "lora_alpha": 4, "use_rslora": True,
                        "target_modules": ["k_proj", "v_proj", "o_proj", "up_proj"]},
    "ranks by name": {"r": 4, "rank_pattern": {"q_proj": 1, "layers.1.mlp.gate_proj": 6},
                      "alpha_pattern": {"v_proj": 20}, "target_modules": ["q_proj", "v_proj", "gate_proj"]},
    "one layer": {"layers_to_transform": [1], "target_modules": ["gate_proj", "o_proj"]},
    "names by a pattern": {"target_modules": r".*\.self_attn\.(v|o)_proj"},
    "all but some": {"target_modules": "all-linear", "exclude_modules": ["k_proj", "down_proj"]},
    "biases": {"lora_bias": True, "target_modules": ["q_proj", "v_proj"]},  # PEFT merges them where the base has some
}  # fmt: skip
CASES = [(family, name) for family in ("llama", "qwen2") for name in OPTIONS if (family, name) != ("llama", "biases")]


@pytest.fixture(params=CASES, ids=" ".join)
def case(request: pytest.FixtureRequest, tiny_folder: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """A base, and an adapter for it."""
    family, name = request.param
    base = tiny_folder(family)
    return base, lora(base, tmp_path / "lora", 1, head=True, options=OPTIONS[name])


async def test_it_is_as_merged(case: tuple[Path, Path]) -> None:
    """The same texts and version, log-probabilities and values to within rounding, and not those of the base."""
    base, adapter = case
    merged = Transformer(str(base), str(adapter), threads=1)
    apart = Transformer(str(base), str(adapter), merge=False, threads=1)
    bare = Transformer(str(base), threads=1)
    ours, theirs, before = [await said(policy) for policy in (apart, merged, bare)]
    assert apart.version == merged.version != bare.version
    assert [(t.text, t.tokens, t.complete) for t in ours] == [(t.text, t.tokens, t.complete) for t in theirs]
    assert [t.logprob for t in ours] == pytest.approx([t.logprob for t in theirs], abs=1e-4)
    assert [t.value or 0 for t in ours] == pytest.approx([t.value or 0 for t in theirs], abs=1e-4)
    assert [t.logprob for t in ours] != pytest.approx([t.logprob for t in before], abs=1e-2)
    for policy in (merged, apart, bare):
        policy.close()


def merged_logprobs(base: Path, adapter: Path | None, lines: list[list[int]]) -> torch.Tensor:
    """Log-probabilities after each token of lines, by transformers and PEFT alone."""
    model = load_model(str(base), True, "float32")
    if adapter is not None:
        merge(model, adapter)
    found: torch.Tensor = model(input_ids=torch.tensor(lines)).logits.log_softmax(-1)
    return found


@torch.inference_mode()
@pytest.mark.parametrize("stems", [False, True])
@pytest.mark.parametrize("who", [(0, 1, 2, 1, 0, 2), (1, 1, 1, 1, 1, 1), (0, 0, 2, 0, 0, 0)])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_rows_of_several_adapters_are_each_as_merged(
    family: str, who: tuple[int, ...], stems: bool, tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """In pieces and in single tokens, with a prompt in each slot or in a stem for each adapter."""
    base = tiny_folder(family)
    folders = [None, *(lora(base, tmp_path / name, seed, options=OPTIONS[name])
                       for seed, name in enumerate(("rank-stabilised", "ranks by name")))]
    model = load_model(str(base), True, "float32")
    trunk = Trunk(model, None, 6)
    loras: list[Lora | None] = [None if folder is None else load_lora(folder, model, torch.float32, None)
                                for folder in folders]
    worn = worn_by([loras[which] for which in who], trunk.device)
    rng = np.random.default_rng(4)
    prompt = rng.integers(0, 9, 12).tolist() if stems else []
    shared = []
    for which in set(who) if stems else ():
        trunk.forward(np.array([prompt]), np.zeros(1, dtype=np.int64), slots=np.zeros(1, dtype=np.int64),
                      worn=worn_by([loras[which]], trunk.device))
        some = [row for row in range(6) if who[row] == which]
        shared.append((Stem(tuple(prompt), trunk.kv.read(0, 0, len(prompt))), torch.tensor(some)))
    tails = rng.integers(0, 9, (6, 9))
    starts = offsets = np.full(6, len(prompt))
    states = [trunk.forward(tails[:, :5], starts, offsets, shared, np.arange(6), worn)]
    states += [trunk.forward(tails[:, at : at + 1], starts + at, offsets, shared, worn=worn) for at in range(5, 9)]
    found = trunk.logprobs(torch.cat(states, 1))
    for which in set(who):
        rows = [row for row in range(6) if who[row] == which]
        expected = merged_logprobs(base, folders[which], [[*prompt, *tails[row].tolist()] for row in rows])
        assert torch.allclose(found[rows], expected[:, len(prompt) :], atol=2e-4)


def changed(name: str, value: object) -> Callable[[Path, Path], Path]:
    """An adapter whose config says something else."""
    def make(base: Path, target: Path) -> Path:
        lora(base, target, 1)
        file = target / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
        return target

    return make


def kept(change: Callable[[str, torch.Tensor], Mapping[str, torch.Tensor]]) -> Callable[[Path, Path], Path]:
    """An adapter with other tensors."""
    def make(base: Path, target: Path) -> Path:
        lora(base, target, 1)
        tensors = load_file(target / "adapter_model.safetensors")
        other = {name: tensor for old in tensors for name, tensor in change(old, tensors[old]).items()}
        save_file(other, target / "adapter_model.safetensors")
        return target

    return make


def with_options(**options: Any) -> Callable[[Path, Path], Path]:
    return lambda base, target: lora(base, target, 1, options=options)


def other_method(base: Path, target: Path) -> Path:
    from peft import IA3Config, get_peft_model

    config = IA3Config(target_modules=["k_proj"], feedforward_modules=[])
    get_peft_model(load_model(str(base), True, "float32"), config).save_pretrained(target)
    return target


REFUSED = {
    "DoRA": (with_options(use_dora=True), "use_dora=True is not computed .* merge=true"),
    "biases of the base": (with_options(bias="lora_only"), "bias=lora_only is not computed .* merge=true"),
    "all biases": (with_options(bias="all"), "bias=all is not computed .* merge=true"),
    "whole modules": (with_options(modules_to_save=["lm_head"]), "modules_to_save=.*lm_head.* is not computed"),
    "an initialisation that changes the base": (
        changed("init_lora_weights", "pissa"), "init_lora_weights=pissa is not computed .* merge=true"),
    "no targets": (changed("target_modules", None), "target_modules=None is not computed .* merge=true"),
    "the head of the vocabulary": (
        with_options(target_modules=["q_proj", "lm_head"]), "lm_head.* no place .* merge=true"),
    "another method": (other_method, "IA3 is not computed .* merge=true"),
    "full weights": (lambda base, target: base, "full weights.* merge=true"),
    "a tensor too few": (kept(lambda name, tensor: {} if "layers.1" in name else {name: tensor}), "is missing"),
    "a tensor too many": (kept(lambda name, tensor: {
        name: tensor, name.replace("layers.1", "layers.7"): tensor.clone()}), "layers.7.* no place"),
    "another rank than it says": (changed("r", 3), "misshapen"),
    "no numbers": (kept(lambda name, tensor: {name: tensor * torch.nan}), "no finite numbers"),
    "another base": (lambda base, target: lora(base, target, 1, base_version="0123456789ab"), "made for the base 0123"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_computed_here_is_refused(name: str, tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    make, match = REFUSED[name]
    base = tiny_folder()
    adapter = make(base, tmp_path / "lora")
    with pytest.raises(BadPolicy, match=match) as caught:
        Transformer(str(base), str(adapter), merge=False, threads=1)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_other_families_merge(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    base = tiny_folder("neox")
    adapter = str(lora(base, tmp_path / "lora", 1, options={"target_modules": ["query_key_value"]}))
    with pytest.raises(BadPolicy, match=r"cannot be with GPTNeoX.* merge=true, or a model of llama, mistral"):
        Transformer(str(base), adapter, merge=False, threads=1)
    Transformer(str(base), adapter, threads=1).close()
    Transformer(str(base), merge=False, threads=1).close()
