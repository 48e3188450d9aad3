"""One search in progress: the only place that asks the policy, asks the judge and charges the meter."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from policy.base import Policy, Sampling, Thought
from policy.budget import UNLIMITED_TOKENS, Meter
from search.base import Answer
from search.tree import Node, Outcome, Step
from verifiers.base import Canonical, Evidence, Judge, Problem, State, Status

JUDGE_GRACE = 0.02
"""Seconds a judge may still take when the deadline is reached; far below the overshoot that is allowed."""


@dataclass(frozen=True)
class Request:
    """Thoughts asked for and not yet landed; `k` may be less than was wanted when tokens run short."""

    task: asyncio.Task[list[Step]]
    k: int
    reserved: int


class Thinking:
    """One search in progress.

    Tokens are reserved at `launch` and settled at `land`. A searcher lands its requests in the order it launched
    them, so what it does depends on the seed and the budget, never on which request happened to finish first.
    Requests still in flight when the search ends are cancelled and not charged; their reservation had fitted.

    Args:
        check_thoughts, max_depth: see Anytime.
        remember: keep what the search itself has no use for: failed thoughts (Node.steps), and `lines`.

    Attributes:
        tree: the root of the tree, its problem sealed; chains leave it bare.
        lines: where each chain started, and its thoughts; empty unless remembered.
        standing: the answer that stands now, or None.
        first_line: the greedy line, once made.
        thoughts: thoughts landed so far.
        canonical: a text shared by all spellings of an answer; the answer itself where the judge knows of no others.
    """

    def __init__(
        self,
        problem: Problem,
        policy: Policy,
        judge: Judge,
        meter: Meter,
        seed: int,
        *,
        check_thoughts: bool = True,
        max_depth: int = 24,
        remember: bool = False,
    ) -> None:
        self.tree = Node(State(problem.sealed()))
        self.meter = meter
        self.standing: Answer | None = None
        self.first_line: list[Step] = []
        self.thoughts = 0
        self.canonical: Callable[[str], str] = judge.canonical if isinstance(judge, Canonical) else str
        self.remember = remember
        self.lines: list[tuple[State, list[Step]]] = []
        self._policy = policy
        self._judge = judge
        self._seed = seed
        self._check_thoughts = check_thoughts
        self._max_depth = max_depth
        self._in_flight: set[Request] = set()

    async def __aenter__(self) -> Thinking:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = list(self._in_flight)
        self._in_flight.clear()
        for request in left:
            request.task.cancel()
            self.meter.settle(request.reserved, 0)
        await asyncio.gather(*(request.task for request in left), return_exceptions=True)

    @property
    def verified(self) -> bool:
        return self.standing is not None and self.standing.verified

    @property
    def over(self) -> bool:
        """Is there no point in, or no budget for, another simulation?"""
        return self.verified or self.meter.exhausted or self.room < 1

    @property
    def thrifty(self) -> bool:
        """Is a currency limited that decisions on stale knowledge waste (tokens, simulations), not time alone?"""
        return self.meter.tokens_left < UNLIMITED_TOKENS // 2 or not math.isinf(self.meter.simulations_left)

    @property
    def room(self) -> int:
        """Thoughts that fit into the tokens left; 0 once the time is over."""
        return 0 if self.meter.expired else self.meter.tokens_left // self._policy.max_thought_tokens

    def launch(self, state: State, k: int, sampling: Sampling = Sampling.DISTINCT, first: int = 0) -> Request | None:
        """Ask for thoughts number first .. first+k-1, or for as many of them as fit; None if not one fits."""
        k = min(k, self.room)
        reserved = k * self._policy.max_thought_tokens
        if k < 1 or not self.meter.reserve(reserved):
            return None
        request = Request(asyncio.ensure_future(self._propose(state, k, sampling, first)), k, reserved)
        self._in_flight.add(request)
        return request

    async def land(self, request: Request) -> list[Step]:
        """Wait for a request and charge what it used."""
        steps = await request.task
        self._in_flight.discard(request)
        self.meter.settle(request.reserved, sum(step.thought.tokens for step in steps))
        self.thoughts += len(steps)
        return steps

    async def chains(
        self, starts: Sequence[State], sampling: Sampling = Sampling.INDEPENDENT, first: int = 0
    ) -> list[list[Step]]:
        """Lines of thought to their ends, in step with each other; line i uses sample first+i of every state it meets.

        A line stops where it finishes, dies, or runs out of budget; one may be empty.
        """
        lines: list[list[Step]] = [[] for _ in starts]
        states = dict(enumerate(starts))
        while states and not any(line and line[-1].outcome is Outcome.PROVED for line in lines):
            requests = {i: self.launch(state, 1, sampling, first + i) for i, state in states.items()}
            states = {}
            for i, request in requests.items():
                steps = [] if request is None else await self.land(request)
                lines[i] += steps
                if steps and steps[0].outcome is Outcome.OPEN:
                    states[i] = steps[0].state
        if self.remember:
            self.lines += zip(starts, lines, strict=True)
        return lines

    async def greedy(self) -> Answer | None:
        """System 1: one greedy line. Its answer is the first, even if refuted (then with confidence 0)."""
        if self.over:
            return None
        self.meter.count_simulation()
        [line] = await self.chains([self.tree.state], Sampling.GREEDY)
        self.first_line = line
        if not line or line[-1].answer is None:
            return None
        return self.offer(line[-1], line_confidence(line))

    def offer(self, step: Step, confidence: float) -> Answer | None:
        """Let a finished line stand as the answer; None if that changes nothing or a proved answer stands.

        The confidence is overruled where the judge has spoken: 1 when proved, 0 when refuted. A refuted answer
        stands only until there is another.
        """
        if step.answer is None:
            raise ValueError("only a finished line can be offered")
        verified, refuted = step.outcome is Outcome.PROVED, step.outcome is Outcome.REFUTED
        if self.verified or (refuted and self.standing is not None):
            return None
        confidence = 1.0 if verified else 0.0 if refuted else min(max(confidence, 0.0), 1.0)
        old = self.standing
        if old is not None and not verified and old.text == step.answer and abs(old.confidence - confidence) < 0.005:
            return None
        meter = self.meter
        self.standing = Answer(
            step.answer, confidence, verified, meter.seconds, meter.tokens, meter.simulations, step.state.thoughts,
            meter.prompt_tokens,
        )
        return self.standing

    async def _propose(self, state: State, k: int, sampling: Sampling, first: int) -> list[Step]:
        thoughts = await self._policy.propose(
            state, k, sampling=sampling, seed=self._seed, meter=self.meter, first=first
        )
        # System 1 gets no help: an illegal step of the greedy line stands, and shows in its answer.
        check = self._check_thoughts and sampling is not Sampling.GREEDY
        return [await self._judged(state, thought, check) for thought in thoughts]

    async def _judged(self, state: State, thought: Thought, check: bool) -> Step:
        """The thought with its verdict; left open if the judge has not spoken by the deadline."""
        after = state.then(thought.text, thought.last)
        if thought.dead:
            return Step(thought, after, Outcome.DEAD)
        left = self.meter.seconds_left
        try:
            async with asyncio.timeout(None if math.isinf(left) else max(left, JUDGE_GRACE)):
                outcome, answer = await self._verdict(state, after, check)
        except TimeoutError:
            outcome, answer = Outcome.OPEN, None
        return Step(thought, after, outcome, answer)

    async def _verdict(self, before: State, after: State, check: bool) -> tuple[Outcome, str | None]:
        if check and not (await self._judge.check_thought(before, after.thoughts[-1])).ok:
            return Outcome.DEAD, None
        answer = await self._judge.answer(after)
        if answer is None:
            blank = not after.thoughts[-1].strip()
            return Outcome.DEAD if blank or len(after.thoughts) >= self._max_depth else Outcome.OPEN, None
        verdict = await self._judge.self_check(after.problem, answer)
        if verdict is None or verdict.status in (Status.TIMEOUT, Status.ERROR):
            return Outcome.FINISHED, answer
        if not verdict.ok:
            return Outcome.REFUTED, answer
        return Outcome.PROVED if verdict.evidence is Evidence.PROVED else Outcome.FINISHED, answer


def line_confidence(line: Sequence[Step]) -> float:
    """P(correct) of a finished line on its own: the value head's word, else the line's probability."""
    value = line[-1].thought.value
    return math.exp(min(line_logprob(line), 0.0)) if value is None else value


def line_logprob(line: Sequence[Step]) -> float:
    """Log-probability [nats] of a line."""
    return sum(step.thought.logprob for step in line)
