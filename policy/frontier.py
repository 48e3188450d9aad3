"""Thoughts without replacement, one at a time: a lazy best-first form of Gumbel-top-k over whole thoughts.

The leaves of a state's token trie are its possible thoughts. With perturbed log-probabilities that are handed down
from parent to child (`sampling.perturb`), a best-first search meets the leaves in the order of a sample without
replacement, and may be stopped and resumed at any leaf (as A* sampling does, Maddison et al. 2014). Here the walk
from a partial thought down to the leaf that shares its perturbed value is one row of the decoder, and several of
them go on at once; what they find is handed out in order, so that concurrency never shows.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Container
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from policy.base import Thought
from policy.sampling import state_key

MAX_EXPANSIONS = 1 << 15  # kept in all frontiers together, about 1 kB each


@dataclass(slots=True)
class Siblings:
    """Continuations of one partial thought, most perturbed first; `logprob` and `least` are the partial thought's.

    Arrays and not lists: there are tens of thousands, and a garbage collection would look at every number of a list.
    """

    parent: tuple[int, ...]
    tokens: NDArray[np.int64]
    logprobs: NDArray[np.float64]
    perturbed: NDArray[np.float64]
    keys: NDArray[np.uint64]
    logprob: float = 0.0
    least: float = 0.0
    origin: Walker | None = None

    def take(self, rank: int) -> Partial:
        total = self.logprobs.item(rank)
        return Partial(
            (*self.parent, self.tokens.item(rank)), total, self.perturbed.item(rank), self.keys.item(rank),
            min(self.least, total - self.logprob),
            (self, rank + 1) if rank + 1 < len(self.tokens) else None, self.origin,
        )  # fmt: skip


@dataclass(slots=True, eq=False)
class Partial:
    """The beginning of a thought.

    Attributes:
        tokens: its tokens so far.
        logprob: their total log-probability.
        perturbed: the greatest perturbed log-probability of all thoughts that begin so.
        key: its noise key.
        least: the log-probability of its least likely token.
        rest: the siblings that come after it, which enter the frontier when it leaves.
        origin: the walker that passed its parent, whose slot may still hold what they share.
    """

    tokens: tuple[int, ...]
    logprob: float
    perturbed: float
    key: int
    least: float = 0.0
    rest: tuple[Siblings, int] | None = None
    origin: Walker | None = None


class Walker(Protocol):
    """A decoder row that walks from a partial thought to its leaf."""

    partial: Partial
    ended: bool


W = TypeVar("W", bound=Walker)


@dataclass(eq=False)
class Frontier(Generic[W]):
    """The sample sequence of one state under one seed, as far as it has been asked for.

    Attributes:
        emitted: thoughts in their final order.
        walking: rows on their way to a leaf.
        size: expansions held, a measure of memory.
    """

    key: int
    emitted: list[Thought] = field(default_factory=list)
    walking: set[W] = field(default_factory=set)
    size: int = 1

    def __post_init__(self) -> None:
        self._heap: list[tuple[float, int, Partial]] = []
        self._leaves: list[tuple[float, int, Thought]] = []
        self._seen: set[tuple[str, bool, bool]] = set()
        self._order = count()
        self._push(Partial((), 0.0, 0.0, self.key))

    @property
    def exhausted(self) -> bool:
        """True when every thought has been emitted."""
        return not (self._heap or self._leaves or self.walking)

    def expand(self, walker: W, siblings: Siblings) -> None:
        """Move a walker on to its best continuation; the others stay behind."""
        self.size += 1
        siblings.origin = walker
        walker.partial = siblings.take(0)
        self._push_rest(walker.partial)

    def leaf(self, walker: W, thought: Thought) -> None:
        """A walker has reached the end of its thought."""
        self.walking.discard(walker)
        heapq.heappush(self._leaves, (-walker.partial.perturbed, next(self._order), thought))

    def emit(self) -> None:
        """Hand out the leaves that nothing still under way can precede."""
        while self._leaves:
            bound = max((walker.partial.perturbed for walker in self.walking), default=-float("inf"))
            if self._heap:
                bound = max(bound, -self._heap[0][0])
            if -self._leaves[0][0] < bound:
                return
            thought = heapq.heappop(self._leaves)[2]
            # Two token sequences of a subword vocabulary may spell the same thought: the first stands for both. Only a
            # blank line is nothing, and the end of the text is something.
            spelled = thought.text, thought.complete, thought.last and not thought.text
            if spelled not in self._seen:
                self._seen.add(spelled)
                self.emitted.append(thought)

    def schedule(self, upto: int) -> tuple[list[Partial], list[W]]:
        """Which partial thoughts should start walking, and which walkers stop, to emit `upto` thoughts in all.

        The most perturbed ones walk, as many as thoughts are missing: each ends in one leaf, and the first of them
        in the very next one. A walker that stops leaves its partial thought on the frontier.
        """
        missing = max(0, upto - len(self.emitted))
        under_way = [walker.partial.perturbed for walker in self.walking]
        ranks = sorted([*under_way, *(-leaf[0] for leaf in self._leaves)], reverse=True)[:missing]
        starts: list[Partial] = []
        while self._heap and missing and (len(ranks) < missing or -self._heap[0][0] > ranks[-1]):
            partial = heapq.heappop(self._heap)[2]
            self._push_rest(partial)
            starts.append(partial)
            ranks = sorted([*ranks, partial.perturbed], reverse=True)[:missing]
        cutoff = ranks[-1] if ranks else float("inf")
        stops = [walker for walker in self.walking if not walker.ended and walker.partial.perturbed < cutoff]
        for walker in stops:
            self.walking.discard(walker)
            self._push(walker.partial)
        return starts, stops

    def _push(self, partial: Partial) -> None:
        if partial.perturbed > -float("inf"):  # what has probability 0 is never reached
            heapq.heappush(self._heap, (-partial.perturbed, next(self._order), partial))

    def _push_rest(self, partial: Partial) -> None:
        if partial.rest is not None:
            siblings, rank = partial.rest
            partial.rest = None
            self._push(siblings.take(rank))


class Frontiers(Generic[W]):
    """The frontiers of recent states. What is forgotten is recomputed when asked for again.

    Attributes:
        expansions: held in all of them together.
    """

    def __init__(self) -> None:
        self.expansions = 0
        self._known: OrderedDict[tuple[int, tuple[int, ...]], Frontier[W]] = OrderedDict()

    def find(
        self, seed: int, tokens: tuple[int, ...], busy: Container[Frontier[W]]
    ) -> tuple[Frontier[W], Partial | None]:
        """The frontier of a state under a seed, and the root to expand if it is new; busy ones are never forgotten."""
        name = (seed, tokens)
        frontier = self._known.get(name)
        if frontier is not None:
            self._known.move_to_end(name)
            return frontier, None
        frontier = self._known[name] = Frontier(state_key(seed, tokens))
        (root,), _ = frontier.schedule(1)
        self.expansions += 1
        if self.expansions > MAX_EXPANSIONS:
            self._forget(busy)
        return frontier, root

    def _forget(self, busy: Container[Frontier[W]]) -> None:
        """Least recently used first, half of them at a time."""
        for name, frontier in list(self._known.items()):
            if self.expansions <= MAX_EXPANSIONS // 2:
                return
            if frontier not in busy and not frontier.walking:
                self.expansions -= self._known.pop(name).size
