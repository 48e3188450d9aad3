"""The running batch: rows join at the next token, leave when they are done, and share what has been read before."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policy.draft import Drafts
from policy.drawing import Drawing, Mode
from policy.gpu.transfers import send
from policy.kv import Stem
from policy.lora import Worn, worn_by
from policy.prefix_cache import PrefixCache, shared
from policy.reading import Reading
from policy.rows import Name, Row
from policy.trunk import Trunk

PIECE = 64  # tokens of one row fed at once while it catches up
PIECES = 256  # tokens of all rows together
WORTH = 8  # a shorter rest is fed along with the others, one token a step
MANY, SAVED = 8, 1024  # so many rows, and tokens in their slots, that a prompt is worth a stem
Shared = tuple[NDArray[np.int64], list[tuple[Stem, Tensor | None]]]


class Batch:
    """Rows in slots 0 .. R - 1, and those that wait for one, first come first served.

    Args:
        trunk: the model; its slots bound the rows.
        cache: keys and values by prefix; also remembers the reading of each state.
        drawing: what is drawn in the slots.
        speculate: most tokens of a row that are fed on the guess that they will be drawn.

    Attributes:
        following: rows that wait, not for a slot yet, but for another row to read what both begin with.
    """

    def __init__(self, trunk: Trunk, cache: PrefixCache, drawing: Drawing, speculate: int = 0) -> None:
        self.trunk = trunk
        self.cache = cache
        self.drawing = drawing
        self.drafts = Drafts(trunk.slots, speculate)
        self.rows: list[Row] = []
        self.waiting: deque[Row] = deque()
        self.following = 0
        self._reading: dict[Row, list[Row]] = {}  # those that prime, and who follows them
        self._leaving = False  # is there a row that has gone and still has its slot?
        self._next_token = np.zeros(trunk.slots, dtype=np.int64)
        self._fed = np.zeros(trunk.slots, dtype=np.int64)
        self._due = np.zeros(trunk.slots, dtype=np.int64)  # how many tokens there are to feed in all
        self._offset = np.zeros(trunk.slots, dtype=np.int64)
        self._ahead = np.zeros(trunk.slots, dtype=np.bool_)  # may what was fed on a guess be of use?
        self._prompts: Counter[Name] = Counter()  # of all rows, waiting ones too
        self._stems: dict[Name, Stem] = {}
        self._shared: Shared | None = None  # stems and their rows; None when some have come, gone or moved since
        self._worn: Worn | None = None  # adapters and their rows

    def __bool__(self) -> bool:
        return bool(self.rows or self.waiting)

    def add(self, row: Row) -> None:
        self._prompts[row.problem] += 1
        if row.primes:
            self.drafts.read(row.tokens)
        self._queue(row)

    def _queue(self, row: Row, has_waited: bool = False) -> None:
        """Have a row wait for a slot; but first for another one, if that reads what both begin with."""
        if row.primes and not row.gone:
            if (leader := self._leader(row, has_waited)) is not None:
                self._reading[leader].append(row)
                self.following += 1
                return
            self._reading[row] = []
        self.waiting.append(row)

    def _leader(self, row: Row, has_waited: bool) -> Row | None:
        """A row that is about to read more than a piece of what this one has yet to read, and not much else.

        None for one that has waited for another in vain: the cache is too small.
        """
        shares = {other: shared(other.state, row.state) for other in self._reading if other.lora is row.lora}
        leaders = [other for other, share in shares.items() if share > PIECE and 2 * share >= len(other.state)]
        if not leaders:
            return None
        _, known = self.cache.find(row.state, reader=row.lora)
        if has_waited and not known:
            return None
        return next((other for other in leaders if shares[other] - known > PIECE), None)

    def drop(self, row: Row) -> None:
        """Take a row out at the next step; what it has read so far is remembered."""
        if row.slot >= 0 and not row.gone:
            self.remember(row)
        self.leave(row)

    def leave(self, row: Row) -> None:
        """Take a row out at the next step."""
        row.gone = self._leaving = True
        if row.slot >= 0:
            self._due[row.slot] = -1  # what else is fed in its slot leads nowhere
        for follower in self._reading.pop(row, ()):
            self.following -= 1
            self._queue(follower, has_waited=True)

    def tell(self, row: Row) -> None:
        """Bring a row up to date with what has happened in its slot."""
        if row.slot < 0 or row.gone:
            return
        row.fed = int(self._fed[row.slot])
        if self.drawing.mode[row.slot] != Mode.FEED:
            self.drawing.tell(row)
            row.tokens = [*row.state, *row.thought]

    def remember(self, row: Row, reading: Reading | None = None) -> None:
        """Keep a row's keys and values, and the reading of its tokens."""
        self.tell(row)
        known = row.state if tuple(row.tokens[: len(row.state)]) == row.state else ()
        self.cache.insert(
            row.tokens[: row.fed], lambda start, end: self._held(row, start, end), reading, row.lora, known)

    def _held(self, row: Row, start: int, end: int) -> Tensor:
        """A copy of a row's keys and values of positions [start, end)."""
        own = self.trunk.kv.read(row.slot, max(start - row.offset, 0), max(end - row.offset, 0))
        if row.stem is None or start >= row.offset:
            return own
        return torch.cat([row.stem.kv[:, :, :, start:end], own], 3)

    def drew(self, slots: NDArray[np.intp], tokens: NDArray[np.int64]) -> None:
        """These are to be fed next."""
        self._next_token[slots] = tokens
        self._due[slots] += 1
        self.drafts.drew(slots, tokens)

    def feed(self) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
        """Feed one token to every row, and those that are guessed to follow it.

        Yields: the slots of rows with nothing left to feed, and the last hidden state of each, [their number, H]; once
            more for those whose next token, drawn meanwhile, was guessed.
        """
        count = len(self.rows)
        if not count:
            return
        self.trunk.kv.reserve(int((self._due - self._offset)[:count].max()) + max(PIECE, self.drafts.most), count)
        self._catch_up()
        if self._shared is None:
            self._shared, self._worn = self._stems_of(self.rows), self._worn_by(self.rows)
        tokens, started, draws = self._line_up(count), time.perf_counter(), 0
        hidden = self.trunk.forward(tokens, self._fed[:count].copy(), *self._shared, worn=self._worn)
        self._ahead[:count] = True
        slots = np.arange(count)
        for ahead in range(tokens.shape[1]):
            if ahead:
                right = self._next_token[slots] == tokens[slots, ahead]
                slots = slots[right & self._ahead[slots] & (self._due[slots] > self._fed[slots])]
            self._fed[slots] += 1
            there = self._fed[slots] == self._due[slots]
            for slot in slots[~there]:
                if not self.rows[slot].gone:
                    self._next_token[slot] = self.rows[slot].tokens[self._fed[slot]]
            if there.any():
                arrived, draws = slots[there], draws + 1
                yield arrived, hidden[send(arrived, hidden.device), ahead] if len(arrived) < count else hidden[:, ahead]
        self.drafts.took(tokens.size, draws, time.perf_counter() - started)

    def _line_up(self, count: int) -> NDArray[np.int64]:
        """The next token of every row, and guesses at what follows it; what a row has yet to feed is no guess."""
        guesses = self.drafts.guess(count)
        width = guesses.shape[1]
        for slot in np.flatnonzero((self._due - self._fed)[:count] > 1) if width else ():
            rest = self.rows[slot].tokens[self._fed[slot] + 1 : self._due[slot]][:width]
            guesses[slot] = [*rest, *guesses[slot, : width - len(rest)]]
        return np.concatenate([self._next_token[:count, None], guesses], 1)

    def seat(self) -> list[Row]:
        """Fill the slots of rows that left: with waiting rows, else with the last ones, so that no hole stays.

        Returns: rows whose first token can be drawn at once, for their state has been read.
        """
        fresh: list[Row] = []
        slot = 0
        while self._leaving and slot < len(self.rows):
            row = self.rows[slot]
            if row.gone:
                self._unseat(row)
                if (joining := self._next()) is not None:
                    self.rows[slot] = joining
                    self._join(joining, slot, fresh)
                else:
                    last = self.rows.pop()
                    if last is not row:
                        self.rows[slot] = last
                        self._move(last, slot)
                    continue
            slot += 1
        self._leaving = False
        while len(self.rows) < self.trunk.slots and (joining := self._next()) is not None:
            self.rows.append(joining)
            self._join(joining, len(self.rows) - 1, fresh)
        return fresh

    def _join(self, row: Row, slot: int, fresh: list[Row]) -> None:
        self._load(row, slot)
        self.drawing.seat(row)
        self.drafts.seat(slot, row.tokens)
        if row.fed == len(row.tokens):
            fresh.append(row)

    def _next(self) -> Row | None:
        while self.waiting:
            row = self.waiting.popleft()
            if not row.gone:
                return row
            self._unseat(row)
        return None

    def _unseat(self, row: Row) -> None:
        row.slot, row.stem = -1, None  # frontiers remember rows for long, and stems are large
        self._prompts[row.problem] -= 1
        if not self._prompts[row.problem]:
            del self._prompts[row.problem]
            self._stems.pop(row.problem, None)
        self._shared = None

    def _move(self, row: Row, slot: int) -> None:
        if not row.gone:
            self.trunk.kv.copy(row.slot, slot, int(self._fed[row.slot]) - row.offset)
            self.drawing.move(row.slot, slot)
            self.drafts.move(row.slot, slot)
            for array in (self._next_token, self._fed, self._due, self._offset):
                array[slot] = array[row.slot]
        row.slot = slot

    def _load(self, row: Row, slot: int) -> None:
        """Give a row its slot and everything that is known of it: all of a state that was read before, else all but
        the last token, which must be fed."""
        self._shared = None
        self._ahead[slot] = False
        row.slot = slot
        if not self._load_from_origin(row):
            self._load_from_cache(row)
        self._fed[slot], self._due[slot], self._offset[slot] = row.fed, len(row.tokens), row.offset
        if row.fed < len(row.tokens):
            self._next_token[slot] = row.tokens[row.fed]

    def _load_from_origin(self, row: Row) -> bool:
        """From the slot of the row that passed by, if that still holds it."""
        origin, row.origin = row.origin, None
        if origin is None or origin.gone or origin.slot < 0:
            return False
        self.tell(origin)
        known = len(row.tokens) - 1
        if origin.fed < known or origin.tokens[:known] != row.tokens[:known]:
            return False
        row.stem, row.fed = origin.stem, known
        self.trunk.kv.reserve(len(row.tokens) - row.offset, len(self.rows))
        self.trunk.kv.copy(origin.slot, row.slot, known - row.offset)
        return True

    def _load_from_cache(self, row: Row) -> None:
        row.stem = self._stem(row)
        self.trunk.kv.reserve(len(row.tokens) - row.offset, len(self.rows))
        tokens = row.tokens if row.draws else row.tokens[:-1]
        pieces, known = self.cache.find(tokens, row.offset, row.lora)
        row.fed = max(known, row.offset)  # a stem stays, though the cache may have dropped what it was made of
        if pieces:
            self.trunk.kv.write(row.slot, 0, pieces[0] if len(pieces) == 1 else torch.cat(pieces, 3))

    def reload(self, row: Row) -> None:
        """The row's tokens are others now, and known: go on from what it has fed of them."""
        fed = int(self._fed[row.slot])
        drawn = [*row.state, *row.thought]
        if fed < len(row.tokens) and row.tokens[:fed] == drawn[:fed]:
            self._due[row.slot] = len(row.tokens)
            self._next_token[row.slot] = row.tokens[fed]
        else:  # subwords may spell the whole line otherwise than they were drawn: then what was fed is of no use
            self._load(row, row.slot)
        self.drawing.mode[row.slot] = Mode.FEED

    def _stem(self, row: Row) -> Stem | None:
        """The row's prompt, if it has been read and is worth a stem."""
        problem, left = row.problem, len(row.tokens) - row.prompt - (not row.draws)
        lora, prompt = problem
        if self.trunk.fused is None or left < 0 or tuple(row.tokens[: len(prompt)]) != prompt:
            return None
        count = self._prompts[problem]
        if problem not in self._stems and count >= MANY and count * len(prompt) >= SAVED:
            pieces, length = self.cache.find(prompt, reader=lora)
            if length == len(prompt):
                self._stems[problem] = Stem(prompt, torch.cat(pieces, 3))
        return self._stems.get(problem)

    def _catch_up(self) -> None:
        """Feed pieces of the rows that are far behind, some at a time, so that the others are not held up for long."""
        count = len(self.rows)
        behind = np.flatnonzero((self._due - self._fed)[:count] > WORTH)
        if not len(behind):
            return
        rests = (self._due - 1 - self._fed)[behind]
        width = min(PIECE, int(rests[: PIECES // PIECE].max()))
        chosen = behind[: PIECES // width]
        rows = [self.rows[slot] for slot in chosen]
        tokens = np.zeros((len(chosen), width), dtype=np.int64)
        for line, row, fed in zip(tokens, rows, self._fed[chosen].tolist(), strict=True):
            piece = row.tokens[fed : min(fed + width, len(row.tokens) - 1)]
            line[: len(piece)] = piece
        self.trunk.forward(tokens, self._fed[chosen], *self._stems_of(rows), chosen, self._worn_by(rows))
        self._fed[chosen] = np.minimum(self._fed[chosen] + width, self._due[chosen] - 1)
        for row in rows:
            self._next_token[row.slot] = row.tokens[self._fed[row.slot]]

    def _worn_by(self, rows: Sequence[Row]) -> Worn | None:
        """See Trunk.forward."""
        return worn_by([row.lora for row in rows], self.trunk.device)

    def _stems_of(self, rows: Sequence[Row]) -> Shared:
        """How many tokens of each row are in a stem, and which rows have which; see Trunk.forward."""
        offsets = self._offset[[row.slot for row in rows]]
        stems = {row.stem for row in rows}
        if len(stems) == 1:
            return offsets, [(stem, None) for stem in stems if stem is not None]
        of = {stem: [index for index, row in enumerate(rows) if row.stem is stem] for stem in stems}
        return offsets, [(stem, send(np.array(some), self.trunk.device)) for stem, some in of.items()
                         if stem is not None]
