"""A policy and its domains, loaded once, that think about many problems at once: what servers and programs use.

In a program, `load` makes an engine from the options that `solve` has:

    from commands.engine import load

    with load("policy=shipped") as engine:
        print(engine.think("4 9 10 13", budget="10s").answer)
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from commands.compose import (
    CONF,
    Config,
    Guesser,
    close,
    given_domain,
    group_config,
    load_policy,
    load_searcher,
    needs_domain,
    without_experts,
)  # fmt: skip
from commands.errors import BadInput, one_line
from commands.task import Poser, Task, as_object
from commands.think import Observed
from policy.base import Policy
from policy.budget import Budget, Meter
from search.base import Answer, Searcher
from search.thinking import Thinking
from search.watch import fits
from verifiers.base import Domain

T = TypeVar("T")
OnThinking = Callable[[Thinking], None]


class SearchFailed(RuntimeError):
    """Policy, judge or searcher failed; says what did, in one line."""


@dataclass(frozen=True)
class Result:
    """What came of thinking about a problem.

    Attributes:
        problem, domain: the text, and the name of the domain that read it.
        answer: None if there is none, or the best one is known to be wrong; untrusted.
        verified: proved without the reference.
        confidence: P(correct), in [0, 1].
        seconds, tokens, simulations: spent.
        thoughts: the line of thought that led to the answer; untrusted.
        policy: the version.
    """

    problem: str
    domain: str
    answer: str | None
    verified: bool
    confidence: float
    seconds: float
    tokens: int
    simulations: int
    thoughts: list[str]
    policy: str


class Engine:
    """See the module. Its coroutines may be used from any event loop, from several at once, too.

    Args:
        config: with `policy`, `search`, `tools`, `domains` and perhaps `domain`, as in conf/solve.yaml.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._poser = Poser(Guesser(config["domains"]), given_domain(config))
        self._default = load_searcher(config["search"])
        self._searchers: dict[str, Searcher] = {}
        self._policies: dict[str, Policy] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        if not needs_domain(config["policy"]):
            self._policy_for("", None)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what the policy keeps running; nothing can be thought about any more."""
        for policy in self._policies.values():
            close(policy)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    @property
    def domains(self) -> dict[str, str]:
        """Names of the domains that are tried where none is named, and what each reads, for people."""
        return dict(self._poser.guesser.allowed)

    def task(
        self, problem: str, *, budget: str | Budget = "10s", domain: str | None = None, parent: Meter | None = None
    ) -> Task:
        """A problem to think about, whose time begins to run now.

        Args:
            budget: see Budget.parse.
            domain: name of the domain that reads it; None: it is guessed.
            parent: a meter that is spent from, too.

        Raises BadInput, BadProblem or BadBudget, with one line.
        """
        task = self._poser.task(problem, domain)
        policy = self._policy_for(task.domain_name, task.domain)
        granted = budget if isinstance(budget, Budget) else Budget.parse(budget)
        fits(granted, policy)
        task.policy, task.meter = Observed(policy), granted.start(parent=parent)
        return task

    def searcher(self, name: str | None = None) -> Searcher:
        """The one of that name in conf/search with its defaults; None: the one of the config. Raises BadInput."""
        if name is None:
            return self._default
        if name not in self._searchers:
            self._searchers[name] = load_searcher(group_config("search", name))
        return self._searchers[name]

    async def run(
        self, task: Task, *, search: str | None = None, seed: int = 0, on_thinking: OnThinking | None = None
    ) -> Result:
        """Think about a task until its budget is spent. Raises SearchFailed, and BadInput for an unknown searcher.

        Args:
            on_thinking: gets the search in progress, whose tree may be looked at between two steps.
        """
        await task.run(self.searcher(search), seed, on_thinking)
        return told(task)

    async def answers(
        self, task: Task, *, search: str | None = None, seed: int = 0, on_thinking: OnThinking | None = None
    ) -> AsyncIterator[Answer]:
        """The answers as they come, each better than the one before; `told(task)` is what came of it at the end.

        Leaving early ends the thinking at the next token.
        """
        searcher, queue = self.searcher(search), _Watched()
        task.record.answers = queue
        thinking = asyncio.ensure_future(task.run(searcher, seed, on_thinking))
        thinking.add_done_callback(lambda _: queue.end())
        try:
            while (answer := await queue.next()) is not None:
                yield answer
            await thinking
        finally:
            thinking.cancel()
            with suppress(asyncio.CancelledError):
                await thinking

    async def think_async(self, problem: str, *, search: str | None = None, seed: int = 0, **more: Any) -> Result:
        """See `task` and `run`."""
        return await self.run(self.task(problem, **more), search=search, seed=seed)

    def think(self, problem: str, *, search: str | None = None, seed: int = 0, **more: Any) -> Result:
        """The same, and waits for it: in a notebook, too, whose event loop goes on meanwhile."""
        future = asyncio.run_coroutine_threadsafe(
            self.think_async(problem, search=search, seed=seed, **more), self._running())
        try:
            return future.result()
        finally:
            future.cancel()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="engine", daemon=True).start()
        return self._loop

    def _policy_for(self, name: str, domain: Domain | None) -> Policy:
        """One for all, but one for each domain where it is made of a domain's rules."""
        config = self._config["policy"]
        key = name if needs_domain(config) else ""
        if key not in self._policies:
            self._policies[key] = load_policy(config, domain, self._config["tools"], set(without_experts(config)[1]))
        return self._policies[key]


class _Watched(list[Answer]):
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


def told(task: Task) -> Result:
    """What came of a task that is over. Raises SearchFailed."""
    if task.record.error is not None:
        raise SearchFailed(one_line(task.record.error))
    return Result(**as_object(task))


def load(*options: str) -> Engine:
    """An engine with the options of `solve`: load("policy=transformer", "policy.path=...").

    Raises BadInput for an option that is not there, and BadPolicy.
    """
    return Engine(composed("solve", options))


def composed(name: str, options: Sequence[str] = ()) -> Config:
    """conf/NAME.yaml with options, outside the command line. Raises BadInput."""
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config: Mapping[str, Any] = compose(name, overrides=list(options), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise BadInput(one_line(str(error))) from error
    return config
