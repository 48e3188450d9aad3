"""Several adapters live at once on one base: one running batch, and what one has read is nothing to another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from commands.compose import load_policy
from policy.base import BadPolicy, Policy, Sampling, Thought
from policy.budget import Budget
from policy.experts import Experts
from policy.transformer import Transformer
from policy.weights import copy_of
from tests.policy.loras import lora, said
from verifiers.base import Problem, State
from verifiers.domains.countdown import Countdown

LONG = Problem("long", "toy", "12+1=" * 40, {})  # many rows of it share a stem
Plain = list[tuple[str, int, bool]]


@pytest.fixture
def base(tiny_folder: Callable[..., Path]) -> Path:
    return tiny_folder()


@pytest.fixture
def adapters(base: Path, tmp_path: Path) -> list[Path]:
    """One with the base's value head, one with its own and of another rank."""
    return [lora(base, tmp_path / "a", 1),
            lora(base, tmp_path / "b", 2, head=True, options={"r": 5, "target_modules": ["v_proj", "up_proj"]})]


def alone(base: Path, adapter: Path | None) -> Transformer:
    return Transformer(str(base), None if adapter is None else str(adapter), threads=1, max_batch=64)


def together(base: Path, adapters: Sequence[Path]) -> list[Transformer]:
    """The base as it is, and each adapter beside it."""
    bare = Transformer(str(base), merge=False, threads=1, max_batch=64)
    return [bare, *(bare.beside(str(adapter)) for adapter in adapters)]


async def much(policy: Policy, seed: int) -> Sequence[Thought]:
    """What a policy says of a short problem, and of many states of a long one."""
    meter = Budget(seconds=600).start()
    states = [State(LONG, (f"{a}+{b}",)) for a in "12ab" for b in "12a"]
    calls = [policy.propose(state, 2, sampling=Sampling.DISTINCT, seed=seed, meter=meter) for state in states]
    thoughts = [thought for found in await asyncio.gather(*calls) for thought in found]
    return [*await said(policy, seed), *thoughts]


def agree(ours: Sequence[Thought], theirs: Sequence[Thought]) -> bool:
    plain: list[Plain] = [[(t.text, t.tokens, t.complete) for t in thoughts] for thoughts in (ours, theirs)]
    numbers = [torch.tensor([(t.logprob, t.value or 0.0) for t in thoughts]) for thoughts in (ours, theirs)]
    return plain[0] == plain[1] and torch.allclose(numbers[0], numbers[1], atol=1e-4)


async def test_each_says_what_it_says_alone(base: Path, adapters: list[Path]) -> None:
    """One after the other, so that what is cached meets whoever reads it next; and all at once, twice."""
    policies, folders = together(base, adapters), [None, *adapters]
    expected = []
    for folder, policy in zip(folders, policies, strict=True):
        lonely = alone(base, folder)
        assert policy.version == lonely.version
        expected.append([await much(lonely, seed) for seed in (3, 4)])
        lonely.close()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not agree(expected[one][0], expected[other][0])
    for policy, known in zip(policies, expected, strict=True):
        assert agree(await much(policy, 3), known[0])
    for _ in range(2):
        found = await asyncio.gather(*(much(policy, 4) for policy in policies))
        assert [agree(ours, known[1]) for ours, known in zip(found, expected, strict=True)] == [True] * 3
    policies[0].close()


async def test_states_that_nobody_has_read_are_asked_for_at_once(base: Path, adapters: list[Path]) -> None:
    policies = together(base, adapters)
    found = await asyncio.gather(*(much(policy, 3) for policy in policies))
    for ours, folder in zip(found, [None, *adapters], strict=True):
        lonely = alone(base, folder)
        assert agree(ours, await much(lonely, 3))
        lonely.close()
    policies[0].close()


