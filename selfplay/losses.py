"""What the learner minimises: an objective's own term, imitation, the value head's cross entropy, and the KL anchor.

All are sums; the weights in a batch are scaled so that each is, on average over the batches, a mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from policy.batches import ROWS


@dataclass(frozen=True)
class Batch:
    """Right-padded sequences; B and T are multiples of ROWS and COLUMNS (policy/batches.py). A pair of thoughts to be
    told apart stands in rows 2i and 2i + 1.

    Attributes:
        tokens: int64 [B, T].
        thoughts: float32 [B, T]; 1 / (their number in the batch) at the tokens of thoughts, 0 elsewhere.
        imitation: float32 [B, T], weight of each token's cross entropy.
        advantages: float32 [B, T], signed.
        old: float32 [B, T], log-probability of each token under the policy that played, where an objective asks for it.
        targets: float32 [B, T], P(a rollout ends correct) at a state's last token.
        trust: float32 [B, T], weight of the target; 0 where there is none.
    """

    tokens: Tensor
    thoughts: Tensor
    imitation: Tensor
    advantages: Tensor
    old: Tensor
    targets: Tensor
    trust: Tensor

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(*(change(getattr(self, field.name)) for field in fields(self)))

    def part(self, number: int, count: int) -> Batch | None:
        """One of `count` parts with about as many rows each, pairs kept whole; None if it would hold nothing."""
        units = len(self.tokens) // ROWS
        first, last = (units * end // count * ROWS for end in (number, number + 1))
        return self.each(lambda tensor: tensor[first:last]) if first < last else None


class Reading(NamedTuple):
    """One forward pass: hidden states after the final norm [B, T, H], and logits [B, T, V]."""

    hidden: Tensor
    logits: Tensor


class Scores(NamedTuple):
    """Log-probability of each token given those before it, float32 [B, T] (0 at the first), under the policy that is
    trained and under the base (None unless the objective compares with it)."""

    logprobs: Tensor
    reference: Tensor | None = None


class Terms(NamedTuple):
    """The four terms of a loss, unweighted."""

    objective: Tensor
    imitation: Tensor
    value: Tensor
    anchor: Tensor


class ValueReader(Protocol):
    def __call__(self, states: Tensor, likelihoods: Tensor) -> Tensor: ...


def terms(
    reading: Reading, head: ValueReader, batch: Batch, objective: Callable[[Scores, Batch], Tensor],
    reference: Tensor | None = None, anchor: Tensor | None = None, *, shared: bool = True,
) -> Terms:
    """The terms over a batch.

    Args:
        head: see ValueHead.
        objective: see Objective.loss.
        reference: the base's logits [B, T, V], if the objective compares with it.
        anchor: logits of the policy that this one is to stay close to, if any.
        shared: the value head's loss shapes the policy's states too, and not the head alone.
    """  # fmt: skip
    scores = Scores(logprobs(reading.logits, batch.tokens),
                    None if reference is None else logprobs(reference, batch.tokens))
    zero = scores.logprobs.new_zeros(())
    states = batch.trust > 0
    value = zero
    if bool(states.any()):
        read = reading.hidden[states].float()
        found = head(read if shared else read.detach(), likelihoods(scores.logprobs, batch)[states]).float()
        value = functional.binary_cross_entropy_with_logits(
            found, batch.targets[states], weight=batch.trust[states], reduction="sum"
        )
    return Terms(
        objective=objective(scores, batch),
        imitation=-(batch.imitation * scores.logprobs).sum(),
        value=value,
        anchor=zero if anchor is None else (batch.thoughts * divergence(reading.logits, anchor)).sum(),
    )  # fmt: skip


def logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    """See Scores."""
    told = logits[:, :-1].float()
    gained = told.gather(-1, tokens[:, 1:, None])[..., 0] - told.logsumexp(-1)
    return functional.pad(gained, (1, 0))


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(policy || reference) of the distribution that each token was drawn from [nats], exactly, [B, T]."""
    ours, theirs = (each[:, :-1].float().log_softmax(-1) for each in (logits, reference))
    return functional.pad((ours.exp() * (ours - theirs)).sum(-1), (1, 0))


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the distribution that each token was drawn from [nats], [B, T]."""
    ours = logits[:, :-1].float().log_softmax(-1)
    return functional.pad(-(ours.exp() * ours).sum(-1), (1, 0))


@torch.no_grad()
def likelihoods(gained: Tensor, batch: Batch) -> Tensor:
    """The Likelihood (policy/reading.py) of the thoughts up to each token, [B, T, 2]."""
    gained = torch.where(batch.thoughts > 0, gained.detach(), 0.0)
    return torch.stack([gained.cumsum(1), gained.cummin(1).values], -1)
