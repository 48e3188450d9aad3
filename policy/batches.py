"""Training batches: demonstrations to imitate, and the policy's own rollouts with their outcomes to value.

A step's batch is a pure function of (seed, step), so that a resumed run sees the very batches it would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from verifiers.base import Domain, Problem, derive_seed

IGNORE = -100  # the label that cross entropy leaves out
NO_VALUE = -1.0
# Demonstrations are drawn this many batches at a time and sorted by length, so that a batch holds little padding.
WINDOW = 16
# Batches have few shapes, because a CPU's kernels are made anew for each one (a third of a step otherwise).
ROWS, COLUMNS = 4, 8


@dataclass(frozen=True)
class Batch:
    """One optimisation step's sequences, right-padded; B and T are multiples of ROWS and COLUMNS.

    Attributes:
        tokens: int64 [B, T].
        labels: int64 [B, T], shifted by nothing (the model shifts); IGNORE where there is nothing to imitate.
        values: float32 [B, T], the outcome in {0, 1} at a state's last token; NO_VALUE elsewhere.
    """

    tokens: Tensor
    labels: Tensor
    values: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(self.tokens.to(device), self.labels.to(device), self.values.to(device))


class Batches(Protocol):
    """A stream of batches that can be entered at any step."""

    def __call__(self, step: int) -> Batch: ...


@dataclass(frozen=True)
class Encoded:
    """One encoded line: tokens, where imitation starts, and (position, outcome) pairs."""

    tokens: list[int]
    labels_from: int
    values: tuple[tuple[int, float], ...] = ()


class Encoder:
    """Problems and thoughts to tokens; the layout a policy reads: prompt, newline, then a line a thought."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.eos = tokenizer.eos_token_id
        self.pad = tokenizer.pad_token_id

    def demonstration(self, problem: Problem, thoughts: Sequence[str]) -> Encoded:
        """Imitate every thought and the end; the prompt is given, not learned."""
        prompt = self.tokenizer(problem.prompt + "\n")["input_ids"]
        rest = self.tokenizer("".join(f"{t}\n" for t in thoughts), add_special_tokens=False)["input_ids"]
        return Encoded([*prompt, *rest, self.eos], len(prompt))

    def rollout(self, prompt: str, thoughts: Sequence[str], outcome: float) -> Encoded:
        """Learn the outcome at every state of the line; imitate nothing of it."""
        tokens = list(self.tokenizer(prompt + "\n")["input_ids"])
        marks = [(len(tokens) - 1, outcome)]
        for thought in thoughts:
            tokens += self.tokenizer(f"{thought}\n", add_special_tokens=False)["input_ids"]
            marks.append((len(tokens) - 1, outcome))
        return Encoded(tokens, len(tokens), tuple(marks))

    def batch(self, sequences: Sequence[Encoded]) -> Batch:
        shape = (_up(len(sequences), ROWS), _up(max(len(s.tokens) for s in sequences), COLUMNS))
        tokens = np.full(shape, self.pad, dtype=np.int64)
        labels = np.full(shape, IGNORE, dtype=np.int64)
        values = np.full(shape, NO_VALUE, dtype=np.float32)
        for row, sequence in enumerate(sequences):
            tokens[row, : len(sequence.tokens)] = sequence.tokens
            labels[row, sequence.labels_from : len(sequence.tokens)] = sequence.tokens[sequence.labels_from :]
            for position, outcome in sequence.values:
                values[row, position] = outcome
        return Batch(torch.from_numpy(tokens), torch.from_numpy(labels), torch.from_numpy(values))


class Demonstrations:
    """Demonstrations of several domains.

    Args:
        weighted: (domain, share) pairs; a domain's share of the demonstrations.
        batch_tokens: tokens a batch holds, about; padding not counted.
        first: where in the stream step 0 is.
    """

    def __init__(
        self, weighted: Sequence[tuple[Domain, float]], encoder: Encoder, batch_tokens: int, seed: int, first: int = 0
    ) -> None:
        self.domains = [domain for domain, _ in weighted]
        shares = np.array([share for _, share in weighted], dtype=float)
        self.shares = shares / shares.sum()
        self.encoder = encoder
        self.batch_tokens = batch_tokens
        self.seed = seed
        self.first = first
        self._window: tuple[int, list[Batch]] = (-1, [])

    def __call__(self, step: int) -> Batch:
        index, position = divmod(self.first + step, WINDOW)
        if self._window[0] != index:
            self._window = (index, self._draw(index))
        return self._window[1][position]

    def _draw(self, index: int) -> list[Batch]:
        rng = np.random.default_rng(derive_seed(self.seed, "demonstrations", index))
        drawn: list[Encoded] = []
        total = 0
        while total < WINDOW * self.batch_tokens:
            domain = self.domains[rng.choice(len(self.domains), p=self.shares)]
            drawn.append(self.encoder.demonstration(*domain.demonstrate(rng)))
            total += len(drawn[-1].tokens)
        return bucket(drawn, WINDOW, self.encoder, rng)


class Outcomes:
    """Rollouts with outcomes, and demonstrations beside them so that imitation is not forgotten."""

    def __init__(
        self, rollouts: Sequence[Encoded], demonstrations: Demonstrations, encoder: Encoder, seed: int
    ) -> None:
        self.rollouts = rollouts
        self.demonstrations = demonstrations
        self.encoder = encoder
        self.seed = seed
        lengths = sum(len(s.tokens) for s in rollouts)
        self.per_epoch = max(1, round(lengths / demonstrations.batch_tokens))
        self._epoch: tuple[int, list[Batch]] = (-1, [])

    def __call__(self, step: int) -> Batch:
        """Even steps value rollouts, odd steps imitate."""
        half, odd = divmod(step, 2)
        if odd:
            return self.demonstrations(half)
        epoch, position = divmod(half, self.per_epoch)
        if self._epoch[0] != epoch:
            rng = np.random.default_rng(derive_seed(self.seed, "outcomes", epoch))
            self._epoch = (epoch, bucket(self.rollouts, self.per_epoch, self.encoder, rng))
        return self._epoch[1][position]


def _up(count: int, unit: int) -> int:
    return -(-count // unit) * unit


def bucket(sequences: Sequence[Encoded], count: int, encoder: Encoder, rng: np.random.Generator) -> list[Batch]:
    """Cut into `count` batches of about as many tokens each, alike in length, in random order."""
    order = rng.permutation(len(sequences))
    ordered = sorted((sequences[i] for i in order), key=lambda s: len(s.tokens))
    ends = np.cumsum([len(s.tokens) for s in ordered])
    cuts = np.searchsorted(ends, np.linspace(0, ends[-1], count + 1)[1:-1])
    groups = np.split(np.arange(len(ordered)), cuts)
    batches = [encoder.batch([ordered[i] for i in group]) for group in groups if len(group)]
    while len(batches) < count:  # fewer sequences than batches: some are seen twice
        batches.append(batches[int(rng.integers(len(batches)))])
    return [batches[i] for i in rng.permutation(count)]
