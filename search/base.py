"""What a searcher is, and what it gives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from policy.base import Policy
from policy.budget import Meter
from verifiers.base import Judge, Problem


@dataclass(frozen=True)
class Answer:
    """One answer of an anytime search; the latest yielded stands.

    Attributes:
        text: the answer; untrusted.
        confidence: the searcher's P(correct), in [0, 1]; 1 when verified. May fall as the search learns more.
        verified: proved by the judge's self-check, without the reference.
        seconds, tokens, simulations: what had been spent when it was given.
        thoughts: the line of thought that led to it.
        prompt_tokens: that servers had read by then; see Meter.
    """

    text: str
    confidence: float
    verified: bool
    seconds: float
    tokens: int
    simulations: int
    thoughts: tuple[str, ...]
    prompt_tokens: int = 0


@runtime_checkable
class Searcher(Protocol):
    """A search algorithm: plain sequential async code; the policy's decoder does the batching."""

    def search(
        self, problem: Problem, policy: Policy, judge: Judge, meter: Meter, seed: int
    ) -> AsyncIterator[Answer]:
        """Think about a sealed problem until the meter is out or an answer is verified, yielding better answers.

        The first answer comes from one greedy pass; a verified answer is never replaced by an unverified one.
        """
        ...
