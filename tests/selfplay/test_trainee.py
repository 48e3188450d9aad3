"""What is trained: an adapter in PEFT's standard layout, or all weights, and what it is held against."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from policy.base import BadPolicy
from policy.transformer import Transformer
from policy.value_head import ValueHead
from selfplay.losses import divergence
from selfplay.trainee import Lora, Trainee
from tests.policy.conftest import build, small_tokenizer
from tests.selfplay.made import SHAPE, TOKENIZER, base_policy

TOKENS = torch.tensor([TOKENIZER("1 2 3 -> 6\n1+2=3, 3 3\n")["input_ids"]])
CPU = torch.device("cpu")
SMALL = Lora(rank=4)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_policy(tmp_path_factory.mktemp("trainee") / "base")


def trainee(base: Path, start: Path | None = None, lora: Lora | None = SMALL, **rest: object) -> Trainee:
    return Trainee(base, start, lora, seed=0, device=CPU, **rest)  # type: ignore[arg-type]


def moved(one: Trainee, by: float = 0.05) -> Trainee:
    """As after some training."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in one.parameters().values():
            parameter.add_(by * torch.randn_like(parameter))
        one.head.out.bias.add_(1.0)
    return one


def read(one: Trainee) -> Tensor:
    one.train(False)
    with torch.no_grad():
        return one.read(TOKENS).logits


def test_an_adapter_loads_the_standard_way_and_in_the_engine(base: Path, tmp_path: Path) -> None:
    one = moved(trainee(base))
    expected = read(one)
    one.save(tmp_path / "adapter", {"generation": 3})
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter")
    torch.testing.assert_close(loaded(input_ids=TOKENS).logits, expected)
    head = ValueHead.load(tmp_path / "adapter", SHAPE.hidden_size)
    assert head is not None and torch.equal(head.out.bias, one.head.out.bias)
    said = json.loads((tmp_path / "adapter" / "engine.json").read_text())
    assert said.pop("base_version") and said == {"generation": 3}
    assert sorted(os.listdir(tmp_path)) == ["adapter"]
    policy, plain = Transformer(str(base), str(tmp_path / "adapter"), threads=1), Transformer(str(base), threads=1)
    assert policy.version != plain.version
    policy.close()
    plain.close()


def test_only_the_adapter_is_trained_and_it_starts_as_the_base(base: Path) -> None:
    one = trainee(base)
    plain = AutoModelForCausalLM.from_pretrained(base)
    torch.testing.assert_close(read(one), plain(input_ids=TOKENS).logits)
    assert one.parameters() and all("lora_" in name for name in one.parameters())
    modules = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in one.parameters()}
    assert modules == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    only = trainee(base, lora=Lora(targets=("q_proj",)))
    assert all(".q_proj." in name for name in only.parameters())


def test_it_goes_on_from_an_adapter_and_is_held_against_base_and_start(base: Path, tmp_path: Path) -> None:
    first = moved(trainee(base))
    first.save(tmp_path / "first", {})
    start = read(first)
    second = trainee(base, tmp_path / "first", hold_start=True)
    assert torch.equal(read(second), start) and torch.equal(second.head.out.bias, first.head.out.bias)
    names = second.parameters().keys()
    moved(second)
    now = read(second)
    plain = AutoModelForCausalLM.from_pretrained(base)(input_ids=TOKENS).logits
    torch.testing.assert_close(second.refer(TOKENS), plain)
    assert torch.equal(second.refer(TOKENS, "start"), start)
    assert not torch.allclose(now, start, atol=1e-3) and not torch.allclose(plain, start, atol=1e-3)
    assert torch.equal(read(second), now) and second.parameters().keys() == names  # and that changed nothing
    second.save(tmp_path / "second", {})
    assert torch.equal(read(trainee(base, tmp_path / "second")), now)


