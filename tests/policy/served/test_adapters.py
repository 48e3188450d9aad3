"""Adapters that a server loads while it runs: what vLLM's calls promise, on a server that really wears them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.served.__main__ import Blind
from policy.base import Adaptable, BadPolicy, Sampling
from policy.budget import Budget
from policy.served.policy import Served
from policy.transformer import Transformer
from search.greedy import Greedy
from selfplay.player import Player
from selfplay.trajectory import Job, Purpose
from tests.policy.loras import lora
from tests.policy.served.standin import Standin, says, silent
from tests.policy.served.test_served import DOMAIN, LONGEST, PROBLEM, STATES, ask, same

SHIPPED = Path("policy/shipped")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [lora(SHIPPED, folder / str(seed), seed) for seed in (0, 1)]


async def test_a_server_wears_each_generation(
    adapters: list[Path], shipped: tuple[str, str], serve: Callable[..., Served]
) -> None:
    policy, other = (serve(*shipped, max_thought_tokens=LONGEST) for _ in range(2))
    assert isinstance(policy, Adaptable)
    bare, plain = policy.version, await ask(policy, STATES[0], Sampling.DISTINCT, 3)
    versions = []
    for adapter in adapters:
        for each in (policy, other):  # the second one finds it loaded already
            each.load_adapter(adapter)
        here = Transformer("policy/shipped", str(adapter), merge=False, threads=1, max_thought_tokens=LONGEST)
        there = await ask(policy, STATES[0], Sampling.DISTINCT, 3)
        assert same(there, await ask(Blind(here), STATES[0], Sampling.DISTINCT, 3)) and not same(there, plain)
        assert there == await ask(other, STATES[0], Sampling.DISTINCT, 3)
        here.close()
        assert policy.version == other.version
        versions.append(policy.version)
    assert len({bare, *versions}) == 3
    policy.load_adapter(None)
    assert policy.version == bare and await ask(policy, STATES[0], Sampling.DISTINCT, 3) == plain
    policy.load_adapter(adapters[0])
    assert policy.version == versions[0]


async def test_self_play_tells_which_generation_played(
    adapters: list[Path], shipped: tuple[str, str], serve: Callable[..., Served]
) -> None:
    policy = serve(*shipped, max_thought_tokens=LONGEST)
    player = Player({DOMAIN.name: DOMAIN}, policy, Greedy(), Budget.parse("200tok"), lines=0, greedy=False)
    assert PROBLEM is not None
    told = []
    for adapter in (None, adapters[0]):
        player.load_adapter(None if adapter is None else str(adapter))
        [trajectory] = [one async for one in player.play([Job("run", Purpose.TRAIN, 1, PROBLEM, 0, 0)])]
        assert trajectory.policy_version == policy.version and trajectory.verdict.status.value != "error"
        told.append(trajectory.policy_version)
    assert told[0] != told[1]


def test_what_is_asked_of_the_server(adapters: list[Path], standin: Standin, serve: Callable[..., Served]) -> None:
    standin.next += [standin.always, *[says(200, '"Success"')] * 4]
    policy = serve(standin.url, unload_adapters=True)
    for folder in (adapters[0], adapters[0], adapters[1], None):
        policy.load_adapter(folder)
    asked = [(post.path, post.body) for post in standin.posts[1:]]
    names = [post["lora_name"] for _, post in asked]
    assert [path for path, _ in asked] == ["/v1/load_lora_adapter", "/v1/load_lora_adapter", "/v1/unload_lora_adapter",
                                           "/v1/unload_lora_adapter"]
    assert [body.get("lora_path") for _, body in asked] == [str(adapters[0]), str(adapters[1]), None, None]
    assert names == [names[0], names[1], names[0], names[1]] and names[0] != names[1]


def test_one_that_cannot_be_worn_changes_nothing(
    adapters: list[Path], standin: Standin, serve: Callable[..., Served], tmp_path: Path
) -> None:
    policy = serve(standin.url)
    before = policy.version
    for folder, told in ((tmp_path / "nowhere", "there is no adapter folder"), (tmp_path, "adapter_config.json")):
        with pytest.raises(BadPolicy, match=told):
            policy.load_adapter(folder)
    for behaviour, told in ((says(404, {"detail": "Not Found"}), "--enable-lora"),
                            (says(400, {"error": {"message": "rank 99 is too high"}}), "rank 99 is too high")):
        standin.next += [behaviour]
        with pytest.raises(BadPolicy, match=told) as caught:
            policy.load_adapter(adapters[0])
        assert "\n" not in str(caught.value)
    assert policy.version == before


async def test_not_while_thoughts_are_asked_for(
    adapters: list[Path], standin: Standin, serve: Callable[..., Served]
) -> None:
    policy = serve(standin.url)
    standin.next += [silent]
    meter = Budget(seconds=30).start()
    asking = asyncio.create_task(
        policy.propose(STATES[0], 1, sampling=Sampling.GREEDY, seed=0, meter=meter))
    await asyncio.sleep(0.2)
    with pytest.raises(RuntimeError, match="while thoughts are asked for"):
        policy.load_adapter(adapters[0])
    meter.cancel()
    assert await asking == []
    standin.next += [says(200, '"Success"')]
    policy.load_adapter(adapters[0])
