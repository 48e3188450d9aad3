"""From what a request asks for to answers, on the engine that everybody shares."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from commands.engine import Engine, Result, SearchFailed, told
from commands.server.admission import Admission, Ticket
from commands.server.errors import ApiError, failed
from commands.server.metrics import Metrics
from commands.server.requests import Ask
from commands.server.settings import Settings
from commands.task import Task
from policy.budget import Budget
from search.base import Answer
from search.watch import fits

NO_ANSWER = "I found no answer within the thinking budget."


@dataclass(frozen=True)
class Outcome:
    """What came of a request.

    Attributes:
        result: see Result.
        queued: seconds from its arrival to its turn; not part of its budget.
        reasoning: what the answers and their lines of thought look like in words; untrusted.
        cut: did a cap on tokens end it without an answer?
    """

    result: Result
    queued: float
    reasoning: str
    cut: bool

    @property
    def content(self) -> str:
        return NO_ANSWER if self.result.answer is None else self.result.answer

    @property
    def extension(self) -> dict[str, Any]:
        """What OpenAI's objects have no field for."""
        result = self.result
        return {
            "answer": result.answer, "verified": result.verified, "confidence": result.confidence,
            "domain": result.domain, "seconds": result.seconds, "queue_seconds": round(self.queued, 6),
            "tokens": result.tokens, "simulations": result.simulations, "thoughts": result.thoughts,
            "policy": result.policy, "failed": result.failure is not None,
        }  # fmt: skip


class Session:
    """One request that has been admitted.

    Attributes:
        outcome: there once `reasoning` has come to its end.
    """

    outcome: Outcome

    def __init__(self, engine: Engine, ask: Ask, task: Task, ticket: Ticket) -> None:
        self._engine, self._ask, self._task, self._ticket = engine, ask, task, ticket

    async def reasoning(self) -> AsyncGenerator[str, None]:
        """Think; each better answer in words. Leaving early ends the thinking. Raises ApiError."""
        ask, task, said = self._ask, self._task, ""
        task.meter = self._ticket.meter
        answers = self._engine.answers(task, search=ask.search, seed=ask.seed)
        try:
            async with aclosing(answers):
                async for answer in answers:
                    said += in_words(answer)
                    yield in_words(answer)
            result = told(task)
            if result.failure is not None:
                failed(SearchFailed(result.failure))  # for the log: the client gets the answer that stood
        except SearchFailed as error:
            raise failed(error) from error
        cap = ask.budget.tokens is not None and task.meter.tokens_left < task.policy.max_thought_tokens
        self.outcome = Outcome(result, task.meter.started - ask.arrived, said, cap and result.answer is None)


class Service:
    """Lets requests think.

    Args:
        engine, settings, admission: shared by all.
    """

    def __init__(self, engine: Engine, settings: Settings, admission: Admission, metrics: Metrics) -> None:
        self.engine, self.settings, self.admission, self._metrics = engine, settings, admission, metrics

    @asynccontextmanager
    async def session(self, ask: Ask, key: str) -> AsyncGenerator[Session, None]:
        """Admits a request, which has a place to think while inside. Raises ApiError, REFUSALS, Full, Closed."""
        task = self.pose(ask)
        async with self.enter(key, ask.budget) as ticket:
            yield Session(self.engine, ask, task, ticket)

    @asynccontextmanager
    async def enter(self, key: str, budget: Budget) -> AsyncGenerator[Ticket, None]:
        """A place to think, see Admission; what comes of it is counted."""
        async with self.admission.enter(key, budget) as ticket:
            self._metrics.queued.observe(ticket.queued)
            try:
                yield ticket
            finally:
                self._metrics.thought(ticket.meter)

    def pose(self, ask: Ask) -> Task:
        """Everything that can be refused is, before anybody waits."""
        names = self.engine.domains
        if ask.domain is not None and ask.domain not in names:
            raise ApiError(400, f"there is no domain {ask.domain!r}; allowed: {', '.join(names)}", param="domain",
                           code="invalid_value")
        self.engine.searcher(ask.search)
        task = self.engine.pose(ask.problem, ask.domain)
        fits(ask.budget, task.policy)
        return task


def in_words(answer: Answer) -> str:
    """An answer with the line of thought that led to it."""
    sure = "verified" if answer.verified else f"confidence {answer.confidence:.2f}"
    if not answer.verified and answer.confidence == 0.0:
        sure = "wrong"
    line = "".join(f"  {thought}\n" for thought in answer.thoughts)
    return f"{answer.text} ({sure}, after {answer.seconds:.2f} s)\n{line}"
