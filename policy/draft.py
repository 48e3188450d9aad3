"""Guesses at what rows draw next, so that one forward pass may feed several tokens of a row.

The noise of a draw is a hash of what it is for, so a guess needs no rule of acceptance (as in Leviathan et al. 2023):
every token is drawn as always, and a guess is right if it is the one that is drawn. What was fed for wrong ones is of
no use and is overwritten. So guesses change how soon a thought is there, and nothing of it but rounding.

They come from n-grams, as in prompt lookup decoding (Saxena 2023): what followed the last few tokens the last time,
be it in the problem, in the row's own line, or in what any other row has drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ORDERS = (8, 5, 3, 2)  # the longest context that has been seen before decides
LONGEST = ORDERS[0]
BITS = 16  # of a cell's number in the table of each order
FIXED = 13  # what a step costs beside its tokens, in tokens of the shipped policy on one core
EACH = 2  # and what a guess does beside its own: one more round of drawing
WORTH = 1.15  # by how much a step must gain in this reckoning before anything is guessed
MEMORY = 0.98  # how much of what is known of right and wrong guesses is kept after a draw

_WEIGHTS = np.random.default_rng(0).integers(1, 1 << 63, LONGEST, dtype=np.uint64) | np.uint64(1)
# Of a context of n tokens only the last n count: [LONGEST, orders].
_MASKED = np.stack([np.where(np.arange(LONGEST) >= LONGEST - n, _WEIGHTS, np.uint64(0)) for n in ORDERS], 1)


class Drafts:
    """Guesses for the rows in slots.

    Args:
        slots: number of them.
        most: tokens guessed ahead at most; 0 for none.
    """

    def __init__(self, slots: int, most: int) -> None:
        self.most = most
        self._last = np.zeros((slots, LONGEST), dtype=np.uint64)  # the last tokens of each row
        self._next = np.full(len(ORDERS) << BITS if most else 0, -1, dtype=np.int64)
        self._right, self._tried = 0.5, 1.0

    def read(self, tokens: Sequence[int]) -> None:
        """A text that rows will go on from."""
        if self.most and len(tokens) > 1:
            padded = np.concatenate([np.zeros(LONGEST, dtype=np.uint64), np.array(tokens, dtype=np.uint64)])
            contexts = np.lib.stride_tricks.sliding_window_view(padded, LONGEST)[1:-1]
            self._next[_cells(contexts)] = np.array(tokens[1:])[:, None]

    def seat(self, slot: int, tokens: Sequence[int]) -> None:
        """A row has got its slot; these are all of its tokens."""
        if self.most:
            last = tokens[-LONGEST:]
            self._last[slot] = 0
            self._last[slot, LONGEST - len(last) :] = last

    def move(self, source: int, target: int) -> None:
        self._last[target] = self._last[source]

    def drew(self, slots: NDArray[np.intp], tokens: NDArray[np.int64]) -> None:
        """What came next in some slots."""
        if self.most:
            last = self._last[slots]
            cells = _cells(last)
            right = int((_longest(self._next[cells]) == tokens).sum())
            self._right, self._tried = MEMORY * self._right + right, MEMORY * self._tried + len(slots)
            self._next[cells] = tokens[:, None]
            self._last[slots] = _then(last, tokens)

    def guess(self, rows: int) -> NDArray[np.int64]:
        """What comes next in slots 0 to `rows` - 1: [rows, as many as pay]."""
        count = self._worth(rows)
        last, guesses = self._last[:rows], np.zeros((rows, count), dtype=np.int64)
        for ahead in range(count):
            guesses[:, ahead] = np.maximum(_longest(self._next[_cells(last)]), 0)
            last = _then(last, guesses[:, ahead])
        return guesses

    def _worth(self, rows: int) -> int:
        """The number of guesses with the most tokens to be had for what they cost, if each is as often right."""
        if not self.most:
            return 0
        ahead = np.arange(self.most + 1)
        gained = ((self._right / self._tried) ** ahead).cumsum()
        rates = gained / (FIXED + rows * (1 + ahead) + EACH * ahead)
        return int(rates.argmax()) if rates.max() >= WORTH * rates[0] else 0


def _longest(found: NDArray[np.int64]) -> NDArray[np.int64]:
    """What follows the longest context that has been seen, [n]; -1 where none has."""
    return np.take_along_axis(found, (found >= 0).argmax(axis=1)[:, None], 1)[:, 0]


def _then(last: NDArray[np.uint64], tokens: NDArray[np.int64]) -> NDArray[np.uint64]:
    return np.concatenate([last[:, 1:], tokens[:, None].astype(np.uint64)], 1)


def _cells(last: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where the tables hold what follows contexts [n, LONGEST]: [n, orders]."""
    hashes: NDArray[np.uint64] = (last[:, :, None] * _MASKED).sum(axis=1)
    return (hashes >> np.uint64(64 - BITS)).astype(np.int64) + (np.arange(len(ORDERS)) << BITS)
