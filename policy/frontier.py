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
from collections.abc import Container, Hashable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from policy.base import Thought
from policy.sampling import Children, Floats, perturb, state_key

MAX_EXPANSIONS = 1 << 15  # kept in all frontiers together, about 1 kB each


@dataclass(slots=True, eq=False)
class Walk:
    """Some tokens of a walker's way down, with what its siblings at each of them can be found from.

    Arrays and not lists: there are tens of thousands, and a garbage collection would look at every number of a list.

    Attributes:
        tokens: of the thought, but for the last one that was drawn.
        start: how many of them came before the first of the T that were drawn here.
        kept: [T, C], log-probabilities of the continuations.
        ids: [T, C], their tokens; None if they are all there are.
        totals, leasts: [T], log-probability of the thought before each, and of its least likely token.
        keys: [T], noise keys before each.
        seconds: [T], perturbed log-probability of the first sibling of each.
        perturbed: of the walker.
        origin: the walker.
    """

    tokens: tuple[int, ...]
    start: int
    kept: Floats
    ids: NDArray[np.integer] | None
    totals: NDArray[np.float64]
    leasts: NDArray[np.float64]
    keys: NDArray[np.uint64]
    seconds: NDArray[np.float64]
    perturbed: float
    origin: Walker | None = None
    _found: dict[int, Children] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.seconds)

    def first(self, after: float = float("inf")) -> Sprout | None:
        """The most perturbed first sibling that is less so than `after`."""
        below = np.where(self.seconds < after, self.seconds, -np.inf)
        at = int(below.argmax())
        return Sprout(self, at, 1, below.item(at)) if below[at] > -np.inf else None

    def children(self, at: int) -> Children:
        """All continuations after the first `start + at` tokens, most perturbed first."""
        if at not in self._found:
            one = slice(at, at + 1)
            children = perturb(self.kept[one], self.totals[one], np.array([self.perturbed]), self.keys[one],
                               None if self.ids is None else self.ids[one])
            self._found[at] = Children(*(column[0] for column in children))
        return self._found[at]


@dataclass(slots=True, eq=False)
class Sprout:
    """A continuation that no walker took: the one of a rank, the walker's own being 0, at a token of its walk."""

    walk: Walk
    at: int
    rank: int
    perturbed: float

    def partial(self) -> Partial:
        """It, to be walked from."""
        walk, children = self.walk, self.walk.children(self.at)
        total = children.logprobs.item(self.rank)
        least = min(walk.leasts.item(self.at), total - walk.totals.item(self.at))
        tokens = (*walk.tokens[: walk.start + self.at], children.tokens.item(self.rank))
        return Partial(tokens, total, self.perturbed, children.keys.item(self.rank), least, walk.origin)

    def rest(self) -> Iterator[Sprout]:
        """What enters the frontier when it leaves."""
        children = self.walk.children(self.at)
        if self.rank + 1 < len(children.tokens) and (next_one := children.perturbed.item(self.rank + 1)) > -np.inf:
            yield Sprout(self.walk, self.at, self.rank + 1, next_one)
        if self.rank == 1 and (other := self.walk.first(self.perturbed)) is not None:
            yield other


@dataclass(slots=True, eq=False)
class Partial:
    """The beginning of a thought.

    Attributes:
        tokens: its tokens so far.
        logprob: their total log-probability.
        perturbed: the greatest perturbed log-probability of all thoughts that begin so.
        key: its noise key.
        least: the log-probability of its least likely token.
        origin: the walker that passed its parent, whose slot may still hold what they share.
    """

    tokens: tuple[int, ...]
    logprob: float
    perturbed: float
    key: int
    least: float = 0.0
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
        hungry: more walkers are wanted than there are places to start from, as far as they are known.
        size: expansions held, a measure of memory.
    """

    key: int
    emitted: list[Thought] = field(default_factory=list)
    walking: set[W] = field(default_factory=set)
    size: int = 1
    hungry: bool = False

    def __post_init__(self) -> None:
        self._heap: list[tuple[float, int, Partial | Sprout]] = []
        self._leaves: list[tuple[float, int, Thought]] = []
        self._seen: set[tuple[str, bool, bool]] = set()
        self._order = count()
        self._push(Partial((), 0.0, 0.0, self.key))

    @property
    def exhausted(self) -> bool:
        """True when every thought has been emitted."""
        return not (self._heap or self._leaves or self.walking)

    def passed(self, walk: Walk) -> None:
        """A walker has gone on: what it left beside its way may be walked, too."""
        self.size += len(walk)
        if (sprout := walk.first()) is not None:
            self._push(sprout)

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
        in the very next one. A walker that stops must be taken `back`.
        """
        missing = max(0, upto - len(self.emitted))
        under_way = [walker.partial.perturbed for walker in self.walking]
        ranks = sorted([*under_way, *(-leaf[0] for leaf in self._leaves)], reverse=True)[:missing]
        starts: list[Partial] = []
        while self._heap and missing and (len(ranks) < missing or -self._heap[0][0] > ranks[-1]):
            found = heapq.heappop(self._heap)[2]
            if isinstance(found, Sprout):
                for sprout in found.rest():
                    self._push(sprout)
                found = found.partial()
            starts.append(found)
            ranks = sorted([*ranks, found.perturbed], reverse=True)[:missing]
        self.hungry = len(ranks) < missing
        cutoff = ranks[-1] if ranks else float("inf")
        stops = [walker for walker in self.walking if not walker.ended and walker.partial.perturbed < cutoff]
        return starts, stops

    def back(self, walker: W) -> None:
        """A walker stops where it is, which `passed` knows."""
        self.walking.discard(walker)
        self._push(walker.partial)

    def _push(self, found: Partial | Sprout) -> None:
        heapq.heappush(self._heap, (-found.perturbed, next(self._order), found))


class Frontiers(Generic[W]):
    """The frontiers of recent states. What is forgotten is recomputed when asked for again.

    Attributes:
        expansions: held in all of them together.
    """

    def __init__(self) -> None:
        self.expansions = 0
        self._known: OrderedDict[Hashable, Frontier[W]] = OrderedDict()

    def find(
        self, seed: int, tokens: tuple[int, ...], busy: Container[Frontier[W]], reader: Hashable = None
    ) -> tuple[Frontier[W], Partial | None]:
        """The frontier of a state under a seed, and the root to expand if it is new; busy ones are never forgotten.

        Each reader (an adapter) has its own. Their noise is the same, as it is for policies apart.
        """
        name = (reader, seed, tokens)
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
