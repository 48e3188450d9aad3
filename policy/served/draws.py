"""Thoughts from independent samples: what a policy is that can only be asked for another sample.

Nothing here knows where the samples come from: a server (policy/served/policy.py), or a model in this process.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from policy.base import Sampling, Thought
from policy.budget import Meter
from verifiers.base import State, derive_seed

CACHED_STATES = 8192
SEEDS = 2**31 - 2**16  # servers take 31 bits; a state's samples have its seed and those that follow it
EVEN = math.log(0.5)
"""Log-probability [nats] of a single sample whose probability nobody tells: as likely as all others together."""


@dataclass(frozen=True)
class Sample:
    """One line drawn from a model.

    Attributes:
        text: without its newline; untrusted.
        tokens: that it took, its end included.
        logprob: natural log of its probability at temperature 1; None where that is not told.
        complete, last: see Thought.
        prompt_tokens: its share of those that the server read for the request that brought it.
    """

    text: str
    tokens: int
    logprob: float | None = None
    complete: bool = True
    last: bool = False
    prompt_tokens: int = 0


class Source(Protocol):
    """Something that can be asked for samples."""

    async def draw(self, state: State, n: int, seed: int | None, temperature: float, meter: Meter) -> Sequence[Sample]:
        """n independent samples of the line after a state; fewer only if there is no room for another line.

        Args:
            seed: of the first; the i-th has seed + i, whether asked for alone or among others. None: the likeliest.
        """
        ...


class Draws:
    """The sampling of a Policy, over a source of independent samples.

    DISTINCT thoughts are the distinct ones among samples at temperature 1, in the order in which they first came. A
    repeat is dropped but not free: what it took is charged to the next new thought, as far as that may be charged, and
    the rest to those after it. After `patience` repeats in a row the state's support counts as exhausted; what those
    took is charged to blank, dead thoughts at its end.

    Where a source tells no probabilities, GREEDY and INDEPENDENT thoughts have 1/2 each. Of DISTINCT ones the thought
    first met in the n-th sample has 1/(n + 1), as of a Dirichlet process of concentration 1 (Blackwell and MacQueen
    1973), but at most half of what those before it left: their sum stays below 1, and repeats make what is new
    unlikely.

    Args:
        source: of the samples.
        max_thought_tokens: no thought is charged more.
        patience: repeats in a row after which a state's support is exhausted.
        temperature: of INDEPENDENT samples.
    """

    def __init__(self, source: Source, max_thought_tokens: int, patience: int, temperature: float) -> None:
        self._source, self._most, self._patience, self._temperature = source, max_thought_tokens, patience, temperature
        self._sequences: OrderedDict[tuple[int, str, tuple[str, ...]], _Distinct] = OrderedDict()

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        """See Policy.propose; from one event loop only."""
        if sampling is Sampling.GREEDY:
            k = min(k, 1 - first)
        if k <= 0 or meter.expired:
            return []
        if sampling is Sampling.DISTINCT:
            return await self._distinct(state, first, k, seed, meter)
        greedy = sampling is Sampling.GREEDY
        number = None if greedy else _seed(seed, state, "sample") + first
        samples = await self._source.draw(state, k, number, 0.0 if greedy else self._temperature, meter)
        meter.read(sum(sample.prompt_tokens for sample in samples))
        return [self._thought(sample, sample.tokens, EVEN) for sample in samples]

    def forget(self) -> None:
        """The source is another one now."""
        self._sequences.clear()

    async def _distinct(self, state: State, first: int, k: int, seed: int, meter: Meter) -> list[Thought]:
        sequence = self._sequence(state, seed)
        async with sequence.lock:
            while not sequence.ended and (missing := first + k - len(sequence.thoughts)) > 0:
                number = sequence.seed + sequence.draws
                samples = await self._source.draw(state, missing, number, 1.0, meter)
                if not samples:
                    break
                for sample in samples:
                    self._add(sequence, sample)
                    if sequence.repeats >= self._patience:  # whoever asked for more at once sees the same end
                        self._end(sequence)
                        break
            meter.read(sum(sequence.prompts[first : first + k]))
            return sequence.thoughts[first : first + k]

    def _add(self, sequence: _Distinct, sample: Sample) -> None:
        sequence.draws += 1
        sequence.owed += sample.tokens
        sequence.unread += sample.prompt_tokens
        if (sample.text, sample.last) in sequence.known:
            sequence.repeats += 1
            return
        sequence.known.add((sample.text, sample.last))
        sequence.repeats = 0
        prior = min(1 / (sequence.draws + 1), sequence.left / 2)
        sequence.left -= prior
        charged = min(sequence.owed, self._most)
        sequence.owed -= charged
        sequence.give(self._thought(sample, charged, math.log(prior)))

    def _end(self, sequence: _Distinct) -> None:
        sequence.ended = True
        while sequence.owed > 0:
            charged = min(sequence.owed, self._most)
            sequence.owed -= charged
            sequence.give(Thought("", math.log(max(sequence.left, 1e-9)), charged, complete=False))

    def _thought(self, sample: Sample, charged: int, otherwise: float) -> Thought:
        logprob = otherwise if sample.logprob is None else sample.logprob
        return Thought(sample.text, logprob, min(charged, self._most), complete=sample.complete, last=sample.last)

    def _sequence(self, state: State, seed: int) -> _Distinct:
        key = (seed, state.problem.prompt, state.thoughts)
        sequence = self._sequences.pop(key, None) or _Distinct(_seed(seed, state, "distinct"))
        self._sequences[key] = sequence
        if len(self._sequences) > CACHED_STATES:
            self._sequences.popitem(last=False)
        return sequence


class _Distinct:
    """The distinct thoughts of one state under one seed, as far as they were drawn.

    Attributes:
        seed: of the first sample.
        thoughts: in the order of their first coming; prompts: prompt tokens that each took, those of repeats included.
        draws: samples so far; repeats: how many of the last ones brought nothing new.
        owed: tokens drawn and not charged yet; unread: likewise of prompts.
        left: probability that the thoughts so far left for others.
        ended: nothing more will come.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.lock = asyncio.Lock()
        self.thoughts: list[Thought] = []
        self.prompts: list[int] = []
        self.known: set[tuple[str, bool]] = set()
        self.draws = self.repeats = self.owed = self.unread = 0
        self.left = 1.0
        self.ended = False

    def give(self, thought: Thought) -> None:
        self.thoughts.append(thought)
        self.prompts.append(self.unread)
        self.unread = 0


def _seed(seed: int, state: State, kind: str) -> int:
    return derive_seed(seed, state.problem.prompt, *state.thoughts, kind) % SEEDS
