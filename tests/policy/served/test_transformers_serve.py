"""Against a server that is not ours: `transformers serve`, with the shipped policy's weights."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from policy.base import Sampling
from policy.served.policy import Served
from policy.transformer import Transformer
from tests.policy.served.test_served import LONGEST, STATES, ask, same

SHIPPED = str(Path("policy/shipped").resolve())
COMMAND = "from transformers.cli.transformers import main; main()"
# It draws only if told so in options of its own; an empty one of its model's would make it write a thousand tokens.
DRAWS = {"generation_config": json.dumps({"do_sample": True, "top_k": 0, "eos_token_id": 2, "pad_token_id": 0})}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["serve", SHIPPED, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with subprocess.Popen([sys.executable, "-c", COMMAND, *words], stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 100
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None and time.monotonic() < deadline
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


@pytest.mark.heavy
@pytest.mark.timeout(300)
async def test_transformers_serve(url: str, serve: Callable[..., Served]) -> None:
    policy = serve(url, SHIPPED, max_thought_tokens=LONGEST, extra_body=DRAWS)
    assert policy.dialect.offers == ("seed",)  # it passes over n and logprobs, and says so in its log alone
    local = Transformer("policy/shipped", threads=1, max_thought_tokens=LONGEST)
    # Its seed is the process's, so what it draws beside other requests is chance. The root's likeliest thought has a
    # probability of 0.18, the deeper state's of 0.97.
    for state, least in zip(STATES, (2, 1), strict=True):
        assert same(await ask(policy, state, Sampling.GREEDY, 1), await ask(local, state, Sampling.GREEDY, 1))
        thoughts = await ask(policy, state, Sampling.DISTINCT, 4)
        texts = [thought.text for thought in thoughts if not thought.dead]
        assert len(set(texts)) == len(texts) >= least
        likely = {thought.text for thought in await ask(local, state, Sampling.DISTINCT, 60)}
        assert set(texts) <= likely  # they are this model's
    local.close()
