"""The types every floor speaks: problems, lines of thought, verdicts, domains and judges."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Protocol, runtime_checkable

import numpy as np


class BadProblem(ValueError):
    """A text that a domain recognises but that cannot be posed, with one line that says what is allowed."""


class Status(str, Enum):
    """What came of a check. The five are counted apart: a timeout is not a wrong answer."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSABLE = "unparsable"
    TIMEOUT = "timeout"
    ERROR = "error"


class Evidence(str, Enum):
    """What a positive verdict rests on. Only PROVED makes an answer verified."""

    PROVED = "proved"
    PUBLIC_TESTS = "public_tests"
    NONE = "none"


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        id: hash of the canonical content; equal problems in other words (or another domain) share it.
        domain: name of the domain that posed it.
        prompt: what a policy reads, without its last newline; one line, but for questions and code put to general
            language models.
        facts: what a judge needs, JSON-able and read-only; never anything derived from the reference.
        reference: what grading compares with; None once sealed, or where the check needs none.
        fault: why it cannot be posed, such as a row of a data set without its field; empty for all others. Nobody
            thinks about such a problem, and it is graded `error`.
    """

    id: str
    domain: str
    prompt: str
    facts: Mapping[str, Any] = field(compare=False, hash=False)
    reference: str | None = field(default=None, repr=False)
    fault: str = field(default="", compare=False)

    def sealed(self) -> Problem:
        """The copy that search may see: the reference is gone."""
        return replace(self, reference=None)


@dataclass(frozen=True)
class State:
    """A line of thought so far.

    Attributes:
        problem: what it is about.
        thoughts: their texts, oldest first.
        ended: whoever thinks has said that there is nothing to follow, as language models do by a special token. What
            counts as finished anyway need not wait for it.
    """

    problem: Problem
    thoughts: tuple[str, ...] = ()
    ended: bool = False

    def then(self, thought: str, ended: bool = False) -> State:
        """The state one thought later."""
        return State(self.problem, (*self.thoughts, thought), ended)


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check.

    Attributes:
        status: see Status.
        reward: in [0, 1]; 1 only for CORRECT.
        evidence: see Evidence.
        detail: one line for people; may quote untrusted text, so never markup. What no file can hold (a lone surrogate)
            is escaped.
    """

    status: Status
    reward: float = 0.0
    evidence: Evidence = Evidence.NONE
    detail: str = ""

    def __post_init__(self) -> None:
        told = self.detail.encode("utf-8", "backslashreplace").decode("utf-8")
        object.__setattr__(self, "detail", told)

    @property
    def ok(self) -> bool:
        return self.status is Status.CORRECT


@dataclass(frozen=True)
class Completion:
    """What a tool makes of a thought.

    Attributes:
        kept: how many of the thought's characters stand.
        written: what the tool writes after them.
    """

    kept: int
    written: str


def correct(evidence: Evidence = Evidence.NONE, detail: str = "") -> Verdict:
    return Verdict(Status.CORRECT, 1.0, evidence, detail)


def wrong(detail: str, evidence: Evidence = Evidence.NONE) -> Verdict:
    return Verdict(Status.WRONG, 0.0, evidence, detail)


def unparsable(detail: str) -> Verdict:
    return Verdict(Status.UNPARSABLE, 0.0, Evidence.NONE, detail)


@runtime_checkable
class Judge(Protocol):
    """What a searcher may ask. Holds no reference and no generator."""

    async def answer(self, state: State) -> str | None:
        """The final answer if this line of thought is finished, else None."""
        ...

    async def check_thought(self, state: State, thought: str) -> Verdict:
        """Is this one step legal? Never tells whether it leads anywhere."""
        ...

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        """Test an answer without the reference; None where that would be solving the problem."""
        ...


@runtime_checkable
class Canonical(Protocol):
    """What a judge offers besides where one answer has many spellings, so that votes for it are not split."""

    def canonical(self, answer: str) -> str:
        """A text shared by answers that are the same for certain: an equivalence. Cheap, for any text."""
        ...


@runtime_checkable
class Domain(Protocol):
    """A family of verifiable problems. Everything random comes from the generator or seed handed in."""

    name: str

    def parse(self, text: str) -> Problem | None:
        """Read a problem a person typed. None: not of this domain. Raises BadProblem: of it, but impossible."""
        ...

    def problems(self, split: str, seed: int) -> Iterator[Problem]:
        """Distinct problems of a split ('train', 'validation', 'test' or a named set), with references.

        Raises BadProblem for an unknown split, naming those that exist.
        """
        ...

    def random_thought(self, state: State, rng: np.random.Generator) -> str | None:
        """One random legal step; None if the state has none (finished or stuck)."""
        ...

    def demonstrate(self, rng: np.random.Generator) -> tuple[Problem, Sequence[str]]:
        """A training problem and human-like thoughts that solve it. Never of a held-out split."""
        ...

    def check(self, problem: Problem, answer: str) -> Verdict:
        """Grade with the reference: training and evaluation only."""
        ...

    def judge(self) -> Judge: ...


def content_id(canonical: str) -> str:
    """The problem id of a canonical content string: 16 hex digits."""
    return hashlib.blake2b(canonical.encode(), digest_size=8).hexdigest()


def split_of(problem_id: str) -> str:
    """The split a problem belongs to, by its content alone: 80 % train, 10 % validation, 10 % test."""
    bucket = int(hashlib.blake2b(f"split:{problem_id}".encode(), digest_size=4).hexdigest(), 16) % 100
    return "train" if bucket < 80 else "validation" if bucket < 90 else "test"


def derive_seed(*parts: object) -> int:
    """A 63-bit seed hashed from (run, split, index, ...): neighbours share nothing, unlike seed + 1."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
