"""Lessons to batches of tokens. A step's batch depends on (seed, step) alone, so that a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from policy.batches import COLUMNS, ROWS
from policy.layout import Layout
from selfplay.lessons import Lesson
from selfplay.losses import Batch
from verifiers.base import derive_seed

Floats = NDArray[np.float32]


@dataclass(eq=False)
class Row:
    """One encoded line.

    Attributes:
        tokens: of the prompt and the thoughts.
        ends: where each state ends: the prompt's tokens, then each thought's; ends[-1] is their number, but for the
            token that ends the sequence.
        imitation, advantages, targets, trust, old: for each token, see Batch.
        logprobs: of each thought; see Lesson.
    """

    tokens: list[int]
    ends: list[int]
    imitation: Floats
    advantages: Floats
    targets: Floats
    trust: Floats
    logprobs: tuple[float | None, ...] = ()
    old: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.old = np.zeros(len(self.tokens), dtype=np.float32)

    def thoughts(self) -> Iterator[slice]:
        """The tokens of each thought, its end included."""
        return (slice(start, end) for start, end in pairwise(self.ends))


Rows = tuple[Row, ...]  # one line, or a pair of thoughts to be told apart


class LessonEncoder:
    """Lessons to tokens, as the policy reads and writes them.

    Args:
        room: most tokens of a line; longer ones cannot be learned from.
        layout: how problems and thoughts are written; by default a line each.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, room: int, layout: Layout | None = None) -> None:
        self._layout = Layout(tokenizer) if layout is None else layout
        self.pad = int(tokenizer.pad_token_id or 0)  # causal attention never looks at it
        self._room = room

    def rows(self, lesson: Lesson) -> list[Rows]:
        """A lesson's line or pair as it is read, and a row more for each thought with an advantage that was drawn in
        other tokens; none at all if there is no room for one of them."""
        line = self._row(lesson, lesson.thoughts, 1, lesson.last)
        found: list[Rows] = [(line,)]
        if lesson.instead is not None:
            found = [(line, self._row(lesson, (*lesson.thoughts[:-1], lesson.instead), -1, lesson.instead_last))]
        found += [(row,) for row in self._drawn(lesson, line)]
        return found if all(len(row.tokens) <= self._room for rows in found for row in rows) else []

    def _row(self, lesson: Lesson, thoughts: Sequence[str], sign: int, last: bool) -> Row:
        tokens, ends = self._layout.line(lesson.prompt, thoughts, last)
        if lesson.ends and self._layout.end is not None and tokens[-1] != self._layout.end:
            tokens.append(self._layout.end)
        imitation, advantages, targets, trust = np.zeros((4, len(tokens)), dtype=np.float32)
        for number, (start, end) in enumerate(pairwise(ends)):
            imitation[start:end] = lesson.imitation[number]
            advantages[start:end] = sign * lesson.advantages[number] if lesson.advantages else 0.0
        if lesson.per_line:  # here, where no batch has been cut: what a line weighs does not depend on its neighbours
            advantages /= _length(lesson, ends)
        imitation[ends[-1]:] = lesson.imitation[-1] if lesson.imitation else 0.0
        for end, (value, weight) in zip(ends, lesson.targets, strict=True):
            targets[end - 1], trust[end - 1] = value, weight
        return Row(tokens, ends, imitation, advantages, targets, trust, lesson.logprobs)

    def _drawn(self, lesson: Lesson, line: Row) -> Iterator[Row]:
        """Thoughts that do not stand in a line as they were drawn, each after the state that it was drawn in, as that
        was read then. In the line they have no advantage and no log-probability any more."""
        for number, ids in enumerate(lesson.ids):
            if not ids:
                continue
            state, _ = self._layout.line(lesson.prompt, lesson.thoughts[:number])
            tokens, ends = [*state, *ids], [len(state), len(state) + len(ids)]
            if line.ends[number : number + 2] == ends and line.tokens[: ends[1]] == tokens:
                continue
            line.advantages[line.ends[number] : line.ends[number + 1]] = 0.0
            line.logprobs = tuple(None if at == number else old for at, old in enumerate(line.logprobs))
            if lesson.advantages and lesson.advantages[number]:
                none, advantages = np.zeros((2, len(tokens)), dtype=np.float32)
                shared = _length(lesson, line.ends) if lesson.per_line else 1
                advantages[ends[0] :] = lesson.advantages[number] / shared
                yield Row(tokens, ends, none, advantages, none.copy(), none.copy(), lesson.logprobs[number:][:1])


