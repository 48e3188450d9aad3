"""Riddles whose whole tree is scripted: a thought is a letter and digits, `=word` finishes, `!` is illegal."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import numpy as np
from hydra.utils import instantiate
from omegaconf import OmegaConf

from policy.budget import Budget, Meter
from policy.scripted import Line, Scripted
from search.anytime import Anytime
from search.base import Answer
from search.thinking import Thinking
from search.tree import Node
from verifiers.base import Evidence, Judge, Problem, State, Verdict, content_id, correct, wrong

CONF = Path(__file__).parents[2] / "conf" / "search"
SEARCHERS = sorted(path.stem for path in CONF.glob("*.yaml"))
THINKERS = [name for name in SEARCHERS if name != "greedy"]
CHAINS = ("self_consistency", "best_of_n", "revise", "budget_forcing")
TREES = [name for name in THINKERS if name not in CHAINS]
REFERENCE = "the-reference-nobody-may-see"
SECRET = "42"

Script = dict[tuple[str, ...], list[Line]]


def searcher(name: str, **overrides: object) -> Anytime:
    made = instantiate(OmegaConf.load(CONF / f"{name}.yaml"), **overrides)
    assert isinstance(made, Anytime)
    return made


def riddle(proof: str = SECRET) -> Problem:
    return Problem("r", "riddle", "riddle", {"proof": content_id(proof)}, reference=REFERENCE)


class RiddleJudge:
    """Knows the hash of the answer, so that it can prove one without knowing it; or proves nothing."""

    def __init__(self, proves: bool = True) -> None:
        self.proves = proves
        self.seen: list[Problem] = []

    async def answer(self, state: State) -> str | None:
        self.seen.append(state.problem)
        last = state.thoughts[-1] if state.thoughts else ""
        return last[1:] if last.startswith("=") else None

    async def check_thought(self, state: State, thought: str) -> Verdict:
        self.seen.append(state.problem)
        return wrong("illegal") if thought.startswith("!") else correct()

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        self.seen.append(problem)
        if not self.proves:
            return None
        right = content_id(answer) == problem.facts["proof"]
        return correct(Evidence.PROVED) if right else wrong("no", Evidence.PROVED)


def forest(seed: int, solution: tuple[int, ...] | None, *, valued: bool = True, branching: int = 3) -> Script:
    """A tree of the solution's depth (2 without one) where the solution is never the likeliest thought.

    Values are noisy, and higher on the way to the solution. Among the thoughts are illegal and cut off ones.
    """
    rng = np.random.default_rng(seed)
    depth = len(solution) if solution else 2
    script: Script = {}
    names: dict[tuple[int, ...], tuple[str, ...]] = {(): ()}
    for level in range(depth):
        for place in itertools.product(range(branching), repeat=level):
            if place not in names:
                continue
            lines: list[Line] = []
            for pick in range(branching):
                here = (*place, pick)
                on_path = solution is not None and solution[: len(here)] == here
                last = level == depth - 1
                text = f"={SECRET}" if last and on_path else f"={seed % 7}{pick}" if last else f"t{level}{pick}"
                if not on_path and rng.random() < 0.15:
                    text = f"!{pick}" if rng.random() < 0.5 else f"c{pick}\x1b"
                else:
                    names[here] = (*names[place], text)
                value = float(np.clip(0.3 * on_path + 0.5 * rng.random(), 0.01, 0.99)) if valued else None
                lines.append((text, float(np.log(0.1 if on_path else 0.9 / branching)), value))
            script[names[place]] = lines
    return script


async def answers(search: AsyncGenerator[Answer, None]) -> list[Answer]:
    async with aclosing(search):
        return [answer async for answer in search]


async def solve(
    name: str,
    script: Script,
    budget: str = "2000tok",
    *,
    judge: Judge | None = None,
    policy: Scripted | None = None,
    meter: Meter | None = None,
    seed: int = 1,
    **overrides: object,
) -> list[Answer]:
    meter = meter or Budget.parse(budget).start()
    policy = policy or Scripted(script)
    return await answers(
        searcher(name, **overrides).search(riddle().sealed(), policy, judge or RiddleJudge(), meter, seed)
    )


async def grown(
    name: str, script: Script, budget: str, *, policy: Scripted | None = None, proves: bool = True, **overrides: object
) -> Thinking:
    """A finished search, for a look at its tree."""
    made = searcher(name, **overrides)
    meter = Budget.parse(budget).start()
    thinking = Thinking(riddle(), policy or Scripted(script), RiddleJudge(proves), meter, 1)
    async with thinking:
        await answers(made.run(thinking))
    return thinking


def visits(node: Node) -> dict[str, int]:
    """The tree as line -> visit count."""
    table = {"/".join(node.state.thoughts): node.visits}
    for child in node.children:
        table |= visits(child)
    return table


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def tick(self) -> None:
        self.now += 0.01
