"""A tiny domain, policy and searchers for the tests of the commands: guess a number by counting up."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from policy.base import BadPolicy, Policy, Sampling, Thought
from policy.budget import Meter
from search.base import Answer
from verifiers.base import (
    BadProblem,
    Evidence,
    Judge,
    Problem,
    State,
    Verdict,
    content_id,
    correct,
    unparsable,
    wrong,
)


class Guess:
    """`guess N`: the answer is N. Finished after one thought; `proves`: the judge can tell. 666 cannot be posed."""

    def __init__(self, name: str = "guess", proves: bool = True) -> None:
        self.name = name
        self.proves = proves

    def parse(self, text: str) -> Problem | None:
        words = text.split()
        if len(words) != 2 or words[0] != "guess":
            return None
        if words[1] == "666":
            raise BadProblem("guess: 666 cannot be guessed; allowed: any other number")
        return self._pose(words[1])

    def problems(self, split: str, seed: int) -> Iterator[Problem]:
        if split == "twenty":
            return (self._pose(str(i)) for i in range(20))
        if split == "test":
            return (self._pose(str(seed + i)) for i in itertools.count())
        raise BadProblem(f"guess has no split {split!r}; it has: test, twenty")

    def random_thought(self, state: State, rng: np.random.Generator) -> str | None:
        return None if state.thoughts else str(rng.integers(1000))

    def demonstrate(self, rng: np.random.Generator) -> tuple[Problem, Sequence[str]]:
        return self._pose("1"), ["1"]

    def check(self, problem: Problem, answer: str) -> Verdict:
        if answer == "13":
            return unparsable("unlucky")
        return correct() if answer == problem.reference else wrong("another number")

    def judge(self) -> Judge:
        return GuessJudge(self.proves)

    def _pose(self, number: str) -> Problem:
        facts = {"number": number} if self.proves else {}
        return Problem(content_id(f"guess:{number}"), self.name, f"guess {number}", facts, number)


class Training(Guess):
    """Has the splits that self-play asks for, and a verifier that is broken in one way or the other."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self._fails = fails

    def problems(self, split: str, seed: int) -> Iterator[Problem]:
        return super().problems("twenty", seed)

    def check(self, problem: Problem, answer: str) -> Verdict:
        if self._fails:
            raise RuntimeError("the grader is gone")
        return correct()


class GuessJudge:
    def __init__(self, proves: bool) -> None:
        self.proves = proves

    async def answer(self, state: State) -> str | None:
        return state.thoughts[-1] if state.thoughts else None

    async def check_thought(self, state: State, thought: str) -> Verdict:
        return correct()

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        if not self.proves:
            return None
        return correct(Evidence.PROVED) if answer == problem.facts["number"] else wrong("not the number")


class Anything(Guess):
    """Poses every text whatever."""

    def parse(self, text: str) -> Problem | None:
        return Problem(content_id(text), self.name, text, {"number": "2"}, "2")


class Counting:
    """Proposes 0, 1, 2, ..., each a thought of two tokens."""

    version = "counting-1"
    max_thought_tokens = 2

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        return [Thought(str(i), -1.0, 2) for i in range(first, first + k)]


class Worn(Counting):
    """Wears an adapter, and can name another one.

    Attributes:
        made: the adapters of all that were made.
    """

    made: ClassVar[list[str | None]] = []

    def __init__(self, adapter: str | None = None) -> None:
        self.version = self.named(adapter)
        self.made.append(adapter)

    def named(self, adapter: str | None) -> str:
        if adapter == "nowhere":
            raise BadPolicy("there is no adapter folder 'nowhere'")
        return f"worn-{adapter}"


def missing(path: str) -> Policy:
    raise BadPolicy(f"there is no policy in {path}; make one with: pretrain")


class Sweep:
    """Guesses 0, then 1, 2, ... until one is proved; every guess is an answer.

    Args:
        pause: seconds between guesses.
        last: no guess beyond this one.
        fails_at: raises at this guess.
        deaf: sleeps for this long after the first guess, whatever the meter says.
    """

    def __init__(self, pause: float = 0.0, last: int = 10**9, fails_at: int = -1, deaf: float = 0.0) -> None:
        if last < 0:
            raise ValueError("last must be at least 0")
        self.pause, self.last, self.fails_at, self.deaf = pause, last, fails_at, deaf

    async def search(
        self, problem: Problem, policy: Policy, judge: Judge, meter: Meter, seed: int
    ) -> AsyncIterator[Answer]:
        assert problem.reference is None
        for number in range(self.last + 1):
            if number == self.fails_at:
                raise RuntimeError("out of fingers")
            if meter.exhausted or not meter.reserve(2):
                return
            sampling = Sampling.DISTINCT if number else Sampling.GREEDY
            [thought] = await policy.propose(State(problem), 1, sampling=sampling, seed=seed, meter=meter, first=number)
            meter.settle(2, thought.tokens)
            meter.count_simulation()
            verdict = await judge.self_check(problem, thought.text)
            proved = verdict is not None and verdict.ok
            confidence = 1.0 if proved else 0.5 if verdict is None else 0.0
            yield Answer(
                thought.text, confidence, proved, meter.seconds, meter.tokens, meter.simulations, (thought.text,)
            )
            if proved:
                return
            await asyncio.sleep(self.deaf or self.pause)


def interrupting(folder: str, run_id: str) -> None:
    """Ctrl-C, where a tracker is made."""
    raise KeyboardInterrupt


def failing(folder: str, run_id: str) -> None:
    raise OSError(28, "no room for a tracker")


CONF = str(Path(__file__).parent / "conf")


class Telling:
    """Works everything out as 17*24 with a calculator, and says the result."""

    version = "telling"
    max_thought_tokens = 40

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        called = next((line.partition(">>")[2] for line in state.thoughts if ">>" in line), None)
        text = "17*24=<<17*24=" if not state.thoughts else f"#### {called}"
        return [Thought(text, -1.0, len(text) + 1)][: k if first == 0 else 0]
