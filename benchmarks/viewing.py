"""Does watching a search slow it down? Simulations a second with and without somebody who looks at its tree.

    python benchmarks/viewing.py [--policy uniform] [--search mcts] [--simulations 10000] [--pairs 5]

Pairs of the same search over a problem that nothing can prove, one watched (its deltas made into JSON, as a server
does) and one not, in alternating order, in one process. Seconds are those of the processor, so that what else the
machine does hardly matters. Prints one JSON line: nodes at the end, simulations a second of both, and the ratio of each
pair (watched to alone), as median, least and most.

`remember` is on in both: what the tree keeps for the page is not part of the ratio; `forgetful` is a third search
without it, for comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from commands.compose import settle_garbage
from commands.engine import Engine, load
from commands.viewer.watching import Watcher

PROBLEM = "738*46+(917-58)*23"


async def rate(engine: Engine, simulations: int, seed: int, mode: str) -> tuple[float, int]:
    """(simulations a second, nodes that the page got) of one search: watched, alone or forgetful."""
    settle_garbage()
    task = engine.task(PROBLEM, budget=f"{simulations}sims", domain="arithmetic")
    watcher, started = Watcher(task), time.process_time()
    nodes = 0
    on_thinking = None if mode == "forgetful" else watcher.on_thinking
    thinking = asyncio.ensure_future(task.run(engine.searcher(), seed, on_thinking))
    if mode == "watched":
        async for delta in watcher.deltas(thinking):
            json.dumps(delta, separators=(",", ":"), allow_nan=False)
            nodes += len(delta["nodes"])
    await thinking
    if task.record.error is not None:
        raise RuntimeError(task.record.error)
    return task.record.simulations / (time.process_time() - started), nodes


async def measure(engine: Engine, simulations: int, pairs: int) -> dict[str, object]:
    await rate(engine, 500, 0, "alone")  # warms up
    found: dict[str, list[float]] = {"watched": [], "alone": [], "forgetful": []}
    nodes = []
    for pair in range(pairs):
        modes = ["watched", "alone", "forgetful"]
        for mode in modes if pair % 2 else reversed(modes):
            each, seen = await rate(engine, simulations, pair, mode)
            found[mode].append(each)
            nodes += [seen] if mode == "watched" else []
    ratios = [watched / alone for watched, alone in zip(found["watched"], found["alone"], strict=True)]
    return {"simulations": simulations, "pairs": pairs, "nodes": round(statistics.median(nodes)),
            **{f"{mode}_per_second": round(statistics.median(rates), 1) for mode, rates in found.items()},
            "ratio": round(statistics.median(ratios), 4), "least": round(min(ratios), 4),
            "most": round(max(ratios), 4)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="uniform")
    parser.add_argument("--search", default="mcts")
    parser.add_argument("--simulations", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    with load(f"policy={options.policy}", f"search={options.search}") as engine:
        measured = asyncio.run(measure(engine, options.simulations, options.pairs))
    print(json.dumps({"policy": options.policy, "search": options.search, **measured}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
