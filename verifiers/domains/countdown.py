"""Countdown: reach a target from given numbers with + - * /, each number used exactly once. Game of 24 is one setting.

A thought takes two of the numbers left and writes the result and what is left then, ascending:

    4 9 10 13 -> 24          the prompt
    13-9=4, 4 4 10           one thought a line
    10-4=6, 4 6
    4*6=24                   the last one leaves nothing

Values are exact rationals; negative numbers and fractions stand in parentheses: `(-3)`, `(8/3)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

from verifiers.algebra.expression import BadExpression, evaluate, leaves, parse_expression
from verifiers.algebra.expression import Number as Literal
from verifiers.base import (
    BadProblem,
    Evidence,
    Problem,
    State,
    Verdict,
    content_id,
    correct,
    derive_seed,
    split_of,
    unparsable,
    wrong,
)
from verifiers.domains.countdown_steps import (
    MAX_THOUGHT_CHARS,
    STEP,
    Number,
    apply,
    compose,
    left,
    random_step,
    read,
    write,
)
from verifiers.domains.splits import SPLITS, distinct, require_split

MAX_NUMBERS = 10
MAX_DIGITS = 6
EXHAUSTED = 5000  # draws in a row without a new problem after which a split is taken to have no further problem
HOPELESS = 100_000  # ways to combine random numbers after which no target in range is taken to be within reach
STUBBORN = 100  # random steps too long to be written after which none is proposed
_TARGET = r"(-?\d+(?:/\d+)?)"
_PROBLEM = re.compile(
    rf"(?:numbers:?\s*)?((?:\d+[\s,;]+)*\d+)\s*(?:(?:->|=>|=|to make|target:?|,\s*target:?)\s*{_TARGET})?\s*[.?]?",
    re.ASCII | re.IGNORECASE,
)
_MAKE = re.compile(rf"make {_TARGET} (?:from|with|using|out of) ((?:\d+(?:[\s,;]+|,? and ))*\d+)\s*[.?]?",
                   re.ASCII | re.IGNORECASE)


class Countdown:
    """A family of countdown problems.

    Args:
        name: the domain's name.
        counts: how many numbers a generated problem has; each count is equally likely.
        low, high: range of the numbers drawn, inclusive.
        target_low, target_high: range of generated targets, inclusive.
        target: a fixed target (24 for Game of 24); a typed problem may then leave it out.
        named_splits: further splits by name, each the name of a file of puzzles in verifiers/domains/data.
    """

    def __init__(
        self, name: str, counts: Sequence[int], low: int, high: int, target_low: int, target_high: int,
        target: int | None = None, named_splits: Sequence[str] = (),
    ) -> None:
        if not all(2 <= count <= MAX_NUMBERS for count in counts) or not 0 < low <= high:
            raise ValueError(f"countdown needs counts in 2..{MAX_NUMBERS} and 0 < low <= high")
        self.name = name
        self.counts = tuple(counts)
        self.low, self.high = low, high
        self.target = target
        self.target_low, self.target_high = (target_low, target_high) if target is None else (target, target)
        self.named_splits = tuple(named_splits)

    def parse(self, text: str) -> Problem | None:
        """Read `4 9 10 13 -> 24`, `1,2,3 = -4`, `make 5/2 from 4 9 10 13`, or bare numbers with a fixed target."""
        if len(text) > 1000:
            return None
        if match := _MAKE.fullmatch(text.strip()):
            target_text, numbers_text = match[1], match[2]
        elif match := _PROBLEM.fullmatch(text.strip()):
            numbers_text, target_text = match[1], match[2]
        else:
            return None
        words = re.findall(r"\d+", numbers_text)
        if len(words) == 1 and target_text is None:
            return None
        if target_text is None and self.target is None:
            raise BadProblem(f"{self.name} needs a target, for example '4 9 10 13 -> 24'")
        parts = re.findall(r"\d+", target_text or "")
        if not 2 <= len(words) <= MAX_NUMBERS or any(len(word) > MAX_DIGITS for word in (*words, *parts)):
            raise BadProblem(f"{self.name} takes 2 to {MAX_NUMBERS} numbers of at most {MAX_DIGITS} digits")
        if unclear := [word for word in words if word != "0" and word.startswith("0")]:
            raise BadProblem(f"{self.name} cannot tell what {unclear[0]!r} is part of; numbers are plain, such as 1000")
        if len(parts) == 2 and not int(parts[1]):
            raise BadProblem(f"the target {target_text} divides by zero")
        target = self.target if target_text is None else Fraction(target_text)
        assert target is not None
        if self.target is not None and target != self.target:
            return None
        return self._pose([int(word) for word in words], target)

    def problems(self, split: str, seed: int) -> Iterator[Problem]:
        """Distinct problems with reachable targets: numbers and steps are drawn, and their result is the target.

        A generated split ends when many draws in a row bring nothing new: there are only so many 24 puzzles.
        """
        if split in self.named_splits:
            return iter([self._pose(numbers, self.target or target) for numbers, target in _read_puzzles(split)])
        require_split(split, self.name, (*SPLITS, *self.named_splits))
        return distinct(lambda rng: self._hindsight(rng)[0], split, derive_seed(seed, "countdown", self.name, split),
                        belongs=_split, patience=EXHAUSTED)

    def split(self, problem: Problem) -> str:
        """The split of any problem of countdown, by its content: `tot100` for the paper's puzzles in every setting."""
        return _split(problem.id)

    def demonstrate(self, rng: np.random.Generator) -> tuple[Problem, Sequence[str]]:
        """Random legal steps whose result names the target (hindsight): human-like, not a solver's output."""
        while True:
            problem, thoughts = self._hindsight(rng)
            if _split(problem.id) == "train":
                return problem, thoughts

    def random_thought(self, state: State, rng: np.random.Generator) -> str | None:
        numbers = left(state)
        if numbers is None or len(numbers) < 2:
            return None
        for _ in range(STUBBORN):
            thought = write(*random_step(numbers, rng.random))
            if len(thought) <= MAX_THOUGHT_CHARS and STEP.fullmatch(thought):
                return thought
        return None  # whatever is done, the result is too long to write

    def check(self, problem: Problem, answer: str) -> Verdict:
        """Exact and self-contained: the reference, one of many solutions, is not consulted."""
        return verify(problem, answer)

    def judge(self) -> CountdownJudge:
        return CountdownJudge()

    def _hindsight(self, rng: np.random.Generator) -> tuple[Problem, list[str]]:
        """Draw numbers, combine them at random, and pose the result as the target if it is a fitting one."""
        # Draws are buffered: a generator call costs more than the arithmetic between two of them.
        draws = iter(rng.random(4096).tolist())
        for _ in range(HOPELESS):
            try:
                start = [int(self.low + next(draws) * (self.high - self.low + 1)) for _ in range(
                    self.counts[int(next(draws) * len(self.counts))])]
                numbers: list[Number] = sorted(start)
                steps = []
                while len(numbers) > 1:
                    step = random_step(numbers, draws.__next__)
                    numbers = step[4]
                    steps.append(step)
            except StopIteration:
                draws = iter(rng.random(4096).tolist())
                continue
            target = steps[-1][3]
            if isinstance(target, int) and self.target_low <= target <= self.target_high:
                break
        else:
            raise BadProblem(f"{self.name}: no random steps lead to a target from {self.target_low} to "
                             f"{self.target_high}; choose other numbers or targets")
        thoughts = [write(*step[:4], step[4] if index < len(steps) - 1 else []) for index, step in enumerate(steps)]
        problem = self._pose(start, target)
        return Problem(problem.id, problem.domain, problem.prompt, problem.facts,
                       compose(State(problem, tuple(thoughts)))), thoughts

    def _pose(self, numbers: Sequence[int], target: int | Fraction) -> Problem:
        ordered, goal = sorted(numbers), str(target)
        text = f"{' '.join(map(str, ordered))} -> {goal}"
        return Problem(content_id(f"countdown:{text}"), self.name, text, {"numbers": ordered, "target": goal})


