"""Does watching a search slow it down? Simulations a second with and without somebody who looks at its tree.

    python benchmarks/viewing.py [--policy uniform] [--search mcts] [--simulations 10000] [--pairs 5]

Pairs of the same search over a problem that nothing can prove, one watched (its deltas made into JSON, as a server
does) and one not, in alternating order, in one process. Seconds are those of the processor, so that what else the
machine does hardly matters. Prints one JSON line: nodes at the end, simulations a second of both, and the ratio of each
pair (watched to alone), as median, least and most. What is left to be told when the search is over takes no time from
it, and is given apart (`last_seconds`). Each search has a seed of its own: policies remember what they have drawn.

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


async def rate(engine: Engine, simulations: int, seed: int, mode: str) -> tuple[float, int, float]:
    """(simulations a second, nodes that the page got, seconds after the end) of one search in a mode."""
    settle_garbage()
    task = engine.task(PROBLEM, budget=f"{simulations}sims", domain="arithmetic")
    watcher, started = Watcher(task), time.process_time()
    nodes = 0
    on_thinking = None if mode == "forgetful" else watcher.on_thinking
    thinking = asyncio.ensure_future(task.run(engine.searcher(), seed, on_thinking))
    ended: list[float] = []
    thinking.add_done_callback(lambda _: ended.append(time.process_time()))
    if mode == "watched":
        async for delta in watcher.deltas(thinking):
            json.dumps(delta, separators=(",", ":"), allow_nan=False)
            nodes += len(delta["nodes"])
    await thinking
    if task.record.error is not None:
        raise RuntimeError(task.record.error)
    return task.record.simulations / (ended[0] - started), nodes, time.process_time() - ended[0]


async def measure(engine: Engine, simulations: int, pairs: int) -> dict[str, object]:
    await rate(engine, 500, 0, "alone")  # warms up
    found: dict[str, list[float]] = {"watched": [], "alone": [], "forgetful": []}
    nodes, last = [], []
    for pair in range(pairs):
        modes = ["watched", "alone", "forgetful"]
        for number, mode in enumerate(modes if pair % 2 else reversed(modes)):
            each, seen, after = await rate(engine, simulations, 1 + 3 * pair + number, mode)
            found[mode].append(each)
            if mode == "watched":
                nodes.append(seen)
                last.append(after)
    ratios = [watched / alone for watched, alone in zip(found["watched"], found["alone"], strict=True)]
    return {"simulations": simulations, "pairs": pairs, "nodes": round(statistics.median(nodes)),
            "last_seconds": round(statistics.median(last), 3),
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
