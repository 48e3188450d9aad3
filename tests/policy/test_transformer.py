from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from policy.base import BadPolicy, Policy, Sampling
from policy.budget import Budget
from policy.transformer import Transformer
from policy.value_head import FILE, ValueHead
from verifiers.base import Problem, State

WHERE = State(Problem("12+a", "toy", "12+a", {}))


@pytest.fixture
def folder(tiny_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(tiny_folder(), tmp_path / "policy"))


async def greedy(policy: Transformer) -> tuple[str, float, float | None]:
    meter = Budget(seconds=60).start()
    (thought,) = await policy.propose(WHERE, 1, sampling=Sampling.GREEDY, seed=0, meter=meter)
    policy.close()
    return thought.text, thought.logprob, thought.value


def refused(match: str, *args: str, **options: object) -> None:
    with pytest.raises(BadPolicy, match=match) as caught:
        Transformer(*args, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_it_is_a_policy(folder: Path) -> None:
    policy = Transformer(str(folder), threads=1)
    assert isinstance(policy, Policy)
    assert policy.max_thought_tokens == 64


async def test_a_policy_saved_by_a_trainer_that_needed_no_cache(folder: Path) -> None:
    before = await greedy(Transformer(str(folder), threads=1))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "use_cache": False}))
    assert await greedy(Transformer(str(folder), threads=1)) == before


def test_loading_starts_no_thread(folder: Path) -> None:
    before = threading.active_count()
    Transformer(str(folder), threads=1).close()
    assert threading.active_count() == before


def test_a_missing_folder() -> None:
    refused("no policy folder", "/nowhere/at/all")
    refused("no policy folder", "./nowhere")


def test_a_name_that_neither_folder_nor_hub_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused("cannot find a folder, or load from the hub, the policy 'nobody/nothing'", "nobody/nothing")


def test_an_empty_folder(tmp_path: Path) -> None:
    refused("cannot load the policy folder", str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"junk that is no header", b"\xff" * 64])
def test_corrupt_weights(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    refused("cannot load the policy folder", str(folder))


def test_truncated_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused("cannot load the policy folder", str(folder))


def test_weights_that_lack_a_tensor_are_not_made_up(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    refused("up_proj.weight is missing", str(folder))


def test_a_missing_tokenizer(folder: Path) -> None:
    for file in folder.glob("*token*"):
        file.unlink()
    refused("tokenizer", str(folder))


def test_an_unknown_dtype(folder: Path) -> None:
    refused("no dtype 'float33'", str(folder), dtype="float33")


@pytest.mark.parametrize(
    "option", ["threads", "max_thought_tokens", "max_batch", "temperature", "cache_mb", "speculate"])
def test_sizes_must_be_positive(option: str) -> None:
    refused("must be at least 1", "anything", **{option: -1})


def test_a_corrupt_value_head(folder: Path) -> None:
    (folder / FILE).write_bytes(b"junk")
    refused("cannot read the value head", str(folder))


def test_a_value_head_that_is_asked_for_must_be_there(folder: Path, tmp_path: Path) -> None:
    refused("no value_head.safetensors", str(folder), value_head=str(tmp_path))
    refused("no value head folder", str(folder), value_head="/nowhere/at/all")


async def test_without_a_value_head_there_are_no_values(folder: Path) -> None:
    (folder / FILE).unlink()
    assert (await greedy(Transformer(str(folder), threads=1)))[2] is None


def adapter(folder: Path, target: Path, seed: int) -> Path:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder), LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    model.save_pretrained(target)
    return target


async def test_an_adapter_changes_what_is_said_and_its_own_value_head_is_used(folder: Path, tmp_path: Path) -> None:
    plain = Transformer(str(folder), threads=1)
    lora = adapter(folder, tmp_path / "lora", 1)
    adapted = Transformer(str(folder), str(lora), threads=1)
    torch.manual_seed(9)
    ValueHead(16).save(lora)
    with_head = Transformer(str(folder), str(lora), threads=1)
    assert len({plain.version, adapted.version, with_head.version}) == 3
    outcomes = [await greedy(policy) for policy in (plain, adapted, with_head)]
    assert outcomes[0][1] != outcomes[1][1] == outcomes[2][1]


def test_an_adapter_of_another_model_or_none_at_all(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    lora = adapter(tiny_folder(), tmp_path / "lora", 1)
    refused("cannot load the adapter", str(tiny_folder("neox")), str(lora))
    refused("cannot load the adapter", str(tiny_folder()), str(tmp_path))
    refused("no adapter folder", str(tiny_folder()), "/nowhere/at/all")


def test_the_version_names_the_weights(folder: Path, tmp_path: Path) -> None:
    first = Transformer(str(folder), threads=1).version
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert Transformer(str(copy), threads=1).version == first
    tensors = load_file(copy / "model.safetensors")
    tensors["lm_head.weight"] = tensors["lm_head.weight"] + 1e-3
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    assert Transformer(str(copy), threads=1).version != first


async def test_bfloat16_runs(folder: Path) -> None:
    text, logprob, value = await greedy(Transformer(str(folder), threads=1, dtype="bfloat16"))
    assert logprob < 0
    assert isinstance(text, str)
    assert value is None or 0 < value < 1
