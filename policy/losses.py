"""What pretraining minimises."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM

from policy.batches import IGNORE, NO_VALUE, Batch
from policy.value_head import ValueHead


def losses(model: LlamaForCausalLM, head: ValueHead, batch: Batch) -> tuple[Tensor, Tensor]:
    """(imitation loss in nats a token, value loss in nats a state); zero where a batch holds none."""
    hidden = model.model(input_ids=batch.tokens, use_cache=False).last_hidden_state
    targets = batch.labels[:, 1:]
    chosen = targets != IGNORE
    zero = hidden.new_zeros((), dtype=torch.float32)
    imitation = value = zero
    if bool(chosen.any()):
        logits = model.lm_head(hidden[:, :-1])  # all positions: how many are learned from differs from batch to batch
        imitation = functional.cross_entropy(logits[chosen].float(), targets[chosen])
    states = batch.values != NO_VALUE
    if bool(states.any()):
        logits = head(hidden[states], likelihoods(model, hidden.detach(), batch)[states])
        value = functional.binary_cross_entropy_with_logits(logits.float(), batch.values[states])
    return imitation, value


@torch.no_grad()
def likelihoods(model: LlamaForCausalLM, hidden: Tensor, batch: Batch) -> Tensor:
    """The Likelihood of the thoughts up to each position, [B, T, 2]; a row's first state ends its prompt."""
    gained = hidden.new_zeros(batch.tokens.shape, dtype=torch.float32)
    logprobs = model.lm_head(hidden[:, :-1]).float().log_softmax(-1)
    gained[:, 1:] = logprobs.gather(-1, batch.tokens[:, 1:, None])[..., 0]
    given = (batch.values != NO_VALUE).int().cumsum(1) - (batch.values != NO_VALUE).int() == 0
    gained[given] = 0.0
    return torch.stack([gained.cumsum(1), gained.cummin(1).values], -1)
