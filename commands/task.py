"""A problem that somebody asked for, the thinking about it, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from commands.compose import Guesser, pose
from commands.errors import BadInput, one_line, shorten
from commands.think import Attempt, Observed, attempt
from policy.budget import Meter
from search.base import Searcher
from search.thinking import Thinking
from verifiers.base import Domain, Judge, Problem, derive_seed


@dataclass
class Task:
    """See the module."""

    text: str
    domain_name: str
    guessed: bool
    domain: Domain
    problem: Problem
    judge: Judge = field(init=False)
    policy: Observed = field(init=False)
    meter: Meter = field(init=False)
    record: Attempt = field(default_factory=Attempt)
    refutation: str | None = None
    """Why the last answer is known to be wrong, without any reference; None if nothing says so."""

    def __post_init__(self) -> None:
        self.judge = self.domain.judge()

    async def run(
        self, searcher: Searcher, seed: int, on_thinking: Callable[[Thinking], None] | None = None
    ) -> None:
        """Think about it with its policy until its meter is out; see `attempt`."""
        own = derive_seed(seed, self.problem.id)
        await attempt(self.problem, self.policy, self.judge, searcher, self.meter, own, self.record, on_thinking)
        await self.refute()

    async def refute(self) -> None:
        """Ask the judge why an unverified answer is wrong: an answer known to be wrong is none."""
        final = self.record.final
        if final is not None and not final.verified and final.confidence == 0.0:
            verdict = await self.judge.self_check(self.problem.sealed(), final.text)
            self.refutation = None if verdict is None or verdict.ok else verdict.detail


class Poser:
    """Reads what somebody typed into tasks.

    Args:
        guesser: finds domains where none is named.
        given: the name and the domain of all problems that name none themselves; None: it is guessed.
    """

    def __init__(self, guesser: Guesser, given: tuple[str, Domain] | None = None) -> None:
        self.guesser, self.given = guesser, given

    def task(self, text: str, name: str | None = None) -> Task:
        """Of the domain of that name, if any. Raises BadInput or BadProblem, with one line."""
        if not isinstance(text, str):
            raise BadInput(f"a problem must be a text, not {shorten(str(text))}")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise BadInput("the problem is not valid Unicode text")
        if not text.strip():
            raise BadInput(f"the problem is empty; {self.guesser.all_reads}")
        if name is not None:
            domain = self.guesser.domain(name)
        elif self.given is not None:
            name, domain = self.given
        else:
            name, domain, problem = self.guesser.guess(text)
            return Task(text, name, True, domain, problem)
        return Task(text, name, False, domain, pose(text, name, domain, self.guesser.reads(name)))


def as_object(task: Task) -> dict[str, Any]:
    """The JSON form. An answer known to be wrong is no answer."""
    final, record = task.record.final, task.record
    stands = final is not None and task.refutation is None
    return {
        "problem": task.text,
        "domain": task.domain_name,
        "answer": final.text if final is not None and stands else None,
        "verified": final is not None and final.verified,
        "confidence": final.confidence if final is not None and stands else 0.0,
        "seconds": round(record.seconds, 6),
        "tokens": record.tokens,
        "simulations": record.simulations,
        "thoughts": list(final.thoughts) if final is not None else [],
        "policy": task.policy.version,
        "failure": None if record.error is None else one_line(record.error),
    }
