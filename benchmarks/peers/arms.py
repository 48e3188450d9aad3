"""The searches: each thinks about one puzzle until it is proved or the time is out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.generating import Generating, Line, OutOfTime, Solved
from policy.budget import Budget
from policy.transformer import Transformer
from search.mcts import MCTS
from verifiers.base import Judge, Problem

Arm = Callable[[Problem, Judge, float, int], float | None]
"""Of a problem, its judge, seconds and a seed: the seconds after which it was solved, None if it was not."""
BATCH = 32
"""Thoughts at a time, of a search that chooses a node for each."""
THOUGHTS = 8
"""Thoughts at a time, of a search that chooses a node for all of them."""
LONGEST = 48


def ours(folder: Path) -> Arm:
    """`mcts` as `solve` runs it."""
    policy = Transformer(str(folder), threads=1, max_thought_tokens=LONGEST)

    def run(problem: Problem, judge: Judge, seconds: float, seed: int) -> float | None:
        async def think() -> float | None:
            meter = Budget(seconds=seconds).start()
            async for answer in MCTS(max_depth=12).search(problem, policy, judge, meter, seed):
                if answer.verified:
                    return answer.seconds
            return None

        return asyncio.run(think())

    return run


def treequest(folder: Path, algorithm: str, at_once: int, **options: Any) -> Arm:
    """One of treequest's searches, which is asked for so many thoughts at a time."""
    import treequest as library

    generating = Generating(folder, LONGEST)
    algo: Any = getattr(library, algorithm)(**options)

    def run(problem: Problem, judge: Judge, seconds: float, seed: int) -> float | None:
        def think(root: Line) -> None:
            tree = algo.init_tree()
            while True:
                tree, trials = algo.ask_batch(tree, at_once, ["think"])
                parents = [tree.tree.get_node(trial.node_to_expand).state or root for trial in trials]
                for trial, line in zip(trials, asyncio.run(generating.after(parents)), strict=True):
                    tree = algo.tell(tree, trial.trial_id, (line, line.score))

        return _timed(generating, problem, judge, seconds, seed, think)

    return run


def llm_reasoners(folder: Path) -> Arm:
    """llm-reasoners' MCTS with its defaults; a line's reward is its score."""
    from reasoners import SearchConfig, WorldModel, algorithm

    generating = Generating(folder, LONGEST)

    class Thinking(WorldModel):  # type: ignore[misc]
        """A state is a line, and so is an action: the line that it leads to."""

        def init_state(self) -> Line:
            return self.root  # type: ignore[no-any-return]

        def step(self, state: Line, action: Line) -> tuple[Line, dict[str, Any]]:
            return action, {}

        def is_terminal(self, state: Line) -> bool:
            return state.over

    class Scoring(SearchConfig):  # type: ignore[misc]
        """THOUGHTS samples after a line, those that are alike once."""

        def get_actions(self, state: Line) -> list[Line]:
            found = asyncio.run(generating.after([state] * THOUGHTS))
            return list({line.state.thoughts: line for line in found}.values())

        def fast_reward(self, state: Line, action: Line) -> tuple[float, dict[str, Any]]:
            return action.score, {}

        def reward(self, state: Line, action: Line, **_: Any) -> tuple[float, dict[str, Any]]:
            return action.score, {}

    def run(problem: Problem, judge: Judge, seconds: float, seed: int) -> float | None:
        def think(root: Line) -> None:
            theirs = algorithm.MCTS(depth_limit=12, disable_tqdm=True)
            theirs.world_model, theirs.search_config = Thinking(), Scoring()
            top = algorithm.MCTSNode(state=root, action=None, parent=None, calc_q=theirs.calc_q)
            while True:
                theirs.iterate(top)
                generating.check_time()

        return _timed(generating, problem, judge, seconds, seed, think)

    return run


def _timed(
    generating: Generating, problem: Problem, judge: Judge, seconds: float, seed: int, think: Callable[[Line], None]
) -> float | None:
    import random

    import numpy as np
    import torch

    random.seed(seed), np.random.seed(seed % 2**32), torch.manual_seed(seed)  # these libraries draw from global ones
    started = time.perf_counter()
    try:
        think(generating.begin(problem, judge, seconds))
    except Solved:
        return time.perf_counter() - started
    except OutOfTime:
        return None
    raise AssertionError("a search came to an end by itself")


ARMS: dict[str, Callable[[Path], Arm]] = {
    "mcts": ours,
    "treequest AB-MCTS-A": lambda folder: treequest(folder, "ABMCTSA", BATCH),
    "treequest StandardMCTS": lambda folder: treequest(
        folder, "StandardMCTS", THOUGHTS, samples_per_action=THOUGHTS),
    "llm-reasoners MCTS": llm_reasoners,
}
