"""Who thinks about the problems of a comparison: this process, or workers on a Ray cluster of this machine.

Both are the pools of self-play, with a player that keeps every answer. What comes of a problem depends on the cell, the
seed and the problem alone, if its budget has no seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from commands.compose import close, load_domain, load_policy, load_searcher, settle_garbage
from commands.records import Mark, Records, record
from commands.think import Attempt, Observed, attempt
from policy.base import Policy, PolicyStopped, Sampling, Thought
from policy.budget import Budget, Meter
from search.base import Searcher
from search.watch import fits
from selfplay.player import Player
from selfplay.pool import LocalPool, Pool
from selfplay.trajectory import Job, Trajectory
from verifiers.base import Domain, State, derive_seed


@dataclass(frozen=True)
class Assignment:
    """How the problems of a cell are thought about; the budgets ascend, and the last is the one to spend."""

    search: str
    budgets: tuple[str, ...]


@dataclass(frozen=True)
class Crew:
    """See selfplay.pool.Factory: the cells of one policy, as JSON texts of constructors' configs.

    Attributes:
        around: what wraps the policy: tools, generator and values, see load_policy.
        assignments: by the numbers of their cells, which are the generations of their jobs.
        concurrent: searches at once.
    """

    domain: str
    policy_config: str
    around: str
    assignments: Mapping[int, Assignment]
    concurrent: int

    def policy(self) -> Policy:
        """Raises BadPolicy."""
        domain = load_domain(json.loads(self.domain))
        return load_policy(json.loads(self.policy_config), domain, **json.loads(self.around))

    def player(self, policy: Policy) -> Player:
        """Raises BadBudget."""
        return Solver(load_domain(json.loads(self.domain)), policy, self.assignments, self.concurrent)


class Solver(Player):
    """A player that keeps all answers and what had been spent at each budget, and grades nothing.

    Args:
        domain: whose problems come, sealed.
        policy: for all of them.
        assignments: by generation.
        concurrent: searches at once.
    """

    def __init__(
        self, domain: Domain, policy: Policy, assignments: Mapping[int, Assignment], concurrent: int
    ) -> None:
        self._searchers: dict[int, Searcher] = {}
        self._granted: dict[int, list[Budget]] = {}
        for number, assigned in assignments.items():
            self._searchers[number] = load_searcher(json.loads(assigned.search))
            self._granted[number] = [Budget.parse(text) for text in assigned.budgets]
            fits(self._granted[number][-1], policy)
        first = next(iter(assignments))
        super().__init__({domain.name: domain}, policy, self._searchers[first], self._granted[first][-1], lines=0,
                         greedy=False, concurrent=concurrent)
        self._judge = domain.judge()

    def budget_of(self, job: Job) -> Budget:
        """See Player; the clock starts next."""
        if self.concurrent == 1:
            settle_garbage()
        return self._granted[job.generation][-1]

    async def whole(self, job: Job, meter: Meter) -> Trajectory:
        """See Player. The seed is that of `evaluate`, for every cell the same."""
        seed, found = derive_seed(job.seed, job.problem.id), Attempt()
        policy = Marking(self.policy, self._granted[job.generation][:-1])
        await attempt(job.problem, policy, self._judge, self._searchers[job.generation], meter, seed, found)
        if policy.stopped is not None:
            raise policy.stopped
        return record(job.episode_id, job.generation, job.problem, self.policy.version, seed, found, policy.marks)


class Marking(Observed):
    """A policy that notes what has been spent when it is first asked, or has answered, after a budget was spent.

    Attributes:
        marks: of the budgets passed so far.
        stopped: why the policy does no more, if so.
    """

    def __init__(self, policy: Policy, budgets: Sequence[Budget]) -> None:
        super().__init__(policy)
        self.marks: list[Mark] = []
        self.stopped: PolicyStopped | None = None
        self._budgets = budgets

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        self._note(meter)
        try:
            return await super().propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)
        except PolicyStopped as error:
            self.stopped = error
            raise
        finally:
            self._note(meter)

    def _note(self, meter: Meter) -> None:
        spent = Mark(meter.seconds, meter.tokens, meter.simulations, meter.prompt_tokens)
        for budget in self._budgets[len(self.marks):]:
            limits = ((budget.seconds, spent.seconds), (budget.tokens, spent.tokens))
            if any(limit is not None and used >= limit for limit, used in limits):
                self.marks.append(spent)


@contextmanager
def cluster(workers: int) -> Iterator[None]:
    """Ray on this machine, for as many workers, or nothing for none. Raises PoolBroken."""
    if not workers:
        yield
        return
    from selfplay.cluster import join

    leave = join(None, workers)
    try:
        yield
    finally:
        leave()


@contextmanager
def pool(crew: Crew, records: Records, workers: int) -> Iterator[Pool]:
    """Who plays the jobs of a crew's cells, a file a problem as soon as it is over; see selfplay.pool.Pool.

    Args:
        workers: Ray actors of one core each, in a cluster that `cluster` has started; 0: this process.

    Raises PoolBroken, BadPolicy, BadBudget.
    """
    with closing(_local(crew, records) if not workers else _remote(crew, records, workers)) as made:
        yield made


def _local(crew: Crew, records: Records) -> Pool:
    policy = crew.policy()
    try:
        player = crew.player(policy)
    except BaseException:
        close(policy)
        raise
    return LocalPool(player, records, batch=1)


def _remote(crew: Crew, records: Records, workers: int) -> Pool:
    from selfplay.ray_pool import RayPool
    from selfplay.workers import Layout

    ahead = 1 if crew.concurrent == 1 else crew.concurrent // 2  # so that nobody waits for this process
    return RayPool(crew, records, Layout(workers=workers), chunk=1, in_flight=crew.concurrent + ahead)
