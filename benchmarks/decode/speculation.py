"""What guessing ahead is worth in real searches: python -m benchmarks.decode.speculation [--rounds 5] [--wide 10240]

Two shipped policies, one that guesses what rows draw next and one that does not, search the same validation problems
with the same seeds and tokens, in turn. One line of JSON a case, each figure the median of rounds (new problems each):
tokens a second without guesses and with them, the ratio by the wall clock and by processor time, by how many times
forward passes get fewer, and how many of the answers are the same. With `--wide` the shipped policy has so many
neurons a layer, of which the new ones do nothing, so that the same texts cost more: with 10,240 of them it has 30
million parameters.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import OmegaConf

from benchmarks.decode.__main__ import OneCore
from benchmarks.decode.models import widened
from commands.compose import load_domain, load_searcher, settle_garbage
from commands.think import Attempt, Observed, attempt, together
from policy.budget import Budget
from policy.transformer import Transformer
from search.base import Searcher
from verifiers.base import Domain, Problem

ROOT = Path(__file__).resolve().parents[2]
DOMAINS = ("game24", "countdown6", "arithmetic", "programs")
SEARCHERS = ("mcts", "best_of_n")


@dataclass(frozen=True)
class Spent:
    """On some problems: tokens drawn, forward passes, the wall clock's and the processor's seconds, and the answers."""

    tokens: int
    passes: int
    wall: float
    cpu: float
    answers: list[str | None]


class Arm:
    """A policy that guesses so many tokens ahead at most."""

    def __init__(self, folder: Path, speculate: int) -> None:
        self.policy = Transformer(str(folder), threads=1, max_thought_tokens=48, speculate=speculate)
        trunk: Any = self.policy.decoder.scheduler.trunk
        self._forward, self._passes = trunk.forward, 0
        trunk.forward = self._counted

    def _counted(self, *args: Any, **more: Any) -> Any:
        self._passes += 1
        return self._forward(*args, **more)

    def search(self, domain: Domain, searcher: Searcher, problems: Sequence[Problem], budget: Budget) -> Spent:
        """All of them at once."""
        records, judge = [Attempt() for _ in problems], domain.judge()

        async def think() -> None:
            await together(attempt(problem, Observed(self.policy), judge, searcher, budget.start(), 0, record)
                           for problem, record in zip(problems, records, strict=True))

        settle_garbage()
        passes, wall, cpu = self._passes, time.perf_counter(), time.process_time()
        asyncio.run(think())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if errors := [record.error for record in records if record.error is not None]:
            raise RuntimeError(errors[0])
        answers = [None if record.final is None else record.final.text for record in records]
        return Spent(sum(record.tokens for record in records), self._passes - passes, wall, cpu, answers)


def case(name: str, search: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One domain and one searcher, with the policy in a folder."""
    domain, searcher = load_domain(_config("domain", name)), load_searcher(_config("search", search))
    budget, each = Budget.parse(options.budget), max(options.problems, options.at_once)
    problems = list(islice(domain.problems("validation", 0), 1 + options.rounds * each))
    arms = Arm(folder, 0), Arm(folder, options.most)
    rounds: list[tuple[Spent, Spent]] = []
    for arm in arms:
        arm.search(domain, searcher, problems[:1], budget)  # warms up
    for number in range(options.rounds):
        some = problems[1 + number * each :][:each]
        groups = [some[start : start + options.at_once] for start in range(0, each, options.at_once)]
        done: dict[Arm, Spent] = {}
        for arm in arms if number % 2 else arms[::-1]:
            done[arm] = _sum([arm.search(domain, searcher, group, budget) for group in groups])
        rounds.append((done[arms[0]], done[arms[1]]))
    for arm in arms:
        arm.policy.close()
    return {
        "domain": name, "search": search, "budget": options.budget, "at_once": options.at_once,
        "tokens_per_second": [
            round(median(pair[index].tokens / pair[index].wall for pair in rounds)) for index in (0, 1)],
        "seconds_a_problem": [round(median(pair[index].wall / each for pair in rounds), 3) for index in (0, 1)],
        "wall_ratio": round(median(off.wall / on.wall * on.tokens / off.tokens for off, on in rounds), 2),
        "cpu_ratio": round(median(off.cpu / on.cpu * on.tokens / off.tokens for off, on in rounds), 2),
        "pass_ratio": round(median(off.passes / on.passes for off, on in rounds), 2),
        "same": sum(ours == theirs for off, on in rounds for ours, theirs in zip(off.answers, on.answers, strict=True)),
        "problems": options.rounds * each,
    }  # fmt: skip


def _sum(parts: Sequence[Spent]) -> Spent:
    return Spent(sum(part.tokens for part in parts), sum(part.passes for part in parts),
                 sum(part.wall for part in parts), sum(part.cpu for part in parts),
                 [answer for part in parts for answer in part.answers])


def _config(group: str, name: str) -> dict[str, Any]:
    config = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / group / f"{name}.yaml"))
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", nargs="+", default=DOMAINS)
    parser.add_argument("--searchers", nargs="+", default=SEARCHERS)
    parser.add_argument("--rounds", type=int, default=5, help="of which each figure is the median")
    parser.add_argument("--problems", type=int, default=4, help="of a round")
    parser.add_argument("--at-once", type=int, default=1, help="problems thought about at the same time")
    parser.add_argument("--budget", default="500tok", help="of a problem")
    parser.add_argument("--most", type=int, default=8, help="tokens guessed ahead at most")
    parser.add_argument("--wide", type=int, help="neurons a layer, most of which do nothing")
    options = parser.parse_args()
    with OneCore(1), TemporaryDirectory() as place:
        folder = ROOT / "policy" / "shipped"
        if options.wide:
            folder = widened(folder, options.wide, Path(place) / "wide")
        for name in options.domains:
            for search in options.searchers:
                print(json.dumps(case(name, search, folder, options)), flush=True)


if __name__ == "__main__":
    main()
