"""The player: searches over many problems at once on one policy, graded and told as trajectories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing

from policy.base import Policy, PolicyStopped, Sampling
from policy.budget import UNLIMITED_TOKENS, Budget, Meter
from search.anytime import Anytime, at_least_one
from search.base import Answer, Searcher
from search.mcts import MCTS
from search.rules import Backup, best
from search.thinking import Thinking
from search.watch import fits, watch
from selfplay.adapters import wear
from selfplay.harvest import answers, graft, harvest
from selfplay.rollouts import Drawn, draw
from selfplay.trajectory import Example, Job, Line, Purpose, Trajectory
from verifiers.base import Domain, Judge, Problem, State, Status, Verdict, derive_seed, unparsable


class Player:
    """Plays jobs: a search, some lines of the policy alone, and the grades of what came of them.

    A trajectory is a function of the job, the policy's version, the searcher and the budget, if that has no seconds:
    what else is being played does not matter.

    Args:
        domains: by the names that problems carry.
        policy: for all of them.
        searcher: keeps a tree to learn from if it is an Anytime; that of others is not seen.
        budget: of each search.
        match_budget: of each search in a match; None: the same.
        lines: independent lines for each training job.
        greedy: play the most likely line too, also in matches.
        concurrent: searches at once, in all calls of `play` together.
        states: examples of a trajectory at most.
    """

    def __init__(
        self, domains: Mapping[str, Domain], policy: Policy, searcher: Searcher, budget: Budget, *,
        match_budget: Budget | None = None, lines: int = 8, greedy: bool = True, concurrent: int = 32,
        states: int = 256,
    ) -> None:  # fmt: skip
        at_least_one(concurrent=concurrent, states=states)
        if lines < 0:
            raise ValueError(f"lines must be a whole number of at least 0, not {lines!r}")
        self._budgets = dict.fromkeys(Purpose, budget) | {Purpose.MATCH: match_budget or budget}
        for allowed in self._budgets.values():
            fits(allowed, policy)
        self.policy, self.concurrent = policy, concurrent
        self._domains = {name: (domain, domain.judge()) for name, domain in domains.items()}
        self._searcher = searcher
        self._lines, self._greedy, self._states = lines, greedy, states
        self._gate = asyncio.Semaphore(concurrent)
        self._spent = 0
        self._meters: set[Meter] = set()

    @property
    def progress(self) -> int:
        """Tokens spent and jobs ended so far: a number that grows while anything moves."""
        return self._spent + sum(meter.tokens for meter in self._meters)

    def load_adapter(self, folder: str | None) -> None:
        """See Adaptable. Raises BadPolicy for a policy that takes none."""
        wear(self.policy, folder)

    async def play(self, jobs: Iterable[Job]) -> AsyncGenerator[Trajectory, None]:
        """Trajectories in order of completion; jobs are taken as there is room for them.

        What fails in one job is a trajectory with status `error`. Raises PolicyStopped when the policy is at its end.
        """
        waiting, running = iter(jobs), dict[asyncio.Task[Trajectory], None]()
        try:
            while True:
                while len(running) < self.concurrent and (job := next(waiting, None)) is not None:
                    running[asyncio.create_task(self._play(job))] = None
                if not running:
                    return
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in running if task in done]:  # in the order they began
                    del running[task]
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def budget_of(self, job: Job) -> Budget:
        """Of a job's search."""
        return self._budgets[job.purpose]

    async def _play(self, job: Job) -> Trajectory:
        async with self._gate:
            meter = self.budget_of(job).start()
            self._meters.add(meter)
            try:
                return await self.whole(job, meter)
            except PolicyStopped:
                raise
            except Exception as error:
                return _trajectory(job, self.policy.version, meter, failure(f"{type(error).__name__}: {error}"))
            finally:
                self._meters.discard(meter)
                self._spent += meter.tokens + 1

    async def whole(self, job: Job, meter: Meter) -> Trajectory:
        """Play one job. What it raises is the trajectory's error; PolicyStopped ends the playing."""
        if job.problem.fault:
            raise ValueError(job.problem.fault)
        if job.purpose is Purpose.PROPOSE:
            return await self._propose(job, meter)
        if job.problem.domain not in self._domains:
            raise ValueError(f"there is no domain {job.problem.domain} among {', '.join(sorted(self._domains))}")
        domain, judge = self._domains[job.problem.domain]
        version, training = self.policy.version, job.purpose is Purpose.TRAIN
        thinking, answer = await self._search(job, judge, meter, remember=training)
        seconds = meter.seconds
        drawn = await self._draw(job, judge, self._lines if training else 0)
        if thinking is not None:
            graft(thinking)
        texts = [] if thinking is None else answers(thinking.tree)
        texts += [line.answer for line in drawn if line.answer is not None] + ([] if answer is None else [answer.text])
        grades = await asyncio.to_thread(_grade, domain, job.problem, texts)
        examples: tuple[Example, ...] = ()
        if thinking is not None:
            right = {text: verdict.ok for text, verdict in grades.items()}
            examples = harvest(thinking.tree, right, self._backup, self._states)
        return _trajectory(
            job, version, meter, unparsable("no answer") if answer is None else grades[answer.text],
            examples, tuple(_line(line, grades, self._greedy and line is drawn[-1]) for line in drawn),
            answer, seconds, sum(line.tokens for line in drawn), getattr(self.policy, "temperature", 1.0),
        )  # fmt: skip

    async def _propose(self, job: Job, meter: Meter) -> Trajectory:
        """Single thoughts below a cue; what they are worth is found out when somebody plays them."""
        version, free = self.policy.version, Budget(tokens=UNLIMITED_TOKENS).start()
        thoughts = await self.policy.propose(State(job.problem), self._lines, sampling=Sampling.INDEPENDENT,
                                             seed=job.search_seed, meter=free)
        lines = tuple(Line((thought.text,), (thought.logprob,), 0.0, Status.UNPARSABLE.value, lasts=(thought.last,))
                      for thought in thoughts if thought.complete)
        return _trajectory(job, version, meter, unparsable("a proposal has no answer"), (), lines,
                           line_tokens=sum(thought.tokens for thought in thoughts),
                           temperature=getattr(self.policy, "temperature", 1.0))

    async def _search(
        self, job: Job, judge: Judge, meter: Meter, remember: bool
    ) -> tuple[Thinking | None, Answer | None]:
        """The search, and its tree if that is to be remembered."""
        problem, seed = job.problem.sealed(), job.search_seed
        if not remember or not isinstance(self._searcher, Anytime):
            return None, await watch(self._searcher.search(problem, self.policy, judge, meter, seed), meter)
        thinking = self._searcher.begin(problem, self.policy, judge, meter, seed, remember=True)
        async with thinking, aclosing(self._searcher.run(thinking)) as found:
            return thinking, await watch(found, meter)

    async def _draw(self, job: Job, judge: Judge, lines: int) -> Sequence[Drawn]:
        """Independent lines, under a seed of their own: the search may draw such lines too. The greedy one is last."""
        problem, seed = job.problem.sealed(), derive_seed(job.search_seed, "lines")
        meter = Budget(tokens=UNLIMITED_TOKENS).start()
        kinds = [*[Sampling.INDEPENDENT] * lines, *[Sampling.GREEDY] * self._greedy]
        return await asyncio.gather(*(
            draw(self.policy, judge, problem, 0 if kind is Sampling.GREEDY else number, seed, kind, meter)
            for number, kind in enumerate(kinds)
        ))  # fmt: skip

    @property
    def _backup(self) -> Backup:
        return self._searcher.backup if isinstance(self._searcher, MCTS) else best


