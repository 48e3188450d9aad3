"""Many clients at once on one server: is any request lost, is any budget overshot, does memory stay, do places free?

    python -m benchmarks.serving [--requests 100] [--rounds 3] [--at-once 8] [--threads N] [OPTION ...]

Starts a server of its own on a free port and asks it with the openai client, half streaming and half not, budgets
evenly from 1 s to 5 s. The problems cannot be proved while thinking, so that every request uses its budget up.
Then clients that are thought for are killed in the middle, streaming and not.

Prints one JSON line. Beyond its queueing, which the server reports, a request may take 10 % or 300 ms more than its
budget, whichever is larger, as the client sees it from when its request had left it (which a busy client notes a moment
late; what the server says stands beside it). Memory is the server's resident set while idle: after the first round, and
after the last; what the decoder remembers of prefixes is bounded by 32 MiB here, which the first round fills (the
default would go on growing to its 256). Exit code 1 if a request is lost or over its allowance, if a place is not free
again within `--freed` seconds of the clients' end, or if memory grew by more than `--grown` MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from openai import AsyncOpenAI, DefaultAsyncHttpx2Client
from openai.types.chat import ChatCompletionMessageParam

ROOT = Path(__file__).resolve().parent.parent
PROBLEMS = ("1 1 1 1 2 2 -> 9999", "738*46+(917-58)*23")
LONGEST_WAIT = 600.0
_left: ContextVar[list[float]] = ContextVar("_left")
"""When the request of this task had left the client, as far as it has."""


@dataclass(frozen=True)
class Asked:
    """One request as its client saw it.

    Attributes:
        budget: seconds granted.
        taken: from when it had left the client to the end of the answer.
        prepared: seconds the client took before; a hundred at once keep one client process busy for a while.
        queued, thought: seconds, by the server's word.
    """

    budget: float
    taken: float
    prepared: float
    queued: float
    thought: float
    tokens: int

    @property
    def over(self) -> float:
        return self.taken - self.queued - self.budget

    @property
    def excess(self) -> float:
        """Seconds beyond the allowance; negative within."""
        return self.over - max(0.3, 0.1 * self.budget)


@contextmanager
def serving(*options: str) -> Iterator[tuple[int, str]]:
    """A server's process id and address."""
    server = subprocess.Popen([sys.executable, str(ROOT / "run_experiment.py"), "serve", "port=0", *options], text=True,
                              cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if " on http" not in line:
            raise RuntimeError("the server did not start")
        yield server.pid, line.split(" on ")[1].split()[0]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


async def ask(client: AsyncOpenAI, number: int, seconds: float) -> Asked:
    """Even requests are streamed."""
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": PROBLEMS[number // 2 % len(PROBLEMS)]}]
    extra = {"thinking_budget": f"{seconds:.3f}s", "seed": number}
    started, left, thinking = time.monotonic(), list[float](), None
    _left.set(left)
    if number % 2:
        whole = await client.chat.completions.create(model="system-2", messages=messages, extra_body=extra)
        assert whole.choices[0].message.content
        thinking = whole.model_extra and whole.model_extra["thinking"]
    else:
        content = ""
        async for chunk in await client.chat.completions.create(
            model="system-2", messages=messages, extra_body=extra, stream=True
        ):
            content += (chunk.choices and chunk.choices[0].delta.content) or ""
            thinking = (chunk.model_extra or {}).get("thinking", thinking)
        assert content
    ended = time.monotonic()
    assert thinking is not None
    return Asked(round(seconds, 3), ended - left[0], left[0] - started, thinking["queue_seconds"],
                 thinking["seconds"], thinking["tokens"])


async def _trace(request: Any) -> None:
    async def note(name: str, _: dict[str, Any]) -> None:
        if name.endswith("send_request_body.complete"):
            _left.get([]).append(time.monotonic())

    request.extensions = {**request.extensions, "trace": note}


async def gauges(client: AsyncOpenAI) -> dict[str, float]:
    """thinking, waiting and decoder_rows."""
    text = cast(str, await client.get(f"{str(client.base_url).removesuffix('v1/')}metrics", cast_to=str))
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(lines[f"system2_{name}"]) for name in ("thinking", "waiting", "decoder_rows")}


