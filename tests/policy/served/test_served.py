"""The shipped policy behind HTTP, asked by policy=openai, against the same policy in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from benchmarks.served.__main__ import Blind
from commands.compose import close, load_policy
from commands.errors import BadInput
from policy.base import BadPolicy, Policy, Sampling, Thought
from policy.budget import Budget
from policy.served.policy import Served
from policy.transformer import Transformer
from verifiers.base import State
from verifiers.domains.countdown import Countdown

ROOT = Path(__file__).resolve().parents[3]
DOMAIN = Countdown("game24", [4], 1, 13, 24, 24, target=24)
PROBLEM = DOMAIN.parse("4 9 10 13")
assert PROBLEM is not None
STATES = (State(PROBLEM), State(PROBLEM, ("13-9=4, 4 4 10",)))
LONGEST = 48


@pytest.fixture(scope="module")
def local() -> Iterator[Transformer]:
    policy = Transformer("policy/shipped", threads=1, max_thought_tokens=LONGEST)
    yield policy
    policy.close()


@pytest.fixture
def asked(shipped: tuple[str, str], serve: Callable[..., Served]) -> Served:
    return serve(*shipped, max_thought_tokens=LONGEST, price_in=1.0, price_out=10.0)


async def ask(policy: Policy, state: State, sampling: Sampling, k: int, first: int = 0) -> list[Thought]:
    meter = Budget(seconds=60).start()
    return await policy.propose(state, k, sampling=sampling, seed=3, meter=meter, first=first)


def same(a: list[Thought], b: list[Thought]) -> bool:
    """Are they the same lines at the same price?"""
    told = [[(t.text, t.tokens, t.complete, t.last) for t in thoughts] for thoughts in (a, b)]
    return bool(a) and told[0] == told[1]


@pytest.mark.parametrize("state", STATES, ids=["root", "deeper"])
async def test_the_way_over_http_changes_nothing(state: State, asked: Served, local: Transformer) -> None:
    assert isinstance(asked, Policy) and asked.dialect.offers == ("n", "logprobs", "seed")
    (greedy,), (ours,) = await ask(asked, state, Sampling.GREEDY, 1), await ask(local, state, Sampling.GREEDY, 1)
    assert same([greedy], [ours]) and greedy.logprob == pytest.approx(ours.logprob, abs=1e-4)
    for sampling, k in ((Sampling.INDEPENDENT, 5), (Sampling.DISTINCT, 6)):
        there, here = await ask(asked, state, sampling, k), await ask(Blind(local), state, sampling, k)
        assert same(there, here)
        assert all(thought.value is None for thought in there)
        if sampling is Sampling.INDEPENDENT:  # each alone is what it was among others
            assert there[3:] == await ask(asked, state, sampling, 2, first=3)
    usage = asked.usage
    # The models, the probe, then three calls and half of one, each with one request; and one for each round of repeats.
    assert 6 <= usage.requests <= 8 and usage.retries == 0
    assert usage.cost == pytest.approx((usage.prompt_tokens + 10 * usage.completion_tokens) / 1e6) and usage.cost > 0


async def test_children_are_distinct_and_likely_as_the_model_says(asked: Served, local: Transformer, serve, shipped):
    first, more = [await ask(asked, STATES[0], Sampling.DISTINCT, 4, first) for first in (0, 4)]
    assert len({thought.text for thought in (*first, *more)}) == 8
    again = serve(*shipped, max_thought_tokens=LONGEST)
    assert await ask(again, STATES[0], Sampling.DISTINCT, 8) == first + more and again.version == asked.version
    known = {thought.text: thought.logprob for thought in await ask(local, STATES[0], Sampling.DISTINCT, 40)}
    for thought in (*first, *more):
        assert thought.logprob == pytest.approx(known[thought.text], abs=1e-3)


async def test_a_chat_goes_on_with_the_lines_so_far(asked: Served, serve: Callable[..., Served], shipped) -> None:
    chat = serve(*shipped, max_thought_tokens=LONGEST, api="chat", continuation="prefix")
    turns = serve(*shipped, max_thought_tokens=LONGEST, api="chat", continuation="turns")
    assert len({policy.version for policy in (asked, chat, turns)}) == 3
    for state in STATES:
        texts = [[thought.text for thought in await ask(policy, state, Sampling.DISTINCT, 3)]
                 for policy in (asked, chat, turns)]
        assert texts[0] == texts[1] == texts[2]


def test_the_yaml(shipped: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret-key")
    config = OmegaConf.load(ROOT / "conf" / "policy" / "openai.yaml")
    config = {**OmegaConf.to_container(config), "base_url": shipped[0], "model": shipped[1], "api_key_env": "MY_KEY"}
    made = load_policy(config, DOMAIN)
    assert isinstance(made, Served) and made.version and made.max_thought_tokens > 1
    close(made)
    close(made)
    with pytest.raises(BadInput, match="misspelled"):
        load_policy({**config, "misspelled": 1}, DOMAIN)
    with pytest.raises(BadPolicy, match="the server's models: shipped"):
        load_policy({**config, "model": "nothing"}, DOMAIN)
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(BadPolicy, match="environment variable MY_KEY"):
        load_policy(config, DOMAIN)


def test_solve_from_the_command_line(shipped: tuple[str, str], tmp_path: Path) -> None:
    words = ["solve", "4 9 10 13", "domain=game24", "policy=openai", f"policy.base_url={shipped[0]}",
             f"policy.model={shipped[1]}", "budget=20s", "output=json", f"run_dir={tmp_path / 'run'}"]
    done = subprocess.run([sys.executable, "run_experiment.py", *words], cwd=ROOT, capture_output=True, text=True,
                          check=False, env={**os.environ, "OPENAI_API_KEY": "s3cret-key"})
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["verified"] and answer["tokens"] > 0
    written = "".join(file.read_text() for file in (tmp_path / "run").iterdir())
    assert answer["policy"] in written and "s3cret" not in written + done.stdout + done.stderr
