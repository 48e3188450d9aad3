"""A whole domain in one file: pay an amount with an exact number of coins, as in `pay 63 with 25 10 5 1 in 6 coins`.

A line of thought names one coin after another, and what is left to pay: `25, 38 left`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from verifiers.base import (
    BadProblem,
    Evidence,
    Judge,
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

_PROMPT = re.compile(r"pay (\d{1,4}) with ((?:\d{1,3} )+)in (\d{1,2}) coins", re.ASCII)
_STEP = re.compile(r"(\d{1,3}), (\d{1,4}) left", re.ASCII)
_KINDS = (1, 2, 5, 10, 20, 25, 50)


class Change:
    """See the module.

    Args:
        name: of the domain.
        most: coins of a generated problem, at most.
    """

    def __init__(self, name: str = "change", most: int = 8) -> None:
        self.name, self._most = name, most

    def parse(self, text: str) -> Problem | None:
        match = _PROMPT.fullmatch(text.strip())
        if match is None:
            return None
        coins = sorted({int(coin) for coin in match[2].split()}, reverse=True)
        if not coins[-1] or not int(match[3]):
            raise BadProblem(f"{self.name}: nothing can be paid with no coins; allowed: coins of 1 or more")
        return self._pose(int(match[1]), coins, int(match[3]))

    def problems(self, split: str, seed: int) -> Iterator[Problem]:
        if split not in ("train", "validation", "test"):
            raise BadProblem(f"{self.name} has no split {split[:40]!r}; it has: train, validation, test")
        rng, seen = np.random.default_rng(derive_seed(self.name, split, seed)), set()
        while True:
            problem, _ = self._draw(rng)
            if problem.id not in seen and split_of(problem.id) == split:  # by content: no problem is in two splits
                seen.add(problem.id)
                yield problem

    def random_thought(self, state: State, rng: np.random.Generator) -> str | None:
        paid = _paid(state.problem, state.thoughts)
        if paid is None or len(paid) == state.problem.facts["count"]:
            return None
        left = state.problem.facts["amount"] - sum(paid)
        coins = [coin for coin in state.problem.facts["coins"] if coin <= left]
        return f"{(coin := int(rng.choice(coins)))}, {left - coin} left" if coins else None

    def demonstrate(self, rng: np.random.Generator) -> tuple[Problem, Sequence[str]]:
        while True:
            problem, coins = self._draw(rng)
            if split_of(problem.id) == "train":
                left = [problem.facts["amount"] - sum(coins[: i + 1]) for i in range(len(coins))]
                return problem, [f"{coin}, {rest} left" for coin, rest in zip(coins, left, strict=True)]

    def check(self, problem: Problem, answer: str) -> Verdict:
        if not re.fullmatch(r"\d{1,3}( \d{1,3})*", answer, re.ASCII):
            return unparsable("an answer is coins with blanks between them")
        coins = [int(coin) for coin in answer.split()]
        if not set(coins) <= set(problem.facts["coins"]) or len(coins) != problem.facts["count"]:
            return wrong("other coins, or another number of them")
        if sum(coins) != problem.facts["amount"]:
            return wrong(f"that is {sum(coins)}")
        return correct(Evidence.PROVED)

    def judge(self) -> Judge:
        return ChangeJudge(self)

    def _draw(self, rng: np.random.Generator) -> tuple[Problem, list[int]]:
        """A problem that can be solved, because it is made from coins: they come with it, the largest first."""
        kinds = [int(kind) for kind in rng.choice(_KINDS, size=4, replace=False)]
        coins = sorted((int(coin) for coin in rng.choice(kinds, size=rng.integers(3, self._most + 1))), reverse=True)
        return self._pose(sum(coins), sorted(kinds, reverse=True), len(coins)), coins

    def _pose(self, amount: int, coins: list[int], count: int) -> Problem:
        prompt = f"pay {amount} with {' '.join(map(str, coins))} in {count} coins"
        return Problem(content_id(f"change:{prompt}"), self.name, prompt,
                       {"amount": amount, "coins": coins, "count": count})


class ChangeJudge:
    """What a search may ask. A proof needs no reference here: the coins are counted."""

    def __init__(self, domain: Change) -> None:
        self._domain = domain

    async def answer(self, state: State) -> str | None:
        paid = _paid(state.problem, state.thoughts)
        finished = paid is not None and len(paid) == state.problem.facts["count"]
        return " ".join(map(str, paid)) if paid and finished else None

    async def check_thought(self, state: State, thought: str) -> Verdict:
        paid = _paid(state.problem, (*state.thoughts, thought))
        return wrong("no legal step") if paid is None else correct()

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        return self._domain.check(problem, answer)


def _paid(problem: Problem, thoughts: Sequence[str]) -> list[int] | None:
    """The coins of a line of thought; None if a step is not legal. The text is a model's: it is read, never run."""
    paid: list[int] = []
    for thought in thoughts:
        match = _STEP.fullmatch(thought)
        if match is None or int(match[1]) not in problem.facts["coins"] or len(paid) == problem.facts["count"]:
            return None
        paid.append(int(match[1]))
        if int(match[2]) != problem.facts["amount"] - sum(paid) or sum(paid) > problem.facts["amount"]:
            return None
    return paid