async def settled(client: AsyncOpenAI, **wanted: float) -> float:
    """Seconds until the gauges are so."""
    started = time.monotonic()
    while time.monotonic() - started < LONGEST_WAIT:
        now = await gauges(client)
        if all(now[name] == value for name, value in wanted.items()):
            return time.monotonic() - started
        await asyncio.sleep(0.005)
    raise RuntimeError(f"the server never was {wanted}: {now}")


async def killed(client: AsyncOpenAI, kills: int, at_once: int) -> float:
    """Clients end while they are thought for; seconds until nobody thinks, waits, or has a row."""
    asking = [asyncio.ensure_future(ask(client, number, 50.0)) for number in range(kills)]
    await settled(client, thinking=min(kills, at_once))
    await asyncio.sleep(1.0)
    for one in asking:
        one.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    return await settled(client, thinking=0, waiting=0, decoder_rows=0)


async def measure(options: argparse.Namespace, server: int, address: str) -> dict[str, Any]:
    step = (options.longest - options.shortest) / max(1, options.requests - 1)
    found: list[Asked | BaseException] = []
    memory: list[int] = []
    transport = DefaultAsyncHttpx2Client(event_hooks={"request": [_trace]})
    async with AsyncOpenAI(base_url=address, api_key="none", max_retries=0, timeout=LONGEST_WAIT,
                           http_client=transport) as client:
        await ask(client, 0, 1.0)
        await ask(client, 1, 1.0)
        for _ in range(options.rounds):
            found += await asyncio.gather(*(ask(client, number, options.shortest + step * number)
                                            for number in range(options.requests)), return_exceptions=True)
            await settled(client, thinking=0, waiting=0, decoder_rows=0)
            memory.append(resident(server))
        freed = [await killed(client, options.kills, options.at_once) for _ in range(options.rounds)]
    return {**told(found), "rss_mib": memory, "grown_mib": memory[-1] - memory[0],
            "killed": options.kills * options.rounds, "freed_seconds": round(max(freed), 3)}


def resident(process: int) -> int:
    """MiB of its resident set."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))) >> 10


def told(found: Sequence[Asked | BaseException]) -> dict[str, Any]:
    """What came of requests."""
    answered = [one for one in found if isinstance(one, Asked)]
    errors = sorted({type(one).__name__ for one in found if not isinstance(one, Asked)})
    return {
        "requests": len(found), "lost": len(found) - len(answered), "errors": errors,
        "beyond_allowance": sum(one.excess > 0 for one in answered),
        "max_over_seconds": round(max((one.over for one in answered), default=0.0), 3),
        "mean_over_seconds": round(sum(one.over for one in answered) / max(1, len(answered)), 3),
        "max_over_seconds_by_the_server": round(max((one.thought - one.budget for one in answered), default=0.0), 3),
        "max_seconds_in_the_client_before": round(max((one.prepared for one in answered), default=0.0), 3),
        "max_queue_seconds": round(max((one.queued for one in answered), default=0.0), 2),
        "tokens": sum(one.tokens for one in answered),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="shipped")
    parser.add_argument("--requests", type=int, default=100, help="at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shortest", type=float, default=1.0, help="seconds")
    parser.add_argument("--longest", type=float, default=5.0, help="seconds")
    parser.add_argument("--at-once", type=int, default=8, help="requests that think at the same time")
    parser.add_argument("--kills", type=int, default=16, help="clients killed at once, each round")
    parser.add_argument("--freed", type=float, default=0.3, help="seconds")
    parser.add_argument("--grown", type=float, default=64.0, help="MiB")
    parser.add_argument("--threads", type=int, default=1, help="of the server's decoder")
    parser.add_argument("overrides", nargs="*", default=["policy.cache_mb=32"], help="options of the server")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    limits = (f"settings.at_once={options.at_once}", f"settings.queue={max(options.requests, options.kills)}",
              f"settings.max_wait={LONGEST_WAIT}")
    with serving(f"policy={options.policy}", *limits, *options.overrides) as (server, address):
        found = asyncio.run(measure(options, server, address))
    shown = {name: value for name, value in vars(options).items() if name not in ("requests", "kills")}
    print(json.dumps({**shown, "cores": len(os.sched_getaffinity(0)), **found}))
    return int(found["lost"] > 0 or found["beyond_allowance"] > 0 or found["freed_seconds"] > options.freed
               or found["grown_mib"] > options.grown)


if __name__ == "__main__":
    sys.exit(main())