class CountdownJudge:
    """Checks steps and whole expressions exactly."""

    async def answer(self, state: State) -> str | None:
        """The expression that a finished line of thoughts spells; its last line where the steps do not fit together."""
        if len(state.thoughts) < len(state.problem.facts["numbers"]) - 1:
            return None
        return compose(state)

    async def check_thought(self, state: State, thought: str) -> Verdict:
        """Two of the numbers left, a right result, and the right numbers left after it."""
        match = STEP.fullmatch(thought) if len(thought) <= MAX_THOUGHT_CHARS else None
        numbers = left(state)
        if match is None:
            return unparsable("a step reads like '13-9=4, 4 4 10'")
        if numbers is None or len(numbers) < 2:
            return wrong("nothing is left to combine")
        parsed = [read(match[i]) for i in (1, 3, 4)]
        rest = [read(word) for word in match[5].split(" ")] if match[5] else []
        if None in parsed or None in rest:
            return unparsable("a number is not written as 7, (-3) or (8/3)")
        a, b, result = (value for value in parsed if value is not None)
        try:
            numbers.remove(a)
            numbers.remove(b)
        except ValueError:
            return wrong("a number is used that is not left")
        if match[2] == "/" and b == 0:
            return wrong("division by zero")
        if apply(a, match[2], b) != result:
            return wrong("the result is not right")
        if rest != (sorted([*numbers, result]) if numbers else []):
            return wrong("the numbers left are not right")
        return correct()

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        return verify(problem, answer)


def verify(problem: Problem, answer: str) -> Verdict:
    """Does the expression use every number exactly once and reach the target? Exact, and no text is evaluated."""
    try:
        tree = parse_expression(answer)
        value = evaluate(tree)
    except BadExpression as error:
        return unparsable(str(error))
    if sorted(leaf.value for leaf in leaves(tree) if isinstance(leaf, Literal)) != problem.facts["numbers"]:
        return wrong("the numbers are not used exactly once each", Evidence.PROVED)
    if value != Fraction(problem.facts["target"]):
        return wrong("the expression does not reach the target", Evidence.PROVED)
    return correct(Evidence.PROVED)


@cache
def _read_puzzles(name: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """The puzzles of a named split, all with target 24."""
    lines = (Path(__file__).parent / "data" / f"{name}.txt").read_text().splitlines()
    return tuple((tuple(map(int, line.split())), 24) for line in lines if line and not line.startswith("#"))


@cache
def _held_out() -> frozenset[str]:
    return frozenset(
        content_id(f"countdown:{' '.join(map(str, sorted(numbers)))} -> {target}")
        for numbers, target in _read_puzzles("tot100")
    )


def _split(problem_id: str) -> str:
    """The split by content, the paper's 100 puzzles kept out of all of them, under every setting of this domain."""
    return "tot100" if problem_id in _held_out() else split_of(problem_id)
