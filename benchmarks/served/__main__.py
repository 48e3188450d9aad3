"""A policy behind HTTP against the same one in this process: python -m benchmarks.served [--limit 100]

The shipped policy, served by benchmarks/served/server.py in a process of its own and asked by policy=openai, searches
the 100 puzzles of the Tree-of-Thoughts paper (or another split). Arms, all with the same problems, searcher, seed and
token budget:

- served: over HTTP, without log-probabilities; it has no value head either;
- control: in this process, its values and log-probabilities hidden, sampled by the same rules (policy/served/draws.py);
- control_reseeded: the same with other seeds: by how much chance alone differs;
- served_logprobs: over HTTP, with the log-probabilities that the server tells;
- shipped: in this process, as it is, with values, and thoughts drawn without replacement;
- uniform: random legal steps.

Prints a JSON line for each arm, and one for each paired difference (95 % bootstrap interval over problems). `served`
and `control` draw the same samples if the way over HTTP loses nothing; `answers_differ` counts where it did.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from commands.compose import close, domain_config, group_config, load_domain, load_policy, load_searcher
from commands.statistics import bootstrap_weights, wilson
from commands.think import Attempt, Observed, attempt, together
from policy.base import Policy, Sampling, Thought
from policy.budget import Budget, Meter
from policy.served.draws import Draws, Sample
from policy.served.policy import Served
from policy.transformer import Transformer
from search.base import Searcher
from verifiers.base import Domain, Problem, State, derive_seed

ROOT = Path(__file__).resolve().parents[2]
ARMS = ("served", "control", "control_reseeded", "served_logprobs", "shipped", "uniform")
PAIRS = (("served", "control"), ("served", "control_reseeded"), ("served_logprobs", "served"), ("shipped", "served"),
         ("served", "uniform"))
PATIENCE = 8


class Blind:
    """A policy in this process that shows single samples, without values and log-probabilities.

    Args:
        policy: whose samples; its own sampling without replacement is not used.
    """

    def __init__(self, policy: Transformer) -> None:
        self.version, self.max_thought_tokens = f"{policy.version}-blind", policy.max_thought_tokens
        self._policy = policy
        self._draws = Draws(self, policy.max_thought_tokens, PATIENCE, 1.0)

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        """See Policy."""
        return await self._draws.propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)

    async def draw(self, state: State, n: int, seed: int | None, temperature: float, meter: Meter) -> Sequence[Sample]:
        """See policy.served.draws.Source."""
        kind = Sampling.GREEDY if seed is None else Sampling.INDEPENDENT
        drawn = await asyncio.gather(*(
            self._policy.propose(state, 1, sampling=kind, seed=(seed or 0) + i, meter=meter) for i in range(n)
        ))
        return [Sample(thought.text, thought.tokens, None, thought.complete, thought.last)
                for some in drawn for thought in some]

    def close(self) -> None:
        self._policy.close()


@contextmanager
def serving(*options: str) -> Iterator[tuple[str, str]]:
    """A server in a process of its own; the URL of its API, and its model's name."""
    command = [sys.executable, "-m", "benchmarks.served.server", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            yield f"http://127.0.0.1:{told['port']}/v1", told["model"]
        finally:
            process.terminate()


def made(arm: str, url: str, model: str, domain: Domain, longest: int) -> Policy:
    if arm == "uniform":
        return load_policy(group_config("policy", "uniform"), domain)
    if arm in ("shipped", "control", "control_reseeded"):
        policy = Transformer("policy/shipped", threads=1, max_thought_tokens=longest)
        return policy if arm == "shipped" else Blind(policy)
    return Served(url, model, api_key_env=None, max_thought_tokens=longest, patience=PATIENCE,
                  logprobs=arm == "served_logprobs")


def measure(
    arm: str, policy: Policy, domain: Domain, problems: Sequence[Problem], searcher: Searcher, budget: Budget,
    concurrent: int,
) -> tuple[dict[str, Any], list[Attempt], list[float]]:  # fmt: skip
    """What an arm did, in figures, and its record of each problem with its grade."""
    gate = asyncio.Semaphore(concurrent)
    records = [Attempt() for _ in problems]
    judge = domain.judge()

    async def solve(problem: Problem, record: Attempt) -> None:
        async with gate:
            seed = derive_seed(int(arm == "control_reseeded"), problem.id)
            await attempt(problem, Observed(policy), judge, searcher, budget.start(), seed, record)

    began = time.monotonic()
    asyncio.run(together(map(solve, problems, records)))
    wall = time.monotonic() - began
    right = [float(record.final is not None and domain.check(problem, record.final.text).ok)
             for problem, record in zip(problems, records, strict=True)]
    low, high = wilson(int(sum(right)), len(right))
    row = {
        "arm": arm, "problems": len(problems), "solved": int(sum(right)), "ci95": [round(low, 3), round(high, 3)],
        "errors": sum(record.error is not None for record in records),
        "mean_tokens": round(float(np.mean([record.tokens for record in records])), 1),
        "mean_simulations": round(float(np.mean([record.simulations for record in records])), 1),
        "wall_seconds": round(wall, 1),
    }  # fmt: skip
    if isinstance(policy, Served):
        usage = policy.usage
        row |= {"requests": usage.requests, "retries": usage.retries, "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens}
    return row, records, right


def difference(
    a: str, b: str, records: dict[str, list[Attempt]], right: dict[str, list[float]]
) -> dict[str, Any]:
    """a minus b, in points of 1."""
    each = np.array(right[a]) - np.array(right[b])
    low, high = np.quantile(bootstrap_weights(len(each)) @ each, [0.025, 0.975])
    texts = [[record.final and record.final.text for record in records[name]] for name in (a, b)]
    return {"a": a, "b": b, "difference": round(float(each.mean()), 4), "ci95": [round(float(low), 4),
            round(float(high), 4)], "only_a": int((each > 0).sum()), "only_b": int((each < 0).sum()),
            "answers_differ": sum(x != y for x, y in zip(*texts, strict=True))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", default="game24")
    parser.add_argument("--split", default="tot100")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--search", default="mcts")
    parser.add_argument("--budget", default="1000tok", help="of each problem")
    parser.add_argument("--longest", type=int, default=48, help="tokens of a thought")
    parser.add_argument("--concurrent", type=int, default=16, help="problems at once")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    options = parser.parse_args()
    domain = load_domain(domain_config(options.domain))
    searcher, budget = load_searcher(group_config("search", options.search)), Budget.parse(options.budget)
    problems = list(islice(domain.problems(options.split, 0), options.limit))
    records: dict[str, list[Attempt]] = {}
    right: dict[str, list[float]] = {}
    print(json.dumps(vars(options)), flush=True)
    with serving("policy/shipped") as (url, model):
        for arm in options.arms:
            policy = made(arm, url, model, domain, options.longest)
            row, records[arm], right[arm] = measure(arm, policy, domain, problems, searcher, budget, options.concurrent)
            close(policy)
            print(json.dumps(row), flush=True)
    for a, b in PAIRS:
        if a in right and b in right:
            print(json.dumps(difference(a, b, records, right)), flush=True)


if __name__ == "__main__":
    main()