class Stream:
    """The batches of some lessons, shuffled anew each epoch, a share of demonstrations among them.

    The weights are scaled: imitation, advantages and trust of the lessons sum to 1 a batch on average, and the
    demonstrations' imitation to what their share is against that.

    Args:
        demonstrations: an endless supply.
        share: of the tokens that come from demonstrations; in [0, 1).
        batch_tokens: most tokens of a batch, padding included.

    Attributes:
        per_epoch: batches of an epoch.
        rows: of the lessons.
        tokens: of an epoch, padding not counted.
        left_out: lessons that did not fit the policy's context.
        pad: the token that fills batches up.

    Raises ValueError if there is nothing to learn from.
    """

    def __init__(self, lessons: Iterable[Lesson], demonstrations: Iterator[Lesson], encoder: LessonEncoder, *,
                 share: float, batch_tokens: int, seed: int) -> None:
        encoded = [encoder.rows(lesson) for lesson in lessons]
        self.rows: list[Rows] = [rows for found in encoded for rows in found]
        self.left_out = sum(not found for found in encoded)
        missing = _tokens(self.rows) * share / (1 - share)
        shown: list[Rows] = []
        while missing > 0:
            found = encoder.rows(next(demonstrations))
            shown += found
            missing -= max(1, _tokens(found))  # this ends even if none fits
        if not self.rows:
            raise ValueError("there is nothing to learn from: no lesson, or none that fits the policy's context")
        self.pad, self._batch_tokens, self._seed = encoder.pad, batch_tokens, seed
        self._all = sorted([*self.rows, *shown], key=_shape)
        self.tokens = _tokens(self._all)
        self.per_epoch = len(self._cut(self._all))
        self._scale(shown, share)
        self._epoch: tuple[int, list[list[Rows]]] = (-1, [])

    def __call__(self, step: int) -> Batch:
        epoch, position = divmod(step, self.per_epoch)
        if self._epoch[0] != epoch:
            rng = np.random.default_rng(derive_seed(self._seed, "replay", epoch))
            mixed = sorted((self._all[i] for i in rng.permutation(len(self._all))), key=_shape)
            batches = self._cut(mixed)
            self._epoch = (epoch, [batches[i] for i in rng.permutation(len(batches))])
        return collate(self._epoch[1][position], self.pad)

    def _cut(self, ordered: Sequence[Rows]) -> list[list[Rows]]:
        """Cut what is ordered by length into batches of at most `batch_tokens`; as many however equals are ordered."""
        batches: list[list[Rows]] = []
        count = 0
        for rows in ordered:
            width, height = _shape(rows)
            count += height
            if not batches or _up(count, ROWS) * width > self._batch_tokens:
                batches.append([])
                count = height
            batches[-1].append(rows)
        return batches

    def _scale(self, shown: Sequence[Rows], share: float) -> None:
        _scale([row.imitation for rows in shown for row in rows], self.per_epoch * share / (1 - share))
        _scale([row.imitation for rows in self.rows for row in rows], self.per_epoch)
        _scale([row.trust for rows in self.rows for row in rows], self.per_epoch)
        # A pair weighs what its better thought does, not what each token of both does.
        weights = sum(float(np.abs(rows[0].advantages).max() if len(rows) > 1 else np.abs(rows[0].advantages).sum())
                      for rows in self.rows)
        for rows in self.rows:
            for row in rows:
                row.advantages *= self.per_epoch / weights if weights else 0.0


def collate(lines: Sequence[Rows], pad: int) -> Batch:
    """Rows to a batch, pairs first."""
    rows = [row for rows in sorted(lines, key=len, reverse=True) for row in rows]
    shape = (_up(len(rows), ROWS), _up(max(len(row.tokens) for row in rows), COLUMNS))
    tokens = np.full(shape, pad, dtype=np.int64)
    thoughts, imitation, advantages, old, targets, trust = np.zeros((6, *shape), dtype=np.float32)
    for number, row in enumerate(rows):
        length = len(row.tokens)
        tokens[number, :length] = row.tokens
        thoughts[number, row.ends[0] : length] = 1.0
        for filled, values in ((imitation, row.imitation), (advantages, row.advantages), (old, row.old),
                               (targets, row.targets), (trust, row.trust)):
            filled[number, :length] = values
    thoughts /= max(1.0, thoughts.sum())
    return Batch(*map(torch.from_numpy, (tokens, thoughts, imitation, advantages, old, targets, trust)))


def _length(lesson: Lesson, ends: Sequence[int]) -> int:
    """Tokens that a lesson's thoughts were drawn in, or have where they are read; at least 1."""
    drawn = lesson.ids or ((),) * len(lesson.thoughts)
    return max(1, sum(len(ids) or end - start for ids, (start, end) in zip(drawn, pairwise(ends), strict=True)))


def _shape(rows: Rows) -> tuple[int, int]:
    """Width once padded, and rows. What is alike in these is mixed: right lines and wrong ones differ in length."""
    return _up(max(len(row.tokens) for row in rows), COLUMNS), len(rows)


def _tokens(lines: Iterable[Rows]) -> int:
    return sum(len(row.tokens) for rows in lines for row in rows)


def _scale(weights: Sequence[Floats], total: float) -> None:
    """Scale weights in place so that they sum to a total; nothing if they are all 0."""
    now = sum(float(each.sum()) for each in weights)
    for each in weights:
        each *= total / now if now else 0.0


def _up(count: int, unit: int) -> int:
    return -(-count // unit) * unit
