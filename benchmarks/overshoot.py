"""By how much is a wall-clock budget overshot? Real searches under budgets from 0.2 s to 5 s, two at once.

    python benchmarks/overshoot.py [--policy shipped] [--search mcts] [--solves 100]

Prints one JSON line. Allowed is 100 ms or 2 % of the budget, whichever is larger; exit code 1 if any solve takes more.
The problems cannot be proved while thinking, so that every search uses its budget up: unreachable countdown targets,
and arithmetic, which has no self-check.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from omegaconf import OmegaConf

from commands.compose import load_domain, load_policy, load_searcher, settle_garbage
from commands.think import Attempt, Observed, attempt
from policy.budget import Budget
from verifiers.base import derive_seed

CONF = Path(__file__).resolve().parent.parent / "conf"
PROBLEMS = (("countdown", "1 1 1 1 2 2 -> 9999"), ("arithmetic", "738*46+(917-58)*23"))
AT_ONCE = 2
SHORTEST, LONGEST = 0.2, 5.0


def solve_all(policy: str, search: str, jobs: Sequence[tuple[int, float]]) -> list[tuple[float, float, int]]:
    """(budget [s], taken [s], tokens) of each job (number, budget), one after the other in this process."""
    searcher = load_searcher(OmegaConf.to_container(OmegaConf.load(CONF / "search" / f"{search}.yaml")))  # type: ignore[arg-type]
    config = OmegaConf.to_container(OmegaConf.load(CONF / "policy" / f"{policy}.yaml"))
    domains = [
        load_domain(OmegaConf.to_container(OmegaConf.load(CONF / "domain" / f"{name}.yaml")))  # type: ignore[arg-type]
        for name, _ in PROBLEMS
    ]
    policies = [load_policy(config, domain) for domain in domains]  # type: ignore[arg-type]

    async def solve(number: int, seconds: float) -> tuple[float, float, int]:
        which = number % len(PROBLEMS)
        problem = domains[which].parse(PROBLEMS[which][1])
        assert problem is not None
        record, judge = Attempt(), domains[which].judge()
        settle_garbage()
        started = time.monotonic()
        meter = Budget(seconds=seconds).start()
        await attempt(problem, Observed(policies[which]), judge, searcher, meter, derive_seed(0, number), record)
        taken = time.monotonic() - started
        if record.error is not None:
            raise RuntimeError(record.error)
        return seconds, taken, record.tokens

    async def solve_each() -> list[tuple[float, float, int]]:
        await solve(0, SHORTEST)  # warms up: what happens once in a process is cold start, measured elsewhere
        await solve(1, SHORTEST)
        return [await solve(number, seconds) for number, seconds in jobs]

    return asyncio.run(solve_each())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="shipped")
    parser.add_argument("--search", default="mcts")
    parser.add_argument("--solves", type=int, default=100)
    options = parser.parse_args()
    step = (LONGEST / SHORTEST) ** (1 / max(1, options.solves - 1))
    jobs = [(number, SHORTEST * step**number) for number in range(options.solves)]
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // AT_ONCE)))
    with ProcessPoolExecutor(AT_ONCE, mp_context=get_context("spawn")) as pool:
        # Short and long ones alternate between the processes, so that both finish at about the same time.
        parts = [pool.submit(solve_all, options.policy, options.search, jobs[i::AT_ONCE]) for i in range(AT_ONCE)]
        solves = [solve for part in parts for solve in part.result()]
    over = [taken - seconds for seconds, taken, _ in solves]
    excess = [by - max(0.1, 0.02 * seconds) for by, (seconds, _, _) in zip(over, solves, strict=True)]
    early = sum(by < -0.05 for by in over)
    print(
        json.dumps(
            {
                "solves": len(solves),
                "at_once": AT_ONCE,
                "policy": options.policy,
                "search": options.search,
                "max_overshoot_seconds": round(max(over), 4),
                "mean_overshoot_seconds": round(sum(over) / len(over), 4),
                "ended_early": early,
                "beyond_allowance": sum(by > 0 for by in excess),
                "tokens": sum(t for _, _, t in solves),
            }
        )
    )
    return int(max(excess) > 0)


if __name__ == "__main__":
    sys.exit(main())
