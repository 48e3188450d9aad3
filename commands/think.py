"""One search over one problem, and the record of it that people see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from policy.base import Policy, Sampling, Thought
from policy.budget import Meter
from search.anytime import Anytime
from search.base import Answer, Searcher
from search.thinking import Thinking
from search.watch import watch
from verifiers.base import Judge, Problem, State


class Observed:
    """A policy that keeps count of what it proposes.

    Attributes:
        thoughts_at: thoughts proposed so far at each depth, the first step's depth being 0.
        greedy_line: the thoughts of the last greedy pass.
    """

    def __init__(self, policy: Policy) -> None:
        self.version = policy.version
        self.max_thought_tokens = policy.max_thought_tokens
        self.thoughts_at: list[int] = []
        self.greedy_line: tuple[str, ...] = ()
        self._policy = policy

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        # A policy that never waits would keep the event loop from seeing Ctrl-C, the deadline and other problems.
        await asyncio.sleep(0)
        thoughts = await self._policy.propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)
        depth = len(state.thoughts)
        self.thoughts_at += [0] * (depth + 1 - len(self.thoughts_at))
        self.thoughts_at[depth] += len(thoughts)
        if sampling is Sampling.GREEDY and thoughts:
            self.greedy_line = (*state.thoughts, thoughts[0].text)
        return thoughts


@dataclass
class Attempt:
    """One problem being thought about, and what came of it.

    Attributes:
        answers: every answer in the order it was given; the last one stands.
        greedy_line: the line of thought of the greedy pass, whose answer is the first one if it had any.
        seconds, tokens, simulations: spent in all, once ended.
        prompt_tokens: that servers read for it; see Meter.
        error: what failed (policy, judge or searcher), or None.
    """

    answers: list[Answer] = field(default_factory=list)
    greedy_line: tuple[str, ...] = ()
    seconds: float = 0.0
    tokens: int = 0
    simulations: int = 0
    prompt_tokens: int = 0
    error: str | None = None

    @property
    def final(self) -> Answer | None:
        return self.answers[-1] if self.answers else None

    @property
    def greedy(self) -> Answer | None:
        """The answer of the greedy pass; None if it gave none."""
        first = self.answers[0] if self.answers else None
        return first if first is not None and first.thoughts == self.greedy_line else None


class Watched(list[Answer]):
    """A record's answers, which somebody waits for."""

    def __init__(self) -> None:
        super().__init__()
        self._queue: asyncio.Queue[Answer | None] = asyncio.Queue()

    def append(self, answer: Answer) -> None:
        super().append(answer)
        self._queue.put_nowait(answer)

    def end(self) -> None:
        self._queue.put_nowait(None)

    async def next(self) -> Answer | None:
        return await self._queue.get()


async def think(
    problem: Problem,
    policy: Policy,
    judge: Judge,
    searcher: Searcher,
    meter: Meter,
    seed: int,
    on_answer: Callable[[Answer], None],
    on_thinking: Callable[[Thinking], None] | None = None,
) -> Answer | None:
    """Run one search over a problem, sealed; see `watch`. Raises what policy, judge or searcher raise.

    `on_thinking` gets the search in progress before it begins, if the searcher keeps one to look at.
    """
    if on_thinking is None or not isinstance(searcher, Anytime):
        return await watch(searcher.search(problem.sealed(), policy, judge, meter, seed), meter, on_answer)
    async with searcher.begin(problem, policy, judge, meter, seed, remember=True) as thinking:
        on_thinking(thinking)
        return await watch(searcher.run(thinking), meter, on_answer)


async def attempt(
    problem: Problem, policy: Observed, judge: Judge, searcher: Searcher, meter: Meter, seed: int, record: Attempt,
    on_thinking: Callable[[Thinking], None] | None = None,
) -> None:  # fmt: skip
    """Think, keeping the record up to date. The one boundary where a failure of a search becomes data.

    Nobody thinks about a problem with a fault: that is its error.
    """
    if problem.fault:
        record.error = problem.fault
        return
    try:
        await think(problem, policy, judge, searcher, meter, seed, record.answers.append, on_thinking)
    except Exception as error:
        record.error = f"{type(error).__name__}: {error}"
    finally:
        record.greedy_line = policy.greedy_line
        record.seconds, record.tokens, record.simulations = meter.seconds, meter.tokens, meter.simulations
        record.prompt_tokens = meter.prompt_tokens


async def together(thinkers: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run them all at once; if one raises, the others are cancelled and what it raised is raised, unwrapped."""
    try:
        async with asyncio.TaskGroup() as group:
            for thinker in thinkers:
                group.create_task(thinker)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
