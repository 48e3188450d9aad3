"""One forward pass over many rows at once: hidden states, log-probabilities and values from the same hidden state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from policy.base import BadPolicy
from policy.kv import SlotCache
from policy.reading import CERTAIN, Likelihood
from policy.value_head import ValueHead


class Trunk:
    """A causal language model with its keys and values in slots.

    Args:
        model: any causal language model whose attention layers all keep keys and values of one shape.
        value_head: None for no values.
        slots: most rows at once.

    Attributes:
        vocabulary: V, number of logits.
        context: most tokens a row may hold.
        fed: tokens run through the model so far.
    """

    def __init__(self, model: PreTrainedModel, value_head: ValueHead | None, slots: int) -> None:
        untyped: Any = model
        self.body = untyped.base_model
        self.head = untyped.get_output_embeddings()
        self.value_head = value_head
        self.device: torch.device = model.device
        self.vocabulary: int = self.head.weight.shape[0]
        self.fed = 0
        config = model.config.get_text_config()
        # Within one sliding window, sliding attention is full attention.
        limits = (getattr(config, name, None) for name in ("max_position_embeddings", "sliding_window"))
        self.context = min((limit for limit in limits if limit), default=1 << 30)
        self.slots = slots
        self.kv = self._new_cache(model)
        self.check(model)

    @torch.inference_mode()
    def _new_cache(self, model: PreTrainedModel) -> SlotCache:
        one = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        # Trainers turn the cache off, and what they save says so.
        cache: Any = self.body(input_ids=one, use_cache=True).past_key_values
        shapes = {tuple(t.shape) for layer in getattr(cache, "layers", ()) for t in (layer.keys, layer.values)}
        if len(shapes) != 1 or self.head is None:
            raise BadPolicy(f"the tree decoder cannot run {type(model).__name__}: it needs plain attention layers")
        _, heads, _, head_dim = shapes.pop()
        return SlotCache(len(cache.layers), heads, head_dim, self.slots, model.dtype, self.device)

    @torch.inference_mode()
    def check(self, model: PreTrainedModel) -> None:
        """Compare with the model's own forward pass: an architecture that does more than this one knows is refused.

        Raises BadPolicy, also for broken weights. Uses the first slot.
        """
        tokens = np.arange(4)[None, :] % self.vocabulary
        plain = model(torch.from_numpy(tokens).to(self.device)).logits[0, -1].float()
        if not bool(plain.isfinite().all()):
            raise BadPolicy("the policy's weights are broken: its logits are no finite numbers")
        self.forward(tokens[:, :3], np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
        ours = self.head(self.forward(tokens[:, 3:], np.full(1, 3))[:, -1])[0].float()
        self.fed = 0
        if not torch.allclose(plain, ours, atol=1e-3 if model.dtype == torch.float32 else 0.3):
            raise BadPolicy(f"the tree decoder cannot run {type(model).__name__}: its logits differ from the model's")

    def forward(
        self, tokens: NDArray[np.int64], starts: NDArray[np.int64], slots: NDArray[np.int64] | None = None
    ) -> Tensor:
        """Feed rows, each from its own position on, for which `kv` must have room.

        Args:
            tokens: [R, T]; what a shorter row has at its end is junk that later tokens overwrite.
            starts: [R], how many tokens each row holds already.
            slots: [R]; None for the slots 0 to R - 1.

        Returns: the last layer's hidden states after the final norm, [R, T, H].
        """
        rows, width = tokens.shape
        length = int(starts.max()) + width
        length = min(self.kv.buffer.shape[4], -(-length // 16) * 16)
        at = torch.from_numpy(starts[:, None] + np.arange(width)).to(self.device)
        self.kv.aim(at, length, None if slots is None else torch.from_numpy(slots).to(self.device))
        seen = torch.arange(length, device=self.device) <= at[:, :, None]
        mask = torch.zeros(seen.shape, dtype=self.kv.buffer.dtype, device=self.device)
        self.fed += rows * width
        hidden: Tensor = self.body(
            input_ids=torch.from_numpy(tokens).to(self.device),
            attention_mask=mask.masked_fill_(~seen, -torch.inf)[:, None],
            position_ids=at.clamp(max=self.context - 1),
            past_key_values=self.kv,
            use_cache=True,
        ).last_hidden_state
        return hidden

    def logprobs(self, hidden: Tensor) -> NDArray[np.float32]:
        """Hidden states [R, H] -> log-probabilities of the next token at temperature 1, [R, V]."""
        logprobs: NDArray[np.float32] = self.head(hidden).float().log_softmax(-1).cpu().numpy()
        return logprobs

    def values(self, hidden: Tensor, lines: Sequence[Likelihood]) -> Sequence[float | None]:
        """Hidden states [R, H], likelihoods -> P(a rollout from here ends correct), R; None without a value head."""
        if self.value_head is None:
            return [None] * len(hidden)
        likelihoods = torch.tensor(lines, dtype=torch.float32, device=hidden.device)
        values: list[float] = torch.sigmoid(self.value_head(hidden.float(), likelihoods)).tolist()
        return values

    def likelihood(self, tokens: Sequence[int], start: int) -> Likelihood:
        """Of tokens[start:], in a forward pass of its own; start is at least 1."""
        if self.value_head is None or start >= len(tokens):
            return CERTAIN
        line = torch.tensor([tokens], device=self.device)
        hidden: Tensor = self.body(input_ids=line, use_cache=False).last_hidden_state
        logprobs = self.head(hidden[0, start - 1 : -1]).float().log_softmax(-1)
        gained = logprobs.gather(1, line[0, start:, None])
        return Likelihood(float(gained.sum()), float(gained.min()))
