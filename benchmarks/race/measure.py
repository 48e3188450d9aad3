"""How good a policy is, in one process: python -m benchmarks.race.measure SPLIT [ADAPTER] prints one JSON object.

Greedy and pass@16 (any of 16 samples at temperature 1) are shares in [0, 1], `search` the share solved by mcts within
two seconds a problem, one after the other; `right` lists them for each problem, for paired comparisons.
"""

from __future__ import annotations

import asyncio
import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from commands.batch import Plan, run_here
from commands.compose import load_domain
from commands.think import Attempt
from policy.base import Sampling
from policy.transformer import Transformer
from selfplay.rollouts import play

ROOT = Path(__file__).resolve().parents[2]
LIMIT, SAMPLES, SEED = 100, 16, 12345


def config(group: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / group / f"{name}.yaml"))  # type: ignore[assignment]
    return found


def main(split: str, adapter: str | None) -> None:
    domain = load_domain(config("domain", "game24"))
    problems = list(islice(domain.problems(split, SEED), LIMIT))
    policy = Transformer(str(ROOT / "policy" / "shipped"), adapter=adapter, threads=1, max_thought_tokens=48)
    with asyncio.Runner() as runner:
        greedy = runner.run(play(policy, domain, problems, 1, SEED, sampling=Sampling.GREEDY))
        sampled = runner.run(play(policy, domain, problems, SAMPLES, SEED))
    policy.close()
    any_right = [any(line.verdict.ok for line in sampled[i * SAMPLES : (i + 1) * SAMPLES])
                 for i in range(len(problems))]
    plan = Plan(json.dumps(config("domain", "game24")), json.dumps(config("policy", "shipped") | {"adapter": adapter}),
                json.dumps(config("search", "mcts")), "{}", "2s", SEED, 1)
    searched = [False] * len(problems)

    def done(index: int, attempt: Attempt) -> None:
        final = attempt.final
        searched[index] = final is not None and domain.check(problems[index], final.text).ok

    run_here(plan, problems, done)
    right = {"greedy": [int(line.verdict.ok) for line in greedy], "pass16": list(map(int, any_right)),
             "search": list(map(int, searched))}
    print(json.dumps({**{name: sum(found) / len(found) for name, found in right.items()}, "right": right}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
