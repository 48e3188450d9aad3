"""What the running batch works on next: requests become rows, rows draw tokens, finished thoughts are handed back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policy.base import Sampling, Thought
from policy.batch import Batch
from policy.budget import Meter
from policy.codec import END, LOOK, STOP, TEXT, Codec
from policy.drawing import Drawing, Mode
from policy.frontier import Frontier, Frontiers, Partial
from policy.prefix_cache import PrefixCache
from policy.reading import Likelihood, Reading
from policy.rows import Name, Request, Row
from policy.sampling import state_key
from policy.trunk import Trunk


class Scheduler:
    """Serves requests with the rows of one batch. Not for several threads.

    Args:
        trunk: the model.
        codec: its tokenizer.
        max_thought_tokens: a thought without an end after that many tokens is cut, and dead.
        cache_bytes: bound of the prefix cache.
        temperature: of INDEPENDENT samples.
        speculate: see Batch.

    Attributes:
        drawing: see Batch.
        live: requests not yet resolved, by their meters.
        resolved: requests that are, until somebody takes them; `result()` is what they get.
    """

    draws: type[Drawing] = Drawing

    def __init__(
        self, trunk: Trunk, codec: Codec, *, max_thought_tokens: int, cache_bytes: int, temperature: float,
        speculate: int = 0,
    ) -> None:
        self.trunk = trunk
        self.codec = codec
        self.cache = PrefixCache(cache_bytes)
        self.drawing = self.draws(trunk.slots, max_thought_tokens, trunk.vocabulary, temperature, codec.newline)
        self.batch = Batch(trunk, self.cache, self.drawing, speculate)
        self.max_thought_tokens = max_thought_tokens
        self._kinds = np.array(codec.kinds)
        self.live: defaultdict[Meter, set[Request]] = defaultdict(set)
        self.resolved: list[Request] = []
        self._priming: dict[Name, Row] = {}
        self._frontiers: Frontiers[Row] = Frontiers()
        self._asking: defaultdict[Frontier[Row], set[Request]] = defaultdict(set)
        self._moved: set[Frontier[Row]] = set()

    def accept(self, new: Sequence[Request], given_up: Sequence[Request]) -> None:
        """Take requests on, drop those that nobody waits for any more, and those whose meter is out."""
        for request in new:
            self.live[request.meter].add(request)
        for request in given_up:
            self._retire(request)
        for meter in [meter for meter in self.live if meter.expired]:
            for request in list(self.live[meter]):
                self._resolve(request)
        self._begin([request for request in new if not request.done])
        self._serve_frontiers()

    def step(self) -> None:
        """Decode one token of every row, and those after it that were guessed."""
        fresh = self.batch.seat()
        if fresh:
            hidden = torch.stack([row.reading.hidden for row in fresh if row.reading is not None])
            self._draw(np.array([row.slot for row in fresh]), hidden)
        for arrived, states in self.batch.feed():
            self._arrive(arrived, states)
        self._serve_frontiers()

    def _begin(self, requests: Sequence[Request]) -> None:
        """Start requests whose state has been read before; have the others' states read first."""
        known: list[Request] = []
        for request in requests:
            request.reading = self.cache.reading(request.tokens, request.lora)
            if request.reading is not None:
                known.append(request)
                continue
            row = self._priming.get(request.name)
            if row is None:
                row = self._priming[request.name] = _row(request, Partial((), 0.0, 0.0, 0))
                self.batch.add(row)
            row.waiting.append(request)
            request.priming = row
        self._start(known)

    def _start(self, requests: Sequence[Request]) -> None:
        """Have thoughts drawn of states that have been read."""
        for request in requests:
            for row in self._first_rows(request):
                self.batch.add(row)

    def _first_rows(self, request: Request) -> list[Row]:
        if request.sampling is Sampling.DISTINCT:
            frontier, partial = self._frontiers.find(
                request.seed, request.tokens, self._asking, request.lora)
            request.frontier = frontier
            self._asking[frontier].add(request)
            self._moved.add(frontier)
            if partial is None:
                return []
            walker = _row(request, partial)
            walker.frontier = frontier
            frontier.walking.add(walker)
            return [walker]
        rows = []
        for number in range(request.first, request.first + request.k):
            one = _row(request, Partial((), 0.0, 0.0, 0))
            one.request, one.number = request, number
            request.rows.append(one)
            if request.sampling is Sampling.INDEPENDENT:
                one.key = state_key(request.seed, request.tokens, number)
            rows.append(one)
        return rows

    def _arrive(self, slots: NDArray[np.intp], hidden: Tensor) -> None:
        """Rows have nothing left to feed: their state is read, their thought is over, or its next token is due."""
        over = self.drawing.mode[slots] == Mode.FEED
        if not over.any():
            self._draw(slots, hidden)
            return
        ended = [(self.batch.rows[slot], hidden[index]) for index, slot in enumerate(slots) if over[index]]
        if not over.all():
            self._draw(slots[~over], hidden[torch.from_numpy(np.flatnonzero(~over))])
        self._remember([row for row, _ in ended], torch.stack([state for _, state in ended]))()

    def _remember(self, rows: Sequence[Row], hidden: Tensor) -> Callable[[], None]:
        """The last token of a state was fed in each of these rows, [R, H]: they leave, and requests that waited start.

        Returns: hands out the thoughts that have ended; to be called when the values have come with something else.
        """
        lines = [self._line(row) for row in rows]
        values = self.trunk.values(hidden, lines, [row.lora for row in rows])
        primed: list[Request] = []
        for row, state, line in zip(rows, hidden, lines, strict=True):
            reading = Reading(state.clone(), line)
            self.batch.remember(row, reading)
            self.batch.leave(row)
            if not row.ended:
                self._priming.pop((row.lora, row.state))
                for request in row.waiting:
                    request.priming, request.reading = None, reading
                primed += row.waiting
        self._start(primed)

        def finish() -> None:
            for row, value in zip(rows, values(), strict=True):
                if row.ended:
                    self._finish(row, complete=True, value=value)

        return finish

    def _line(self, row: Row) -> Likelihood:
        """The likelihood of the thoughts that a row has read."""
        read = row.tokens[len(row.state) :]
        if row.reading is not None and read == row.thought:
            return row.reading.line.then(row.logprob, row.least)
        if row.reading is not None and row.closed is not None and read == [*row.thought[:-1], self.codec.newline]:
            return row.reading.line.then(*row.closed)
        return self.trunk.likelihood(row.tokens, row.prompt, row.lora)  # not drawn, or not as it is read

    def _draw(self, slots: NDArray[np.intp], hidden: Tensor) -> None:
        """Draw the next token in each of these slots, after hidden states [n, H]."""
        tokens = self.drawing.draw(slots, self.trunk.logprobs(hidden))
        self.batch.drew(slots, tokens)
        kinds = self._kinds[tokens]
        if self.codec.looks:
            self._look(slots, kinds)
        cut = (kinds == STOP) | (self.drawing.count[slots] >= self.max_thought_tokens) & (kinds != END)
        for index in np.flatnonzero((kinds == END) | cut):
            self._end(self.batch.rows[slots[index]], complete=not cut[index])
        for row in self.batch.rows if self._asking else ():
            if row.frontier is not None and row.frontier.hungry and not row.gone:
                self._pass(row)

    def _look(self, slots: NDArray[np.intp], kinds: NDArray[np.int64]) -> None:
        """Tell from their texts whether thoughts are complete whose last tokens do not tell."""
        for index in np.flatnonzero(kinds == LOOK):
            row = self.batch.rows[slots[index]]
            self.drawing.tell(row)
            kinds[index] = END if self.codec.over(row.thought, row.before) else TEXT

    def _end(self, row: Row, complete: bool) -> None:
        """The last token of a thought was drawn."""
        self._pass(row)
        if not complete:
            self.batch.drop(row)
            self._finish(row, complete=False, value=None)
            return
        self.drawing.tell(row)
        row.ended = True
        row.tokens = self.codec.after(row.text, row.state, row.thought, row.start)
        self.batch.reload(row)

    def _pass(self, row: Row) -> None:
        """Tell a walker's frontier what it has left beside its way."""
        if row.frontier is None or row.slot < 0 or (walk := self.drawing.walk(row)) is None:  # it may still wait
            return
        row.frontier.passed(walk)
        self._frontiers.expansions += len(walk)
        self._moved.add(row.frontier)

    def _finish(self, row: Row, complete: bool, value: float | None) -> None:
        text, _, last = self.codec.spell(row.thought, row.before)
        ids = self.codec.drawn(row.thought, text) if complete and row.request is not None else ()
        thought = Thought(text, row.logprob, len(row.thought), value, complete, complete and last, ids)
        if row.frontier is not None:
            row.frontier.leaf(row, thought)
            self._moved.add(row.frontier)
        elif row.request is not None:
            row.request.found[row.number] = thought
            if row.request.satisfied:
                self._resolve(row.request)

    def _serve_frontiers(self) -> None:
        """Hand out what frontiers have found, and send rows to where the next thoughts are."""
        while self._moved:
            frontier = self._moved.pop()
            frontier.emit()
            for request in [request for request in self._asking.get(frontier, ()) if request.satisfied]:
                self._resolve(request)
            asking = self._asking.get(frontier, ())
            starts, stops = frontier.schedule(max((request.first + request.k for request in asking), default=0))
            for row in stops:
                self._pass(row)
                frontier.back(row)
                self.batch.drop(row)
            for partial in starts:
                request = next(iter(asking))
                self._start_walker(frontier, partial, request)

    def _start_walker(self, frontier: Frontier[Row], partial: Partial, request: Request) -> None:
        row = _row(request, partial)
        row.frontier, row.origin = frontier, cast("Row | None", partial.origin)
        row.thought, row.logprob, row.least = list(partial.tokens), partial.logprob, partial.least
        row.tokens = [*row.state, *row.thought]
        partial.origin = None
        frontier.walking.add(row)
        drawn = bool(row.thought)  # else its first walker was stopped before it had drawn anything
        over = drawn and self.codec.over(row.thought, row.before)
        dead = drawn and self.codec.kinds[row.thought[-1]] == STOP
        if dead or (not over and len(row.thought) >= self.max_thought_tokens):
            row.gone = True
            self._finish(row, complete=False, value=None)
            return
        if over:
            row.ended = True
            row.tokens = self.codec.after(row.text, row.state, row.thought, row.start)
        self.batch.add(row)

    def _resolve(self, request: Request) -> None:
        self.resolved.append(request)
        self._retire(request)

    def _retire(self, request: Request) -> None:
        """Decode nothing more for this request."""
        request.done = True
        group = self.live.get(request.meter)
        if group is None or request not in group:
            return
        group.remove(request)
        if not group:
            del self.live[request.meter]
        if request.frontier is not None:
            asking = self._asking[request.frontier]
            asking.discard(request)
            if not asking:
                del self._asking[request.frontier]
            self._moved.add(request.frontier)
        if request.priming is not None:
            request.priming.waiting.remove(request)
            if not request.priming.waiting:
                self._priming.pop(request.name)
                self.batch.drop(request.priming)
        for row in request.rows:
            if not row.gone:
                self.batch.drop(row)
        request.rows.clear()


def _row(request: Request, partial: Partial) -> Row:
    """A row that goes on from a request's state with the beginning of a thought."""
    row = Row(request.text, request.tokens, request.prompt, list(request.tokens), partial, request.lora,
              request.start)
    row.reading = request.reading
    return row