@pytest.mark.parametrize("lora", [Lora(rank=4, dropout=0.5), None], ids=["lora", "full"])
def test_dropout_is_of_the_policy_that_is_trained_and_of_no_reference(
    base: Path, tmp_path: Path, lora: Lora | None
) -> None:
    moved(trainee(base, lora=lora)).save(tmp_path / "start", {})
    one = trainee(base, tmp_path / "start", lora, hold_start=True)
    still = read(one)
    one.train(True)
    for to in ("base", "start"):
        assert torch.equal(one.refer(TOKENS, to), one.refer(TOKENS, to))
    assert divergence(still, one.refer(TOKENS, "start")).abs().max() == 0  # before any step
    if lora is not None:  # and the policy is trained as before
        assert one.model.training and not torch.equal(one.read(TOKENS).logits, one.read(TOKENS).logits)


def test_all_weights_may_be_trained_instead(base: Path, tmp_path: Path) -> None:
    one = moved(trainee(base, lora=None, hold_start=True))
    plain = AutoModelForCausalLM.from_pretrained(base)(input_ids=TOKENS).logits
    torch.testing.assert_close(one.refer(TOKENS), plain)
    torch.testing.assert_close(one.refer(TOKENS, "start"), plain)
    one.save(tmp_path / "whole", {})
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    torch.testing.assert_close(loaded(input_ids=TOKENS).logits, read(one))
    on = moved(trainee(base, tmp_path / "whole", lora=None, hold_start=True))
    torch.testing.assert_close(on.refer(TOKENS), plain)
    torch.testing.assert_close(on.refer(TOKENS, "start"), read(one))


@pytest.mark.parametrize("architecture", ["neox", "qwen2"])
def test_other_architectures_and_no_value_head(architecture: str, tmp_path: Path) -> None:
    folder = tmp_path / architecture
    build(architecture, 16).save_pretrained(folder)  # type: ignore[operator]
    small_tokenizer("\u010a" if architecture == "qwen2" else "\n").save_pretrained(folder)
    one, other = trainee(folder), trainee(folder)
    assert torch.equal(one.head.hidden.weight, other.head.hidden.weight)  # a new one, by the seed
    before = one.read(TOKENS % 16).logits.detach()
    assert not torch.allclose(moved(one).read(TOKENS % 16).logits, before)


def test_activations_may_be_computed_again(base: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        one = moved(trainee(base, checkpointing=checkpointing))
        one.train(True)
        one.read(TOKENS).logits.logsumexp(-1).sum().backward()
        gradients.append(next(iter(one.parameters().values())).grad)
    torch.testing.assert_close(*gradients)


def test_what_cannot_be_loaded_is_one_line(base: Path, tmp_path: Path) -> None:
    with pytest.raises(BadPolicy, match="cannot load the policy"):
        trainee(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(BadPolicy, match="cannot go on from the adapter"):
        trainee(base, tmp_path)
    with pytest.raises(BadPolicy, match="cannot put an adapter"):
        trainee(base, lora=Lora(targets=("no_such_module",)))
    with pytest.raises(ValueError, match="rank"):
        Lora(rank=0)


def test_a_training_goes_on_from_what_it_trains(base: Path, tmp_path: Path) -> None:
    trainee(base).save(tmp_path / "adapter", {})
    with pytest.raises(BadPolicy, match="all weights are to be trained; export it first"):
        trainee(base, tmp_path / "adapter", lora=None)
    with pytest.raises(BadPolicy, match=r"has no adapter_config\.json, and an adapter is to be trained"):
        trainee(base, base)


def test_saving_replaces_an_older_one_and_nothing_else(base: Path, tmp_path: Path) -> None:
    one = trainee(base)
    for number in (1, 2):
        one.save(tmp_path / "adapter", {"generation": number})
    assert json.loads((tmp_path / "adapter" / "engine.json").read_text())["generation"] == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="not a policy"):
        one.save(tmp_path / "mine", {})
    assert sorted(os.listdir(tmp_path)) == ["adapter", "mine"]
