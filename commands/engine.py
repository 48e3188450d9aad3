"""A policy and its domains, loaded once, that think about many problems at once: what servers and programs use.

In a program or a notebook:

    from commands.engine import think

    print(think("4 9 10 13", budget="10s").answer)

`load` makes an engine of one's own, from the options that `solve` has, and `think_async` is for event loops.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
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
from commands.think import Observed, Watched
from policy.base import Policy
from policy.budget import Budget, Meter
from policy.worker import Worker
from search.base import Answer, Searcher
from search.thinking import Thinking
from search.watch import fits
from verifiers.base import Domain

T = TypeVar("T")
OnThinking = Callable[[Thinking], None]


class Decoder(Protocol):
    """What can be seen of a policy's decoder (policy/decoder.py) from here."""

    rows: int
    stopped: bool


class SearchFailed(RuntimeError):
    """Policy, judge or searcher failed before there was an answer; says what did, in one line."""


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
        failure: what failed in policy, judge or searcher after this answer, in one line; None if nothing did.
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
    failure: str | None


class Engine:
    """See the module. Its coroutines may be used from any event loop, from several at once, too. In a process that
    was forked since, all that thinks raises RuntimeError.

    Args:
        config: with `policy`, `search`, `tools`, `generator`, `values`, `domains` and perhaps `domain`, as in
            conf/solve.yaml.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._poser = Poser(Guesser(config["domains"]), given_domain(config))
        self._default = load_searcher(config["search"])
        self._searchers: dict[str, Searcher] = {}
        self._policies: dict[str, Policy] = {}
        self._worker: Worker | None = None
        self._owner = os.getpid()
        self._making = threading.Lock()  # threads share an engine, and none of its parts is made twice
        if not needs_domain(config["policy"]):
            self._policy_for("", None)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what the policy keeps running, and what is thought about. In a forked process nothing runs."""
        if os.getpid() != self._owner:
            return
        with self._making:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()
        for policy in self._policies.values():
            close(policy)

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
        task = self.pose(problem, domain)
        granted = budget if isinstance(budget, Budget) else Budget.parse(budget)
        fits(granted, task.policy)
        task.meter = granted.start(parent=parent)
        return task

    def pose(self, problem: str, domain: str | None = None) -> Task:
        """The same without a meter, for one who gives it one later. Raises BadInput or BadProblem."""
        self._own()
        task = self._poser.task(problem, domain)
        task.policy = Observed(self._policy_for(task.domain_name, task.domain))
        return task

    @property
    def domains(self) -> dict[str, str]:
        """Names of the domains that were chosen or are tried, and what each reads, for people."""
        given, guesser = self._poser.given, self._poser.guesser
        names = [*([given[0]] if given is not None else []), *guesser.allowed]
        return {name: guesser.reads(name) for name in names}

    def warm(self) -> None:
        """Load every domain, and the policies made of their rules, so that no problem waits for it."""
        for name in self.domains:
            self._policy_for(name, self.domain(name))

    def domain(self, name: str) -> Domain:
        """Raises BadInput."""
        given = self._poser.given
        return given[1] if given is not None and given[0] == name else self._poser.guesser.domain(name)

    @property
    def rows(self) -> int:
        """Sequences that decoders work on or keep waiting; a policy without a decoder has none."""
        return sum(decoder.rows for decoder in self._decoders())

    @property
    def alive(self) -> bool:
        """Can every decoder still decode?"""
        return not any(decoder.stopped for decoder in self._decoders())

    def trouble(self) -> str | None:
        """Why a server that a policy asks gives no answers; None if all do. See policy/served/policy.py."""
        asking = {one for policy in self._policies.values() for one in getattr(policy, "upstreams", ())}
        return next(iter([said for one in asking if (said := one.trouble())]), None)

    def _decoders(self) -> set[Decoder]:
        return {decoder for policy in self._policies.values() for decoder in getattr(policy, "decoders", ())}

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
        self._own()
        await task.run(self.searcher(search), seed, on_thinking)
        return told(task)

    async def answers(
        self, task: Task, *, search: str | None = None, seed: int = 0, on_thinking: OnThinking | None = None
    ) -> AsyncGenerator[Answer, None]:
        """The answers as they come, each better than the one before; `told(task)` is what came of it at the end.

        Leaving early ends the thinking at the next token.
        """
        self._own()
        searcher, queue = self.searcher(search), Watched()
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
        self._own()
        try:
            return self._running().run(self.think_async(problem, search=search, seed=seed, **more))
        except CancelledError:
            raise SearchFailed("the engine was closed") from None

    def _own(self) -> None:
        """A forked process has none of the threads that think: whatever waited for them would wait forever."""
        if os.getpid() != self._owner:
            raise RuntimeError("this engine belongs to the process that loaded it; load one in this process")

    def _running(self) -> Worker:
        with self._making:
            if self._worker is None:
                self._worker = Worker("engine")
            return self._worker

    def _policy_for(self, name: str, domain: Domain | None) -> Policy:
        """One for all, but one for each domain where it is made of a domain's rules."""
        config = self._config["policy"]
        key = name if needs_domain(config) else ""
        with self._making:
            if key not in self._policies:
                whole = self._config
                self._policies[key] = load_policy(config, domain, whole["tools"], set(without_experts(config)[1]),
                                                  generator=whole["generator"], values=whole["values"])
            return self._policies[key]


def told(task: Task) -> Result:
    """What came of a task that is over. Raises SearchFailed if it failed before there was any answer."""
    result = Result(**as_object(task))
    if result.failure is not None and result.answer is None:
        raise SearchFailed(result.failure)
    return result


def load(*options: str) -> Engine:
    """An engine with the options of `solve`: load("policy=transformer", "policy.path=...").

    Raises BadInput for an option that is not there, and BadPolicy.
    """
    return Engine(composed("solve", options))


_kept: dict[tuple[str, ...], Engine] = {}
_keeping = threading.Lock()


def _anew() -> None:
    """A forked process has none of the threads that these engines think in, and loads its own."""
    global _keeping
    for engine in _kept.values():
        atexit.unregister(engine.close)
    _kept.clear()
    _keeping = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_anew)


def kept(*options: str) -> Engine:
    """The engine of these options: loaded when it is first asked for, and closed when the program ends.

    May be called from any thread, and after a fork. Raises as `load` does.
    """
    with _keeping:
        if options not in _kept:
            _kept[options] = load(*options)
            atexit.register(_kept[options].close)
        return _kept[options]


def think(problem: str, *options: str, **more: Any) -> Result:
    """Think about a problem with the engine that is kept for these options, and wait for it.

        think("4 9 10 13", "policy=uniform", "search=mcts", budget="10s", seed=7)

    Args:
        options: of `solve`.
        more: budget, domain, search, seed; see Engine.task and Engine.run.

    Raises BadInput, BadProblem, BadBudget or BadPolicy, with one line, and SearchFailed.
    """
    return kept(*options).think(problem, **more)


async def think_async(problem: str, *options: str, **more: Any) -> Result:
    """The same for an event loop, which goes on meanwhile, loading included. Cancelling it ends the thinking."""
    engine = await asyncio.to_thread(kept, *options)
    return await engine.think_async(problem, **more)


def composed(name: str, options: Sequence[str] = ()) -> Config:
    """conf/NAME.yaml with options, outside the command line. Raises BadInput.

    A program that is a Hydra application itself stays one.
    """
    around = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config: Mapping[str, Any] = compose(name, overrides=list(options), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise BadInput(one_line(str(error))) from error
    finally:
        GlobalHydra.instance().hydra = around
    return config
