"""A deterministic fake policy for tests: it says what its script says."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from policy.base import Sampling, Thought
from policy.budget import Meter
from verifiers.base import State, derive_seed

Line = tuple[str, float, float | None]
"""Text, log-probability [nats], value."""


@dataclass(frozen=True)
class Call:
    """One recorded request."""

    state: State
    k: int
    sampling: Sampling
    seed: int
    first: int


class Scripted:
    """Proposes the thoughts a script names for each line of thought, in the script's order.

    GREEDY is the likeliest entry, DISTINCT walks the entries once, INDEPENDENT picks any.
    A text that ends in the escape character '\\x1b' is proposed without it, as cut off; one that ends in
    '\\x04' without that, as the last.

    Args:
        script: thoughts so far -> what may come next; a line it does not name has no next thought.
        max_thought_tokens: the bound it promises (texts must be shorter).
        tick: called at each token, e.g. to advance a fake clock; `meter.expired` is checked before it.
        pauses: how often a request lets other tasks run before it answers, by (state, first); for shuffling the
            order in which concurrent requests finish.
    """

    version = "scripted"

    def __init__(
        self,
        script: Mapping[tuple[str, ...], Sequence[Line]],
        max_thought_tokens: int = 16,
        tick: Callable[[], None] | None = None,
        pauses: Callable[[State, int], int] | None = None,
    ) -> None:
        self.max_thought_tokens = max_thought_tokens
        self.calls: list[Call] = []
        self._script = script
        self._tick = tick
        self._pauses = pauses

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        """See Policy; the seed matters to INDEPENDENT only."""
        self.calls.append(Call(state, k, sampling, seed, first))
        for _ in range(1 + (self._pauses(state, first) if self._pauses else 0)):
            await asyncio.sleep(0)
        thoughts: list[Thought] = []
        for line in self._chosen(state, k, sampling, seed, first):
            thought = _thought(line)
            for _ in range(thought.tokens):
                if meter.expired:
                    return thoughts
                if self._tick is not None:
                    self._tick()
            thoughts.append(thought)
        return thoughts

    def _chosen(self, state: State, k: int, sampling: Sampling, seed: int, first: int) -> Sequence[Line]:
        lines = self._script.get(state.thoughts, ())
        if not lines:
            return ()
        if sampling is Sampling.GREEDY:
            return (max(lines, key=lambda line: line[1]),)
        if sampling is Sampling.DISTINCT:
            return lines[first : first + k]
        picks = (derive_seed(seed, *state.thoughts, index) for index in range(first, first + k))
        return [lines[pick % len(lines)] for pick in picks]


def _thought(line: Line) -> Thought:
    text, logprob, value = line
    thought = Thought(text.rstrip("\x1b\x04"), min(logprob, 0.0), len(text) + 1, value, last=text.endswith("\x04"))
    return replace(thought, complete=False) if text.endswith("\x1b") else thought


def evenly(*texts: str, value: float | None = None) -> list[Line]:
    """Equally likely script entries."""
    return [(text, -math.log(len(texts)), value) for text in texts]
