"""The running batch: rows join at the next token, leave when they are done, and share what has been read before."""

from __future__ import annotations

from collections import deque

import numpy as np
from torch import Tensor

from policy.prefix_cache import PrefixCache
from policy.reading import Reading
from policy.rows import Row
from policy.trunk import Trunk

PIECE = 64  # tokens of one row fed at once while it catches up
PIECES = 256  # tokens of all rows together
WORTH = 8  # a shorter rest is fed along with the others, one token a step


class Batch:
    """Rows in slots 0 .. R - 1, and those that wait for one, first come first served.

    Args:
        trunk: the model; its slots bound the rows.
        cache: keys and values by prefix; also remembers the reading of each state.
    """

    def __init__(self, trunk: Trunk, cache: PrefixCache) -> None:
        self.trunk = trunk
        self.cache = cache
        self.rows: list[Row] = []
        self.waiting: deque[Row] = deque()

    def __bool__(self) -> bool:
        return bool(self.rows or self.waiting)

    def add(self, row: Row) -> None:
        self.waiting.append(row)

    def drop(self, row: Row) -> None:
        """Take a row out at the next step; what it has read so far is remembered."""
        if row.slot >= 0 and not row.gone:
            self.remember(row)
        row.gone = True

    def remember(self, row: Row, reading: Reading | None = None) -> None:
        """Keep a row's keys and values, and the reading of its tokens."""
        self.cache.insert(
            row.tokens[: row.fed], lambda start, end: self.trunk.kv.read(row.slot, start, end), reading
        )

    def step(self) -> tuple[list[Row], Tensor | None]:
        """Feed one token to every row.

        Returns: rows with nothing left to feed, and the last hidden state of each, [their number, H].
        """
        self._seat()
        if not self.rows:
            return [], None
        self.trunk.kv.reserve(max(len(row.tokens) for row in self.rows) + PIECE, len(self.rows))
        self._catch_up()
        tokens = np.array([[row.tokens[row.fed]] for row in self.rows], dtype=np.int64)
        starts = np.array([row.fed for row in self.rows], dtype=np.int64)
        hidden = self.trunk.forward(tokens, starts)[:, 0]
        for row in self.rows:
            row.fed += 1
        arrived = [row.slot for row in self.rows if row.fed == len(row.tokens)]
        if len(arrived) < len(self.rows):
            hidden = hidden[arrived]
        return [self.rows[slot] for slot in arrived], hidden

    def _seat(self) -> None:
        """Fill the slots of rows that left: with waiting rows, else with the last ones, so that no hole stays."""
        slot = 0
        while slot < len(self.rows):
            row = self.rows[slot]
            if row.gone:
                row.slot = -1
                if (joining := self._next()) is not None:
                    self.rows[slot] = joining
                    self._load(joining, slot)
                else:
                    last = self.rows.pop()
                    if last is not row:
                        self.rows[slot] = last
                        self._move(last, slot)
                    continue
            slot += 1
        while len(self.rows) < self.trunk.slots and (joining := self._next()) is not None:
            self.rows.append(joining)
            self._load(joining, len(self.rows) - 1)

    def _next(self) -> Row | None:
        while self.waiting:
            row = self.waiting.popleft()
            if not row.gone:
                return row
        return None

    def _move(self, row: Row, slot: int) -> None:
        if not row.gone:
            self.trunk.kv.copy(row.slot, slot, row.fed)
        row.slot = slot

    def _load(self, row: Row, slot: int) -> None:
        """Give a row its slot and everything that is known of it, except its last token, which must be fed."""
        kv = self.trunk.kv
        kv.reserve(len(row.tokens), len(self.rows))
        row.slot = slot
        origin, row.origin = row.origin, None
        known = len(row.state) + len(row.partial.tokens) - 1
        shared = origin is not None and not origin.gone and origin.fed >= known
        if origin is not None and shared and origin.tokens[:known] == row.tokens[:known]:
            kv.copy(origin.slot, slot, known)
            row.fed = known
            return
        pieces, row.fed, _ = self.cache.find(row.tokens[:-1])
        at = 0
        for piece in pieces:
            kv.write(slot, at, piece)
            at += piece.shape[3]

    def reload(self, row: Row) -> None:
        """The row's tokens are not what it has fed any more: begin again from what is known of the new ones."""
        self._load(row, row.slot)

    def _catch_up(self) -> None:
        """Feed pieces of the rows that are far behind, some at a time, so that the others are not held up for long."""
        behind = [row for row in self.rows if len(row.tokens) - row.fed > WORTH]
        if not behind:
            return
        width = min(PIECE, max(len(row.tokens) - 1 - row.fed for row in behind[: PIECES // PIECE]))
        chosen = behind[: PIECES // width]
        tokens = np.zeros((len(chosen), width), dtype=np.int64)
        for line, row in zip(tokens, chosen, strict=True):
            piece = row.tokens[row.fed : min(row.fed + width, len(row.tokens) - 1)]
            line[: len(piece)] = piece
        starts = np.array([row.fed for row in chosen], dtype=np.int64)
        self.trunk.forward(tokens, starts, np.array([row.slot for row in chosen], dtype=np.int64))
        for row in chosen:
            row.fed = min(row.fed + width, len(row.tokens) - 1)
