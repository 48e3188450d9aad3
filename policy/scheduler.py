"""What the running batch works on next: requests become rows, rows draw tokens, finished thoughts are handed back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policy.base import Sampling, Thought
from policy.batch import Batch
from policy.budget import Meter
from policy.codec import END, STOP, Codec
from policy.frontier import Frontier, Frontiers, Partial, Siblings
from policy.prefix_cache import PrefixCache
from policy.reading import Likelihood, Reading
from policy.rows import Request, Row, Tokens
from policy.sampling import perturb, pick_independent, state_key
from policy.trunk import Trunk


class Scheduler:
    """Serves requests with the rows of one batch. Not for several threads.

    Args:
        trunk: the model.
        codec: its tokenizer.
        max_thought_tokens: a thought without an end after that many tokens is cut, and dead.
        cache_bytes: bound of the prefix cache.
        temperature: of INDEPENDENT samples.

    Attributes:
        live: requests not yet resolved, by their meters.
        resolved: requests that are, until somebody takes them; `result()` is what they get.
    """

    def __init__(
        self, trunk: Trunk, codec: Codec, *, max_thought_tokens: int, cache_bytes: int, temperature: float
    ) -> None:
        self.trunk = trunk
        self.codec = codec
        self.cache = PrefixCache(cache_bytes)
        self.batch = Batch(trunk, self.cache)
        self.max_thought_tokens = max_thought_tokens
        self.temperature = temperature
        self.live: defaultdict[Meter, set[Request]] = defaultdict(set)
        self.resolved: list[Request] = []
        self._priming: dict[Tokens, Row] = {}
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
        """Decode one token of every row."""
        arrived, hidden = self.batch.step()
        if hidden is not None:
            self._arrive(arrived, hidden)
        self._serve_frontiers()

    def _begin(self, requests: Sequence[Request]) -> None:
        """Start requests whose state has been read before; have the others' states read first."""
        known: list[Request] = []
        for request in requests:
            request.reading = self.cache.find(request.tokens)[2]
            if request.reading is not None:
                known.append(request)
                continue
            row = self._priming.get(request.tokens)
            if row is None:
                row = Row(request.text, request.tokens, request.prompt, list(request.tokens), Partial((), 0.0, 0.0, 0))
                self._priming[request.tokens] = row
                self.batch.add(row)
            row.waiting.append(request)
            request.priming = row
        self._start(known)

    def _start(self, requests: Sequence[Request]) -> None:
        """Draw the first tokens of requests whose state has been read."""
        if not requests:
            return
        readings = [request.reading for request in requests if request.reading is not None]
        logprobs = self.trunk.logprobs(torch.stack([reading.hidden for reading in readings]))
        rows: list[Row] = []
        which: list[int] = []
        for index, request in enumerate(requests):
            new = self._first_rows(request)
            rows += new
            which += [index] * len(new)
        if rows:
            self._draw(rows, logprobs[which])
            for row in rows:
                if not row.gone:
                    self.batch.add(row)

    def _first_rows(self, request: Request) -> list[Row]:
        if request.sampling is Sampling.DISTINCT:
            frontier, partial = self._frontiers.find(request.seed, request.tokens, self._asking)
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

    def _arrive(self, rows: Sequence[Row], hidden: Tensor) -> None:
        """Rows have nothing left to feed: their state is read, their thought is over, or its next token is due."""
        over = [index for index, row in enumerate(rows) if row.ended or row.primes]
        drawing = [index for index in range(len(rows)) if index not in set(over)] if over else range(len(rows))
        if drawing:
            logprobs = self.trunk.logprobs(hidden[list(drawing)] if over else hidden)
            self._draw([rows[index] for index in drawing], logprobs)
        if not over:
            return
        lines = [self._line(rows[index]) for index in over]
        values = self.trunk.values(hidden[over], lines)
        primed: list[Request] = []
        for index, line, value in zip(over, lines, values, strict=True):
            row, reading = rows[index], Reading(hidden[index].clone(), line)
            self.batch.remember(row, reading)
            row.gone = True
            if row.ended:
                self._finish(row, complete=True, value=value)
            else:
                self._priming.pop(row.state)
                for request in row.waiting:
                    request.priming, request.reading = None, reading
                primed += row.waiting
        self._start(primed)

    def _line(self, row: Row) -> Likelihood:
        """The likelihood of the thoughts that a row has read."""
        if row.primes or row.tokens[len(row.state) :] != row.thought:  # not drawn here, or not as it is read
            return self.trunk.likelihood(row.tokens, row.prompt)
        return row.before.then(row.logprob, row.least)

    def _draw(self, rows: Sequence[Row], logprobs: NDArray[np.float32]) -> None:
        """Draw each row's next token from its log-probabilities, [R, V]."""
        walkers = [index for index, row in enumerate(rows) if row.frontier is not None]
        if walkers:
            self._walk([rows[index] for index in walkers], logprobs[walkers])
        if len(walkers) == len(rows):
            return
        others = [index for index, row in enumerate(rows) if row.frontier is None]
        logprobs = logprobs[others]
        tokens = logprobs.argmax(axis=1)
        samples = [rows[index] for index in others]
        noisy = [i for i, row in enumerate(samples) if row.key is not None]
        if noisy:
            keys = np.array([samples[i].key for i in noisy], dtype=np.uint64)
            positions = np.array([len(samples[i].thought) for i in noisy], dtype=np.uint64)
            tokens[noisy] = pick_independent(logprobs[noisy], keys, positions, self.temperature)
        gained = logprobs[np.arange(len(samples)), tokens].tolist()
        for row, token, logprob in zip(samples, tokens.tolist(), gained, strict=True):
            row.logprob += logprob
            row.least = min(row.least, logprob)
            row.thought.append(token)
            self._advance(row)

    def _walk(self, rows: Sequence[Row], logprobs: NDArray[np.float32]) -> None:
        partials = [row.partial for row in rows]
        children = perturb(
            logprobs.astype(np.float64),
            np.array([partial.logprob for partial in partials]),
            np.array([partial.perturbed for partial in partials]),
            np.array([partial.key for partial in partials], dtype=np.uint64),
        )
        for row, *columns in zip(rows, *children, strict=True):
            frontier = row.frontier
            assert frontier is not None
            tokens, totals, perturbed, keys = map(np.copy, columns)  # a view would keep the whole batch's array alive
            frontier.expand(row, Siblings(
                row.partial.tokens, tokens, totals, perturbed, keys, row.partial.logprob, row.partial.least))
            self._frontiers.expansions += 1
            self._moved.add(frontier)
            row.thought.append(row.partial.tokens[-1])
            row.logprob, row.least = row.partial.logprob, row.partial.least
            self._advance(row)

    def _advance(self, row: Row) -> None:
        """A token was drawn: say what the row feeds next, or end it."""
        kind = self.codec.kinds[row.thought[-1]]
        if kind == END:
            row.ended = True
            row.tokens = self.codec.after(row.text, row.state, row.thought)
            # Subwords may spell the whole line otherwise than they were drawn: then what was fed is of no use.
            fed = [*row.state, *row.thought][: row.fed]
            if row.slot >= 0 and (row.fed >= len(row.tokens) or row.tokens[: row.fed] != fed):
                self.batch.reload(row)
        elif kind == STOP or len(row.thought) >= self.max_thought_tokens:
            self.batch.drop(row)
            self._finish(row, complete=False, value=None)
        else:
            row.tokens.append(row.thought[-1])

    def _finish(self, row: Row, complete: bool, value: float | None) -> None:
        text = self.codec.decode(row.thought)
        last = complete and row.thought[-1] in self.codec.last
        thought = Thought(text, row.logprob, len(row.thought), value, complete, last)
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
                self.batch.drop(row)
            for partial in starts:
                request = next(iter(asking))
                self._start_walker(frontier, partial, request)

    def _start_walker(self, frontier: Frontier[Row], partial: Partial, request: Request) -> None:
        row = _row(request, partial)
        row.frontier, row.origin = frontier, cast("Row | None", partial.origin)
        row.thought, row.logprob, row.least = list(partial.tokens), partial.logprob, partial.least
        partial.origin = None
        frontier.walking.add(row)
        self._advance(row)
        if not row.gone:
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
                self._priming.pop(request.tokens)
                self.batch.drop(request.priming)
        for row in request.rows:
            if not row.gone:
                self.batch.drop(row)
        request.rows.clear()


def _row(request: Request, partial: Partial) -> Row:
    """A row that goes on from a request's state with the beginning of a thought."""
    assert request.reading is not None
    row = Row(request.text, request.tokens, request.prompt, [*request.tokens, *partial.tokens[:-1]], partial)
    row.before = request.reading.line
    return row
