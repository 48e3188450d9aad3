"""What is being drawn in each slot, kept in arrays so that a step costs the same Python for one row as for hundreds."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from policy.frontier import Walk
from policy.reading import Likelihood
from policy.rows import Row
from policy.sampling import SMALL_VOCABULARY, WIDTH, Floats, candidates, pick_independent, two_best


class Mode(IntEnum):
    """How a slot's next token is found."""

    FEED = 0  # it is known already: a state is read, or a thought is over
    GREEDY = 1
    INDEPENDENT = 2
    WALK = 3  # towards the most perturbed leaf of a frontier


class Drawing:
    """The thoughts under way, by slot.

    Args:
        slots: number of them.
        longest: most tokens of a thought.
        vocabulary: V.
        temperature: of INDEPENDENT samples.
        newline: see Codec.

    Attributes:
        mode: [slots].
        count: [slots], tokens of the thought so far.
    """

    on_host = True
    """Are log-probabilities in the host's memory?"""

    def __init__(self, slots: int, longest: int, vocabulary: int, temperature: float, newline: int | None) -> None:
        self.temperature, self._newline = temperature, newline
        self.mode = np.zeros(slots, dtype=np.int8)
        self.count = np.zeros(slots, dtype=np.int64)
        self._told = np.zeros(slots, dtype=np.int64)  # of these, how many a frontier knows
        self._tokens = np.zeros((slots, longest), dtype=np.int64)
        self._total, self._least, self._perturbed = np.zeros((3, slots))
        self._closed = np.zeros((slots, 2))  # likelihood of the thought, had its last token been a newline
        self._key = np.zeros(slots, dtype=np.uint64)
        # What was known where each token of a walk was drawn, so that its siblings can be found when they are wanted.
        self._totals, self._leasts, self._seconds = np.zeros((3, slots, longest))
        self._keys = np.zeros((slots, longest), dtype=np.uint64)
        width = vocabulary if vocabulary <= SMALL_VOCABULARY else WIDTH
        self._logprobs = np.zeros((slots, longest, width), dtype=np.float32)
        self._ids = None if width == vocabulary else np.zeros((slots, longest, width), dtype=np.int32)
        self._each = [array for array in vars(self).values() if isinstance(array, np.ndarray)]
        if self._ids is None and self.on_host:
            from policy.host.draws import walk  # slow to import

            self._compiled = walk
            self._walk(np.empty(0, dtype=np.intp), np.empty((0, width), dtype=np.float32))  # compiles it

    def seat(self, row: Row) -> None:
        """A row has got its slot."""
        slot, drawn = row.slot, len(row.thought)
        self.mode[slot] = Mode.FEED if row.ended or row.primes else Mode.WALK if row.frontier is not None else (
            Mode.GREEDY if row.key is None else Mode.INDEPENDENT)
        self.count[slot] = self._told[slot] = drawn
        self._tokens[slot, :drawn] = row.thought
        self._total[slot], self._least[slot] = row.logprob, row.least
        if row.frontier is not None:
            self._perturbed[slot], self._key[slot] = row.partial.perturbed, row.partial.key
        elif row.key is not None:
            self._key[slot] = row.key

    def move(self, source: int, target: int) -> None:
        for array in self._each:
            array[target] = array[source]

    def draw(self, slots: NDArray[np.intp], logprobs: Tensor) -> NDArray[np.int64]:
        """Draw the next token of each slot from its log-probabilities [n, V]; returns the tokens, [n]."""
        tokens = np.empty(len(slots), dtype=np.int64)
        seen: NDArray[np.float32] = logprobs.numpy()
        mode = self.mode[slots]
        if self._newline is not None:
            self._close(slots, seen[:, self._newline])
        for kind in np.unique(mode) if (mode != mode[0]).any() else mode[:1]:
            of = slice(None) if (mode == kind).all() else np.flatnonzero(mode == kind)
            some, given = slots[of], seen[of]
            if kind == Mode.WALK:
                tokens[of] = self._walk(some, given)
                continue
            drawn = given.argmax(axis=1) if kind == Mode.GREEDY else pick_independent(
                given, self._key[some], self.count[some].astype(np.uint64), self.temperature)
            tokens[of] = drawn
            self._gain(some, given[np.arange(len(some)), drawn].astype(np.float64))
        self._tokens[slots, self.count[slots]] = tokens
        self.count[slots] += 1
        return tokens

    def _walk(self, slots: NDArray[np.intp], logprobs: NDArray[np.float32]) -> NDArray[np.int64]:
        """Find the next token of each walk, and note what its siblings can be found from."""
        if self._ids is None:
            tokens = np.empty(len(slots), dtype=np.int64)
            self._compiled(np.ascontiguousarray(logprobs), slots, self.count, self._key, self._total, self._least,
                           self._perturbed, tokens, self._logprobs, self._totals, self._leasts, self._keys,
                           self._seconds)
            return tokens
        ids, kept = candidates(logprobs)
        best = two_best(kept, ids, self._total[slots], self._perturbed[slots], self._key[slots])
        assert ids is not None  # so it is for those vocabularies that are not small
        rows, widest = np.arange(len(slots)), best.widest()  # the others are never wanted
        self._walked(slots, kept[rows, best.column].astype(np.float64), best.second, best.keys,
                     np.take_along_axis(kept, widest, 1), np.take_along_axis(ids, widest, 1))
        return ids[rows, best.column]

    def _walked(
        self, slots: NDArray[np.intp], gained: NDArray[np.float64], second: NDArray[np.float64],
        keys: NDArray[np.integer], kept: Floats, ids: NDArray[np.integer] | None = None,
    ) -> None:  # fmt: skip
        """Tokens of walks were drawn: note what was known before, and what has become of it."""
        at = self.count[slots]
        if ids is not None and self._ids is not None:
            self._ids[slots, at] = ids
        self._logprobs[slots, at], self._seconds[slots, at] = kept, second
        self._totals[slots, at], self._leasts[slots, at] = self._total[slots], self._least[slots]
        self._keys[slots, at], self._key[slots] = self._key[slots], keys.view(np.uint64)
        self._gain(slots, gained)

    def _close(self, slots: NDArray[np.intp], end: NDArray[np.float32]) -> None:
        """Log-probabilities of a newline are known, where the next tokens are drawn."""
        self._closed[slots, 0] = self._total[slots] + end
        self._closed[slots, 1] = np.minimum(self._least[slots], end)

    def _gain(self, slots: NDArray[np.intp], logprobs: NDArray[np.float64]) -> None:
        self._total[slots] += logprobs
        self._least[slots] = np.minimum(self._least[slots], logprobs)

    def tell(self, row: Row) -> None:
        """Bring a row up to date with what was drawn in its slot."""
        slot = row.slot
        row.thought = self._tokens[slot, : self.count[slot]].tolist()
        row.logprob, row.least = self._total.item(slot), self._least.item(slot)
        row.closed = Likelihood(*self._closed[slot].tolist()) if self._newline is not None else None

    def walk(self, row: Row) -> Walk | None:
        """The part of its walk that its frontier does not know yet."""
        slot = row.slot
        start, end = int(self._told[slot]), int(self.count[slot])
        if start == end:
            return None
        self._told[slot] = end
        tokens: list[int] = self._tokens[slot, :end].tolist()
        part = slice(start, end)
        row.partial.tokens, row.partial.key = tuple(tokens), self._key.item(slot)
        row.partial.logprob, row.partial.least = self._total.item(slot), self._least.item(slot)
        return Walk(
            tuple(tokens[: end - 1]), start, self._logprobs[slot, part].copy(),
            None if self._ids is None else self._ids[slot, part].copy(), self._totals[slot, part].copy(),
            self._leasts[slot, part].copy(), self._keys[slot, part].copy(), self._seconds[slot, part].copy(),
            row.partial.perturbed, row,
        )  # fmt: skip