def failure(reason: str) -> Verdict:
    """Something broke; one line."""
    return Verdict(Status.ERROR, detail=" ".join(reason.split())[:500])


def failed(job: Job, version: str, reason: str) -> Trajectory:
    """The trajectory of a job of which nothing else is known."""
    return _trajectory(job, version, Budget(tokens=1).start(lambda: 0.0), failure(reason))


def _grade(domain: Domain, problem: Problem, texts: Iterable[str]) -> dict[str, Verdict]:
    """Each answer graded once. Raises what the grader raises, and RuntimeError where it says that it failed."""
    grades = {}
    for text in dict.fromkeys(texts):
        grades[text] = domain.check(problem, text)
        if grades[text].status is Status.ERROR:
            raise RuntimeError(f"grading failed: {grades[text].detail}")
    return grades


def _line(line: Drawn, grades: Mapping[str, Verdict], greedy: bool) -> Line:
    verdict = unparsable("no answer") if line.answer is None else grades[line.answer]
    ids = line.ids if any(line.ids) else ()
    return Line(line.thoughts, line.logprobs, verdict.reward, verdict.status.value, greedy, line.lasts, ids)


def _trajectory(
    job: Job, version: str, meter: Meter, verdict: Verdict,
    examples: tuple[Example, ...] = (), lines: tuple[Line, ...] = (), answer: Answer | None = None,
    seconds: float | None = None, line_tokens: int = 0, temperature: float = 1.0,
) -> Trajectory:  # fmt: skip
    return Trajectory(
        job.episode_id, job.generation, job.sample, job.purpose, job.problem, version, job.search_seed, examples, lines,
        None if answer is None else answer.text, () if answer is None else answer.thoughts,
        answer is not None and answer.verified, verdict, temperature, meter.tokens, meter.simulations,
        meter.seconds if seconds is None else seconds, line_tokens,
    )  # fmt: skip
