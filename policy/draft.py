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
FIRST = np.array([3e-4, 5e-5, 2e-4])  # seconds of a step, of a token fed in it, and of a draw, before any is measured
MEMORY = 0.98  # how much of what is known of right and wrong guesses, and of costs, is kept after a draw or a step
DOUBT = 0.01  # how much FIRST's proportions count, where a step's relative error counts one
EVERY = 16  # steps after which costs are reckoned anew

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
        self.costs = Costs()

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

    def took(self, tokens: int, draws: int, seconds: float) -> None:
        """So long was a step that fed so many tokens and drew so many times."""
        if self.most:
            self.costs.took(tokens, draws, seconds)

    def _worth(self, rows: int) -> int:
        """The number of guesses with the most tokens to be had for what they cost, if each is as often right."""
        if not self.most:
            return 0
        ahead = np.arange(self.most + 1)
        gained = ((self._right / self._tried) ** ahead).cumsum()
        # A guess is drawn for only where the one before it was right in some row.
        draws = (1 - (1 - (self._right / self._tried) ** ahead) ** rows).cumsum()
        return int((gained / self.costs.of(rows * (1 + ahead), draws)).argmax())


class Costs:
    """Seconds of a step by tokens fed and draws, as they are in this process: least squares of the last steps' relative
    errors, beside which the first idea of their proportions weighs little."""

    def __init__(self) -> None:
        self.each = FIRST.copy()
        self._squares, self._products = np.zeros((3, 3)), np.zeros(3)
        self._spent, self._expected, self._steps = 0.0, 0.0, 0

    def of(self, tokens: NDArray[np.int64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """[n] and [n] -> seconds, [n]."""
        base, token, draw = self.each
        return np.asarray(base + token * tokens + draw * draws)

    def took(self, tokens: int, draws: int, seconds: float) -> None:
        """A step was measured."""
        step = np.array([1.0, tokens, draws])
        weight = 1 / seconds**2  # relative errors are what counts: some steps feed many rows, and some were interrupted
        self._squares = MEMORY * self._squares + weight * np.outer(step, step)
        self._products = MEMORY * self._products + weight * seconds * step
        self._spent = MEMORY * self._spent + seconds
        self._expected = MEMORY * self._expected + FIRST @ step
        self._steps += 1
        if self._steps % EVERY == 0:
            first = FIRST * (self._spent / self._expected)
            prior = np.diag(DOUBT * first**-2)
            found = np.linalg.solve(self._squares + prior, self._products + prior @ first)
            self.each = np.maximum(found, first / 100)  # nothing is free


def _longest(found: NDArray[np.int64]) -> NDArray[np.int64]:
    """What follows the longest context that has been seen, [n]; -1 where none has."""
    return np.take_along_axis(found, (found >= 0).argmax(axis=1)[:, None], 1)[:, 0]


def _then(last: NDArray[np.uint64], tokens: NDArray[np.int64]) -> NDArray[np.uint64]:
    return np.concatenate([last[:, 1:], tokens[:, None].astype(np.uint64)], 1)


def _cells(last: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where the tables hold what follows contexts [n, LONGEST]: [n, orders]."""
    hashes: NDArray[np.uint64] = (last[:, :, None] * _MASKED).sum(axis=1)
    return (hashes >> np.uint64(64 - BITS)).astype(np.int64) + (np.arange(len(ORDERS)) << BITS)