async def test_their_rows_are_decoded_together(base: Path, adapters: list[Path]) -> None:
    """In one batch, each prompt in a stem of its own; rows without an adapter are none of its business."""
    policies = together(base, adapters)
    trunk = policies[0].decoder.scheduler.trunk
    assert all(policy.decoder is policies[0].decoder for policy in policies)
    forward, seen = trunk.forward, []

    def watched(*inputs: Any, **more: Any) -> torch.Tensor:
        worn = more.get("worn")
        adapted = 0 if worn is None else len(inputs[0]) if worn.rows is None else len(worn.rows)
        seen.append((0 if worn is None else len(worn.loras), len(inputs[3]) if len(inputs) > 3 else 0,
                     adapted < len(inputs[0])))
        return forward(*inputs, **more)

    trunk.forward = watched  # type: ignore[method-assign]
    await asyncio.gather(*(much(policy, 3) for policy in policies))
    await asyncio.gather(*(much(policy, 4) for policy in policies))
    assert max(seen) == (2, 3, True)
    policies[0].close()


async def test_an_adapter_is_changed_without_touching_the_base(base: Path, adapters: list[Path]) -> None:
    policy = Transformer(str(base), merge=False, threads=1)
    before = copy_of(policy._model)
    places = [tensor.data_ptr() for tensor in policy._model.state_dict().values()]
    for folder in (None, *adapters, adapters[0], None, adapters[1]):
        policy.load_adapter(folder)
        lonely = alone(base, folder)
        assert policy.version == lonely.version and agree(await said(policy), await said(lonely))
        lonely.close()
    assert policy._base is None and [t.data_ptr() for t in policy._model.state_dict().values()] == places
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy._model.state_dict().items())
    policy.close()


async def test_what_cannot_be_worn_leaves_the_old_one_on(base: Path, adapters: list[Path], tmp_path: Path) -> None:
    policy = Transformer(str(base), str(adapters[0]), merge=False, threads=1)
    version, before = policy.version, await said(policy)
    for bad in (lora(base, tmp_path / "dora", 1, options={"use_dora": True}), base, tmp_path / "nowhere"):
        with pytest.raises(BadPolicy):
            policy.load_adapter(bad)
        with pytest.raises(BadPolicy):
            policy.beside(str(bad))
        assert policy.version == version and agree(await said(policy), before)
    asking = asyncio.create_task(said(policy, 6))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="cannot change while it is asked"):
        policy.load_adapter(adapters[1])
    await asking
    policy.close()


def test_what_is_merged_wears_one_at_a_time(base: Path, adapters: list[Path]) -> None:
    policy = Transformer(str(base), threads=1)
    with pytest.raises(BadPolicy, match="allowed: merge=false"):
        policy.beside(str(adapters[0]))
    policy.close()


async def test_experts_share_the_base_unless_they_are_merged(base: Path, adapters: list[Path]) -> None:
    config = {"_target_": "policy.transformer.Transformer", "path": str(base), "threads": 1,
              "adapters": {"sums": str(adapters[0]), "words": str(adapters[1]), "absent": str(adapters[0])}}
    domain = Countdown("countdown", [3], 1, 9, 5, 30)
    shared, apart = (load_policy({**config, "merge": merge}, domain, None, {"sums", "words", "other"})
                     for merge in (False, True))
    assert isinstance(shared, Experts) and isinstance(apart, Experts) and shared.version == apart.version
    for experts, decoders in ((shared, 1), (apart, 3)):
        everybody: list[Any] = [experts._default, *experts._experts.values()]
        assert len({id(policy.decoder) for policy in everybody}) == len({id(p._model) for p in everybody}) == decoders
    names = ("sums", "words", "other")
    problems = [Problem("12+a", name, "12+a", {}) for name in names]
    found = [await asyncio.gather(*(said(policy, 5, problem) for problem in problems)) for policy in (shared, apart)]
    assert [agree(ours, theirs) for ours, theirs in zip(*found, strict=True)] == [True] * 3
    assert not agree(found[0][0], found[0][2]) and not agree(found[0][1], found[0][2])
    for policy in (shared, apart):
        policy.close()
