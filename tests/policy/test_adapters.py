"""Adapters swapped in place: the same as loaded afresh, refused where they do not belong, and nothing is remembered."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from policy.base import Adaptable, BadPolicy, Thought
from policy.tools import Tooled
from policy.transformer import Transformer
from policy.uniform import Uniform
from policy.weights import base_version, copy_of
from tests.policy.loras import lora, said
from verifiers.calculator import Calculator
from verifiers.domains.countdown import Countdown


@pytest.fixture
def folder(tiny_folder: Callable[..., Path]) -> Path:
    return tiny_folder()


@dataclass(frozen=True)
class Seen:
    """A policy as it is: its version, what it says, and its weights."""

    version: str
    thoughts: Sequence[Thought]
    weights: Mapping[str, torch.Tensor]

    def __eq__(self, other: object) -> bool:
        """Weights to the bit. What else is in a batch rounds the numbers of a thought, so these are not."""
        assert isinstance(other, Seen)
        plain = [[(t.text, t.tokens, t.complete) for t in seen.thoughts] for seen in (self, other)]
        numbers = [[(t.logprob, t.value or 0.0) for t in seen.thoughts] for seen in (self, other)]
        return (
            self.version == other.version
            and plain[0] == plain[1]
            and torch.allclose(*map(torch.tensor, numbers), atol=1e-4)
            and all(torch.equal(tensor, other.weights[name]) for name, tensor in self.weights.items())
        )


async def look(policy: Transformer) -> Seen:
    return Seen(policy.version, await said(policy), copy_of(policy._model))


async def fresh(base: Path, adapter: Path | None) -> Seen:
    policy = Transformer(str(base), None if adapter is None else str(adapter), threads=1)
    try:
        return await look(policy)
    finally:
        policy.close()


async def test_a_swapped_adapter_is_one_loaded_afresh(folder: Path, tmp_path: Path) -> None:
    first = lora(folder, tmp_path / "first", 1, base_version=base_version(folder))
    second = lora(folder, tmp_path / "second", 2, head=True)
    policy = Transformer(str(folder), threads=1)
    known = {None: await fresh(folder, None), first: await fresh(folder, first), second: await fresh(folder, second)}
    assert len({seen.version for seen in known.values()}) == 3
    assert [policy.named(str(adapter)) for adapter in (first, second)] == [known[first].version, known[second].version]
    for adapter in (None, first, second, first, None, second):
        policy.load_adapter(adapter)
        assert await look(policy) == known[adapter]
    assert known[first] != known[None] != known[second]
    policy.close()


async def test_a_policy_born_with_an_adapter_can_take_it_off(folder: Path, tmp_path: Path) -> None:
    policy = Transformer(str(folder), str(lora(folder, tmp_path / "lora", 1)), threads=1)
    policy.load_adapter(None)
    assert await look(policy) == await fresh(folder, None)
    assert policy.base_version == base_version(folder)
    policy.close()


async def test_full_weights_of_the_same_shape_replace_the_base(folder: Path, tmp_path: Path) -> None:
    full = Path(shutil.copytree(folder, tmp_path / "full"))
    tensors = {name: tensor * 1.5 for name, tensor in load_file(full / "model.safetensors").items()}
    save_file(tensors, full / "model.safetensors", metadata={"format": "pt"})
    policy = Transformer(str(folder), threads=1)
    policy.load_adapter(full)
    seen = await look(policy)
    assert seen == await fresh(folder, full)
    assert replace(await fresh(full, None), version=seen.version) == seen
    policy.load_adapter(None)
    assert await look(policy) == await fresh(folder, None)
    policy.close()


def poisoned(base: Path, target: Path) -> Path:
    lora(base, target, 1)
    tensors = load_file(target / "adapter_model.safetensors")
    save_file({name: tensor * torch.nan for name, tensor in tensors.items()}, target / "adapter_model.safetensors")
    return target


def torn(base: Path, target: Path) -> Path:
    lora(base, target, 1)
    tensors = load_file(target / "adapter_model.safetensors")
    tensors.pop(next(iter(tensors)))
    save_file(tensors, target / "adapter_model.safetensors")
    return target


def overlong(base: Path, target: Path) -> Path:
    lora(base, target, 1)
    tensors = load_file(target / "adapter_model.safetensors")
    more = {name.replace("layers.1", "layers.7"): tensor.clone() for name, tensor in tensors.items()}
    save_file({**tensors, **more}, target / "adapter_model.safetensors")
    return target


def unreadable(base: Path, target: Path) -> Path:
    lora(base, target, 1)
    (target / "engine.json").write_text("[]")
    return target


@pytest.mark.parametrize(("make", "match"), [
    (lambda base, target: lora(base, target, 1, base_version="0123456789ab"), "made for the base 0123456789ab"),
    (poisoned, "no finite numbers"),
    (torn, "missing or has no place"),
    (overlong, "missing or has no place"),
    (unreadable, "cannot read for which base"),
    (lambda base, target: target, "no adapter folder"),
])  # fmt: skip
async def test_what_does_not_belong_is_refused_and_the_old_one_stays(
    folder: Path, tmp_path: Path, make: Callable[[Path, Path], Path], match: str
) -> None:
    good = lora(folder, tmp_path / "good", 1)
    policy = Transformer(str(folder), threads=1)
    policy.load_adapter(good)
    before = await look(policy)
    with pytest.raises(BadPolicy, match=match) as caught:
        policy.load_adapter(make(folder, tmp_path / "bad"))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert await look(policy) == before
    policy.close()


async def test_an_adapter_or_weights_of_another_shape(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    policy = Transformer(str(tiny_folder("neox")), threads=1)
    before = await look(policy)
    for folder in (lora(tiny_folder(), tmp_path / "lora", 1), tiny_folder()):
        with pytest.raises(BadPolicy):
            policy.load_adapter(folder)
        assert await look(policy) == before
    policy.close()


async def test_nothing_changes_while_thoughts_are_asked_for(folder: Path, tmp_path: Path) -> None:
    adapter = lora(folder, tmp_path / "lora", 1)
    policy = Transformer(str(folder), threads=1)
    asking = asyncio.create_task(said(policy))
    await asyncio.sleep(0)  # the tasks of a gather start one round later
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="cannot change while it is asked"):
        policy.load_adapter(adapter)
    assert replace(await fresh(folder, None), thoughts=await asking) == await fresh(folder, None)
    policy.load_adapter(adapter)
    given_up = asyncio.create_task(said(policy))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    policy.load_adapter(None)  # rows of calls that were given up are no reason
    assert await look(policy) == await fresh(folder, None)
    policy.close()


async def test_a_policy_with_a_tool_takes_adapters_if_the_policy_does(folder: Path, tmp_path: Path) -> None:
    adapter = lora(folder, tmp_path / "lora", 1)
    policy = Tooled(Transformer(str(folder), threads=1), Calculator())
    assert isinstance(policy, Adaptable)
    bare = policy.version
    policy.load_adapter(adapter)
    assert policy.version == f"{(await fresh(folder, adapter)).version}+calculator" != bare
    policy.close()
    with pytest.raises(BadPolicy, match="takes no adapter"):
        Tooled(Uniform(Countdown("countdown", [3], 1, 9, 5, 30)), Calculator()).load_adapter(adapter)
