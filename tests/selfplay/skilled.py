"""A policy that knows what its adapter says it knows, a learner that writes such adapters, and the loop over both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from policy.base import BadPolicy, Sampling, Thought
from policy.budget import Budget, Meter
from policy.uniform import Uniform
from search.mcts import MCTS
from selfplay.asymmetric import Proposals
from selfplay.collecting import Event
from selfplay.curriculum import Curriculum
from selfplay.generations import Generations, Parts, Plan
from selfplay.objectives import RejectionSampling
from selfplay.player import Player
from selfplay.pool import LocalPool
from selfplay.replay import Gathered, Replay
from selfplay.state import Phase
from selfplay.store import Store
from selfplay.training import Learned, Step
from tests.selfplay.fakes import DOMAIN
from verifiers.base import Domain, State, derive_seed

TOKENS = 150
NONE = Proposals()


@cache
def solution(prompt: str) -> tuple[str, ...]:
    """A line of thought that solves a problem of DOMAIN, found by trying."""
    problem = DOMAIN.parse(prompt)
    assert problem is not None
    judge, rng = DOMAIN.judge(), np.random.default_rng(0)
    while True:
        state = State(problem.sealed())
        while (thought := DOMAIN.random_thought(state, rng)) is not None:
            state = state.then(thought, False)
            answer = asyncio.run(judge.answer(state))
            if answer is not None and DOMAIN.check(problem, answer).ok:
                return state.thoughts


class Skilled:
    """Random legal steps, but for a share of the problems, whose solutions it knows.

    Args:
        stuck: it never changes, whatever adapter it is given.
    """

    max_thought_tokens = 48

    def __init__(self, stuck: bool = False) -> None:
        self._uniform, self._stuck = Uniform(DOMAIN), stuck
        self.load_adapter(None)

    def load_adapter(self, folder: str | Path | None) -> None:
        if skill(folder) < 0:
            raise BadPolicy("the weights are broken")
        if not self._stuck or folder is None:
            self.version, self._skill = version(None if folder is None else Path(folder)), skill(folder)

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        prompt, depth = state.problem.prompt, len(state.thoughts)
        if prompt == "new countdown":
            problems = DOMAIN.problems("train", derive_seed(seed, "proposals"))
            texts = ["nonsense", *(problem.prompt for problem, _ in zip(problems, range(k - 1), strict=False))]
            return [Thought(text, -3.0, len(text) + 1) for text in texts]
        if derive_seed("skill", prompt) % 1000 < 1000 * self._skill:
            line = await asyncio.to_thread(solution, prompt)
            if line[:depth] == state.thoughts and depth < len(line) and first == 0:
                return [Thought(line[depth], -0.1, len(line[depth]) + 1, 0.9)]
        return await self._uniform.propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)


def skill(folder: str | Path | None) -> float:
    return 0.0 if folder is None else float(json.loads((Path(folder) / "skill.json").read_text()))


def version(folder: Path | None) -> str:
    return f"skilled-{skill(folder)}"


class FakeLearner:
    """Writes an adapter of the next skill; keeps what it was given to learn from.

    Attributes:
        gathered: by generation.
    """

    objective = RejectionSampling()

    def __init__(self, skills: Sequence[float]) -> None:
        self.skills = skills
        self.gathered: dict[int, Gathered] = {}

    def learn(
        self, gathered: Gathered, out: Path, work: Path, *, champion: Path | None, seed: int, about: Mapping[str, Any],
        on_step: Callable[[Step], None],
    ) -> Learned:
        number = int(about["generation"])
        self.gathered[number] = gathered
        curve = [Step(step, 0.0, 1.0 / step, 0.5, 0.0, 10, 0.1) for step in (1, 2, 3)]
        for step in curve:
            on_step(step)
        out.mkdir(exist_ok=True)
        (out / "skill.json").write_text(json.dumps(self.skills[number - 1]))
        return Learned(out, 3, 3, 30, 0.3, tuple(curve), (), 0.0, 0, gathered.played)


def loop(
    folder: Path, skills: Sequence[float], *, tell: Callable[[Event], None] = lambda event: None,
    domain: Domain = DOMAIN, policy: Any = None, problems: int = 12, generations: int = 0,
    proposals: Proposals = NONE, gate: bool = True,
) -> Generations:  # fmt: skip
    """The loop over DOMAIN with a Skilled policy, in this process."""
    folder.mkdir(exist_ok=True)
    store = Store(str(folder / "store"))
    player = Player({"countdown": domain}, policy or Skilled(), MCTS(), Budget(tokens=TOKENS), lines=2, concurrent=8)
    learner: Any = FakeLearner(skills)
    return Generations(folder, Plan(generations or len(skills), problems, match_problems=24, gate=gate), Parts(
        LocalPool(player, store, batch=4), store, [domain], Curriculum(), Replay(), learner, version, TOKENS,
        {phase: 1.0 for phase in Phase}, lines=2, proposals=proposals, demonstrating=[domain],
    ), run="run", seed=3, tell=tell)  # fmt: skip


def accounts(folder: Path) -> dict[str, Any]:
    """What a run amounts to, but for the time it took."""
    state = json.loads((folder / "state.json").read_text())
    state.pop("seconds"), state.pop("core_hours")
    for row in state["history"]:
        row.pop("seconds", None), row.pop("core_hours", None)
    store = Store(str(folder / "store"))
    return {"state": state, "episodes": {number: sorted(row["episode_id"] for row in store.read(number))
                                         for number in store.generations()}}
