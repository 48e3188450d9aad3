"""One forward pass over many rows at once: hidden states, log-probabilities and values from the same hidden state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from policy.base import BadPolicy
from policy.fused import Aim, Fused, computes_in
from policy.gpu.static import StaticStep, checked
from policy.gpu.transfers import Fetch, send
from policy.kv import SlotCache, Stem
from policy.lora import Lora, Worn, worn_by
from policy.products import Alone
from policy.reading import CERTAIN, Likelihood
from policy.value_head import ValueHead

if TYPE_CHECKING:
    from policy.host.step import HostStep

CHECKED = 10  # tokens; at load they are read in two pieces, a wide and a narrow one
BROKEN = "the policy's weights are broken: its logits are no finite numbers"


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
        fused: the model's layers in fewer operations, where they fit; only these know stems.
        static: on a GPU, steps of one token a row, of these layers, that are captured and replayed.
        host: on a CPU, steps of few tokens a row, of these layers, that are compiled.
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
        self._dtype = model.dtype
        fits = Fused.fits(model)
        self.kv = self._new_cache(model, computes_in(model) if fits else model.dtype)
        self.fused = Fused(model, self.kv) if fits else None
        self.static: StaticStep | None = None
        self.host: HostStep | None = None
        self.check(model)

    @torch.inference_mode()
    def _new_cache(self, model: PreTrainedModel, dtype: torch.dtype) -> SlotCache:
        one = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        # Trainers turn the cache off, and what they save says so.
        cache: Any = self.body(input_ids=one, use_cache=True).past_key_values
        shapes = {tuple(t.shape) for layer in getattr(cache, "layers", ()) for t in (layer.keys, layer.values)}
        if len(shapes) != 1 or self.head is None:
            raise BadPolicy(f"the tree decoder cannot run {type(model).__name__}: it needs plain attention layers")
        _, heads, _, head_dim = shapes.pop()
        return SlotCache(len(cache.layers), heads, head_dim, self.slots, dtype, self.device)

    @torch.inference_mode()
    def check(self, model: PreTrainedModel) -> None:
        """Compare with the model's own forward pass: an architecture that does more than this one knows is refused.

        To be called again when its weights have changed. Raises BadPolicy, also for broken weights. Uses the first
        slots.
        """
        self._multiplied = Alone(self.head)
        self.static = self.host = None  # what was captured may read weights that are no longer the model's
        tokens = np.arange(min(CHECKED, self.context))[None, :] % self.vocabulary
        plain = model(torch.from_numpy(tokens).to(self.device)).logits[0, -1].float()
        if not bool(plain.isfinite().all()):
            raise BadPolicy(BROKEN)
        if self.fused is not None:
            self.fused.bind()
            if self.device.type == "cpu" and self.kv.buffer.dtype == torch.float32:
                from policy.host.step import HostStep  # slow to import

                self.host = HostStep(self.fused, self.kv)
            if self._agrees(tokens, plain):
                self.static = checked(self)
                return
            self.fused = self.host = None
            self.kv = self._new_cache(model, model.dtype)
        if not self._agrees(tokens, plain):
            raise BadPolicy(f"the tree decoder cannot run {type(model).__name__}: its logits differ from the model's")

    def _agrees(self, tokens: NDArray[np.int64], plain: Tensor) -> bool:
        """Are these the logits after some tokens, of which all but the last are read at once?"""
        first = tokens.shape[1] - 1
        self.forward(tokens[:, :first], np.zeros(1, dtype=np.int64), slots=np.zeros(1, dtype=np.int64))
        ours = self._logits(self.forward(tokens[:, first:], np.full(1, first))[:, -1])[0]
        self.fed = 0
        return torch.allclose(plain, ours, atol=1e-3 if self._dtype == torch.float32 else 0.3)

    def _logits(self, hidden: Tensor) -> Tensor:
        return self._multiplied(hidden).float()

    def forward(
        self, tokens: NDArray[np.int64], starts: NDArray[np.int64], offsets: NDArray[np.int64] | None = None,
        stems: Sequence[tuple[Stem, Tensor | None]] = (), slots: NDArray[np.int64] | None = None,
        worn: Worn | None = None,
    ) -> Tensor:  # fmt: skip
        """Feed rows, each from its own position on, for which `kv` must have room.

        Args:
            tokens: [R, T]; what a shorter row has at its end is junk that later tokens overwrite.
            starts: [R], how many tokens each row holds already.
            offsets: [R], how many of them are in its stem; None where no row has one.
            stems: and which rows have them, [n]; None for all.
            slots: [R]; None for the slots 0 to R - 1.
            worn: which rows wear which adapters; None if no row does.

        Returns: the last layer's hidden states after the final norm, [R, T, H].
        """
        rows, width = tokens.shape
        self.fed += rows * width
        own = starts if offsets is None else starts - offsets
        if self.static is not None and width == 1 and slots is None and worn is None:
            hidden = self.static(tokens[:, 0], starts, own, stems)
            if hidden is not None:
                return hidden[:, None]
        elif self.host is not None and width <= self.host.widest:
            return self.host.forward(tokens, starts, own, stems, slots, worn)
        length = min(self.kv.buffer.shape[4], -(-(int(own.max()) + width) // 16) * 16)
        steps = np.arange(width)
        at, mine = (send(first[:, None] + steps, self.device) for first in (starts, own))
        where = None if slots is None else send(slots, self.device)
        ids = send(tokens, self.device)
        if self.fused is not None:
            return self.fused(ids, Aim(at, mine, where, length, [(stem.kv, some) for stem, some in stems], worn))
        self.kv.aim(at, length, where)
        seen = torch.arange(length, device=self.device) <= at[:, :, None]
        mask = torch.zeros(seen.shape, dtype=self.kv.buffer.dtype, device=self.device)
        found: Tensor = self.body(
            input_ids=ids, attention_mask=mask.masked_fill_(~seen, -torch.inf)[:, None],
            position_ids=at.clamp(max=self.context - 1), past_key_values=self.kv, use_cache=True,
        ).last_hidden_state  # fmt: skip
        return found

    def logprobs(self, hidden: Tensor) -> Tensor:
        """Hidden states [R, H] -> log-probabilities of the next token at temperature 1, float32, [R, V]."""
        return torch.log_softmax(self._multiplied(hidden), -1, dtype=torch.float32)

    def values(
        self, hidden: Tensor, lines: Sequence[Likelihood], loras: Sequence[Lora | None]
    ) -> Callable[[], Sequence[float | None]]:
        """P(a rollout from here ends correct), R; None without a value head.

        Args:
            hidden: [R, H].
            lines: R likelihoods.
            loras: R, whose value head is asked; None for the base's.

        Returns: them, when they are wanted: on a GPU they are on their way until then.
        """
        likelihoods = send(np.array(lines, dtype=np.float32), hidden.device)
        groups: list[tuple[list[int], Fetch]] = []
        for lora in dict.fromkeys(loras):
            head = self._head_of(lora)
            if head is not None:
                some = [row for row, other in enumerate(loras) if other is lora]
                alone = len(some) == len(loras)
                index = None if alone else send(np.array(some), hidden.device)
                of = (hidden, likelihoods) if index is None else (hidden[index], likelihoods[index])
                groups.append((some, Fetch(torch.sigmoid(head(of[0].float(), of[1])))))

        def fetched() -> Sequence[float | None]:
            values: list[float | None] = [None] * len(loras)
            for some, fetch in groups:
                for row, value in zip(some, fetch()[0].tolist(), strict=True):
                    values[row] = value
            return values

        return fetched

    def likelihood(self, tokens: Sequence[int], start: int, lora: Lora | None = None) -> Likelihood:
        """Of tokens[start:], in a forward pass of its own; start is at least 1."""
        if self._head_of(lora) is None or start >= len(tokens):
            return CERTAIN
        line = torch.tensor([tokens], device=self.device)
        logprobs = self._logits(self._alone(line, lora)[0, start - 1 : -1]).log_softmax(-1)
        gained = logprobs.gather(1, line[0, start:, None])
        return Likelihood(float(gained.sum()), float(gained.min()))

    @torch.inference_mode()
    def try_on(self, lora: Lora) -> None:
        """Raises BadPolicy for broken weights. At any time: touches no slot."""
        line = torch.arange(4, device=self.device)[None] % self.vocabulary
        if not bool(self._logits(self._alone(line, lora)).isfinite().all()):
            raise BadPolicy(BROKEN)

    def _head_of(self, lora: Lora | None) -> ValueHead | None:
        return self.value_head if lora is None else lora.value_head

    def _alone(self, line: Tensor, lora: Lora | None) -> Tensor:
        """Hidden states [1, T, H] of a line [1, T], in a forward pass of its own."""
        if lora is None:
            hidden: Tensor = self.body(input_ids=line, use_cache=False).last_hidden_state
            return hidden
        assert self.fused is not None
        layers, _, _, heads, _, dim = self.kv.buffer.shape
        kv = SlotCache(layers, heads, dim, 1, self.kv.buffer.dtype, self.device)
        kv.reserve(line.shape[1], 0)
        at = torch.arange(line.shape[1], device=self.device)[None]
        return self.fused(line, Aim(at, at, None, line.shape[1], worn=worn_by([lora], self.device)), kv)
