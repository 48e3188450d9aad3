"""What all arms do: go on from many leaves that share a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from policy.budget import Budget, Meter
from verifiers.base import Problem, State

LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz0123456789 +-*/="))


@dataclass(frozen=True)
class Work:
    """Leaves to go on from, one thought each.

    Attributes:
        leaves: states of one problem.
        live: how many of them are decoded at once.
        longest: most tokens of a thought.
    """

    leaves: Sequence[State]
    live: int
    longest: int = 40


@dataclass(frozen=True)
class Done:
    """What an arm did: tokens drawn, thoughts they make up, and the time it took [s]."""

    tokens: int
    thoughts: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


def text(length: int, rng: np.random.Generator) -> str:
    """Of so many characters, which are tokens of the models here; neither its first nor its last one is blank."""
    letters = rng.choice(LETTERS, length)
    letters[[0, -1]] = "x"
    return "".join(letters)


def leaves(count: int, prefix: int, own: tuple[int, int], rng: np.random.Generator) -> list[State]:
    """States that share a prompt of `prefix` tokens and have a line of their own.

    Args:
        count: of states.
        prefix: tokens of the prompt, with those that begin and end it.
        own: least and most tokens of the line, its end included; (0, 0) for none.
    """
    problem = Problem(f"{rng.integers(2**62)}", "none", text(prefix - 2, rng), {})
    lengths = rng.integers(own[0], own[1], count, endpoint=True)
    return [State(problem, (text(int(length) - 1, rng),) if length else ()) for length in lengths]


def as_text(state: State) -> str:
    return "".join(f"{line}\n" for line in (state.problem.prompt, *state.thoughts))


def unlimited() -> Meter:
    return Budget(tokens=10**9).start()
