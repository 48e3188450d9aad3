"""Many problems, each under its own budget: at once on one decoder, or spread over worker processes."""

from __future__ import annotations

import asyncio
import functools
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from commands.compose import close, load_domain, load_policy, load_searcher, settle_garbage
from commands.think import Attempt, Observed, attempt, together
from policy.budget import Budget
from search.watch import fits
from verifiers.base import Problem, derive_seed

OnDone = Callable[[int, Attempt], None]
OnUsages = Callable[[str, Sequence[Any]], None]
"""Is told which process has asked servers for how much so far (policy.served.usage.Usage)."""
CHUNKS = 4
"""A worker is handed at most this many times `concurrent` problems at a time, so that progress is seen."""


@dataclass(frozen=True)
class Plan:
    """What a process needs to search, as JSON texts so that it travels to workers and names their engine.

    Attributes:
        domain, policy, search, tools, generator, values: configs of the constructors; that of nothing is empty.
        budget: of each problem.
        seed: of the run; a problem's own is derived from it and the problem's id.
        concurrent: problems at once in one process.
    """

    domain: str
    policy: str
    search: str
    tools: str
    budget: str
    seed: int
    concurrent: int
    generator: str = "{}"
    values: str = "{}"


class Engine:
    """A domain's judge, a policy and a searcher, loaded once in a process."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        domain = load_domain(json.loads(plan.domain))
        self.judge = domain.judge()
        self.searcher = load_searcher(json.loads(plan.search))
        self.policy = load_policy(json.loads(plan.policy), domain, json.loads(plan.tools),
                                  generator=json.loads(plan.generator), values=json.loads(plan.values))
        self.budget = Budget.parse(plan.budget)
        fits(self.budget, self.policy)
        self._runner = asyncio.Runner()  # one event loop for the life of the decoder

    @property
    def usages(self) -> Sequence[Any]:
        """What its policy has asked servers for so far."""
        return tuple(getattr(self.policy, "usages", ()))

    def run(self, problems: Sequence[tuple[int, Problem]], on_done: OnDone) -> None:
        """Search them all, at most `concurrent` at once; the clock of each starts with its own search."""
        self._runner.run(self._run(problems, on_done))

    async def _run(self, problems: Sequence[tuple[int, Problem]], on_done: OnDone) -> None:
        waiting = iter(problems)
        await together(self._serve(waiting, on_done) for _ in range(self.plan.concurrent))

    async def _serve(self, waiting: Iterator[tuple[int, Problem]], on_done: OnDone) -> None:
        for index, problem in waiting:
            record = Attempt()
            seed = derive_seed(self.plan.seed, problem.id)
            if self.plan.concurrent == 1:
                settle_garbage()
            meter = self.budget.start()
            await attempt(problem, Observed(self.policy), self.judge, self.searcher, meter, seed, record)
            on_done(index, record)


def run_here(
    plan: Plan, problems: Sequence[Problem], on_done: OnDone, on_usages: OnUsages = lambda who, usages: None
) -> str:
    """Search all problems in this process; returns the policy's version."""
    engine = Engine(plan)
    try:
        engine.run(list(enumerate(problems)), on_done)
    finally:
        on_usages("", engine.usages)
        close(engine.policy)
    return engine.policy.version


def run_in_workers(
    plan: Plan, problems: Sequence[Problem], workers: int, on_done: OnDone,
    on_usages: OnUsages = lambda who, usages: None,
) -> str:  # fmt: skip
    """Search in worker processes that share the cores; returns the policy's version.

    Raises BrokenProcessPool if one dies. Problems are handed out sealed: references stay in this process.
    """
    sealed = [(index, problem.sealed()) for index, problem in enumerate(problems)]
    size = 1 if Budget.parse(plan.budget).seconds is not None else CHUNKS * plan.concurrent
    size = max(1, min(size, -(-len(sealed) // workers)))
    threads = max(1, (os.cpu_count() or 1) // workers)
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker, initargs=(threads,))
    try:
        version = pool.submit(_version, plan).result()  # the first to load says whether it can be loaded at all
        pending = {pool.submit(_chunk, plan, sealed[i : i + size]) for i in range(0, len(sealed), size)}
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                chunk, told = future.result()
                on_usages(*told)
                for index, record in chunk:
                    on_done(index, record)
        return version
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def as_json(config: Any) -> str:
    """A resolved config as the JSON text that a Plan holds."""
    from omegaconf import OmegaConf

    return json.dumps(OmegaConf.to_container(config, resolve=True))


@functools.cache
def _engine(plan: Plan) -> Engine:
    return Engine(plan)


def _start_worker(threads: int) -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # read when torch is imported, which is later
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _version(plan: Plan) -> str:
    return _engine(plan).policy.version


def _chunk(
    plan: Plan, problems: Sequence[tuple[int, Problem]]
) -> tuple[list[tuple[int, Attempt]], tuple[str, Sequence[Any]]]:
    """What came of the problems, and what this process has asked servers for so far."""
    done: list[tuple[int, Attempt]] = []
    _engine(plan).run(problems, lambda index, record: done.append((index, record)))
    return done, (str(os.getpid()), _engine(plan).usages)
