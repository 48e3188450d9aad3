"""The forward pass of Llama and its relatives in few, large operations, for decoding.

Matrices that read the same input lie one after the other in memory and are multiplied at once; the model's own modules
keep views of them, so that loading weights or merging an adapter changes both. The heads that share keys and values
(grouped-query attention, Ainslie et al. 2023) are rows of one product. What many rows have in common, a stem, is read
once for all of them, in one product too (as in Hydragen, Juravsky et al. 2024): keys and values of a prompt are neither
copied nor read for every row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm, silu
from transformers import PreTrainedModel

from policy.kv import SlotCache
from policy.lora import Worn
from policy.products import Joined, Plan, knows, lined_up, padded, planned

FAMILIES = {"llama", "mistral", "qwen2", "qwen3"}
Attend = Callable[[Tensor, Tensor, int], Tensor]  # see Attention.__call__
ROPES = {"default", "linear", "llama3", "yarn"}  # whose frequencies do not depend on the length of a line


@dataclass(frozen=True)
class Aim:
    """Where a forward pass writes, and what its rows see. R rows of T new tokens.

    Attributes:
        at: [R, T], positions of the new tokens in their lines.
        own: [R, T], their positions in their slots; less than `at` by the length of the row's stem.
        slots: [R]; None for the slots 0 to R - 1, which are read without a copy.
        length: positions [0, length) of the slots are read.
        stems: keys and values [layers, 2, heads, P, dim] of what rows have in common, and which rows: [n], or None
            for all of them.
        worn: which rows wear which adapters; None if no row does.
    """

    at: Tensor
    own: Tensor
    slots: Tensor | None
    length: int
    stems: Sequence[tuple[Tensor, Tensor | None]] = ()
    worn: Worn | None = None


class Fused:
    """The layers of a model that `fits`, without its embeddings and its head.

    Args:
        model: its weights move to where they lie side by side.
        kv: keys and values of the rows.
    """

    def __init__(self, model: PreTrainedModel, kv: SlotCache) -> None:
        untyped: Any = model
        body = untyped.base_model
        self.kv, self.embed, self.norm = kv, body.embed_tokens, body.norm
        self.rope = body.rotary_emb
        self.layers = [_Layer(layer) for layer in body.layers]
        weights = list(body.layers.parameters())
        self.plan, self.lines_up = planned(weights), all(knows(weight) for weight in weights)

    @staticmethod
    def fits(model: PreTrainedModel) -> bool:
        """Is it a model of a family that this one knows, with plain weights?"""
        config: Any = model.config
        rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
        body: Any = model.base_model
        plain = all(type(module) in (nn.Linear, nn.Embedding) for module in body.modules() if hasattr(module, "weight")
                    and module.weight.ndim > 1)
        return config.model_type in FAMILIES and config.hidden_act == "silu" and rope in ROPES and plain

    def bind(self) -> None:
        """What the modules' weights have become is used from now on."""
        for layer in self.layers:
            layer.bind(self.plan)

    def __call__(self, tokens: Tensor, aim: Aim, kv: SlotCache | None = None) -> Tensor:
        """Tokens [R, T] -> hidden states after the final norm, [R, T, H]; `kv`: in place of its own."""
        rows, width = tokens.shape
        kv = self.kv if kv is None else kv
        attention = Attention(kv, aim, rows, width, self.layers[0].heads)
        worn = None if aim.worn is None else aim.worn.by_token(width)
        return self.run(tokens.flatten(), aim.at.reshape(-1), attention, worn).view(rows, width, -1)

    def run(self, tokens: Tensor, at: Tensor, attention: Attend, worn: Worn | None = None) -> Tensor:
        """Tokens [N] at positions [N] of their lines -> hidden states after the final norm, [N, H]."""
        x = self.embed(tokens).to(self.kv.buffer.dtype)
        angles = at[:, None].float() * self.rope.inv_freq
        cos, sin = (turn(angles).mul_(self.rope.attention_scaling).to(x.dtype) for turn in (torch.cos, torch.sin))
        turns = torch.cat([cos, cos], 1)[:, None], torch.cat([-sin, sin], 1)[:, None]
        count = len(tokens)
        if self.lines_up:
            x = padded(x, lined_up(count, self.plan.least))
        for number, layer in enumerate(self.layers):
            x = layer(x, turns, number, attention, worn)
        return _norm(self.norm, x[:count])


class _Layer:
    """Attention and feed-forward of one layer."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.norms = layer.input_layernorm, layer.post_attention_layernorm
        self.head_norms = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
        self.dim = attention.head_dim
        self.heads = attention.q_proj.out_features // self.dim
        self.kv_heads = attention.k_proj.out_features // self.dim
        self.read = Joined([attention.q_proj, attention.k_proj, attention.v_proj])
        self.write = Joined([attention.o_proj])
        self.up, self.down = Joined([mlp.gate_proj, mlp.up_proj]), Joined([mlp.down_proj])

    def bind(self, plan: Plan) -> None:
        for joined in (self.read, self.write, self.up, self.down):
            joined.bind(plan)

    def __call__(
        self, x: Tensor, turns: tuple[Tensor, Tensor], number: int, attention: Attend, worn: Worn | None
    ) -> Tensor:
        """x: [M, H], of which the first N rows count; turns: their cosines and signed sines [N, 1, dim] -> [M, H]."""

        def through(joined: Joined, entering: Tensor, name: str) -> Tensor:
            found = joined(entering)
            if worn is not None:
                worn.add(found, entering, number, name)
            return found

        drawn = through(self.read, _norm(self.norms[0], x), "read")[: turns[0].shape[0]]
        units = drawn.view(drawn.shape[0], -1, self.dim)[:, : self.heads + self.kv_heads]
        for norm, part in zip(self.head_norms, (units[:, : self.heads], units[:, self.heads :]), strict=True):
            if norm is not None:
                part.copy_(_norm(norm, part))
        half = self.dim // 2
        swapped = torch.cat([units[:, :, half:], units[:, :, :half]], 2)
        units.mul_(turns[0]).addcmul_(swapped, turns[1])
        ours = self.heads * self.dim
        found = padded(attention(drawn[:, :ours], drawn[:, ours:], number), x.shape[0])
        x = through(self.write, found, "write").add_(x)
        gate, raised = through(self.up, _norm(self.norms[1], x), "up").chunk(2, 1)
        return through(self.down, silu(gate).mul_(raised), "down").add_(x)


class Attention:
    """Attention of new tokens to their stems, and to what their slots hold.

    Args:
        heads: of the queries.
    """

    def __init__(self, kv: SlotCache, aim: Aim, rows: int, width: int, heads: int) -> None:
        self._kv, self._aim, self._rows, self._width = kv, aim, rows, width
        _, _, slots, self._kv_heads, room, self._dim = kv.buffer.shape
        self._group = heads // self._kv_heads
        device = aim.own.device
        numbers = torch.arange(rows, device=device) if aim.slots is None else aim.slots
        planes = torch.arange(2, device=device)[:, None] * slots * self._kv_heads
        rooms = planes + torch.arange(self._kv_heads, device=device)  # [2, kv heads]
        rooms = (rooms + numbers[:, None, None] * self._kv_heads)[:, None] * room + aim.own[:, :, None, None]
        self._places = rooms.reshape(-1)  # of each row's, token's, plane's and head's vector in a layer's buffer
        unseen = torch.arange(aim.length, device=device) > aim.own[:, :, None]
        mask = torch.zeros(unseen.shape, dtype=kv.buffer.dtype, device=device).masked_fill_(unseen, -math.inf)
        self._mask = mask if width == 1 else mask.repeat(1, self._group, 1)  # one token: it broadcasts
        self._longest = max((stem.shape[3] for stem, _ in aim.stems), default=0)

    def __call__(self, queries: Tensor, new: Tensor, layer: int) -> Tensor:
        """Queries [N, heads * dim], new keys and values [N, 2 * kv heads * dim] -> [N, heads * dim]."""
        buffer, aim = self._kv.buffer[layer], self._aim
        buffer.view(-1, self._dim).index_copy_(0, self._places, new.reshape(-1, self._dim))
        keys, values = (plane[: self._rows] if aim.slots is None else plane[aim.slots] for plane in buffer)
        split = self._rows, self._width, self._kv_heads, self._group, self._dim
        queries = (queries * (1 / math.sqrt(self._dim))).view(split).permute(2, 0, 3, 1, 4)
        queries = queries.reshape(self._kv_heads, self._rows, -1, self._dim)
        found = [self._head(queries[head], keys[:, head, : aim.length], values[:, head, : aim.length],
                            [stem[layer, :, head] for stem, _ in aim.stems]) for head in range(self._kv_heads)]
        heads = found[0][None] if len(found) == 1 else torch.stack(found)
        heads = heads.view(self._kv_heads, self._rows, self._group, self._width, self._dim)
        return heads.permute(1, 3, 0, 2, 4).reshape(self._rows * self._width, -1)

    def _head(self, queries: Tensor, keys: Tensor, values: Tensor, stems: Sequence[Tensor]) -> Tensor:
        """Of one head of keys and values, whose queries are rows of one product.

        Queries [R, Q, dim], keys and values in the slots [R, length, dim], and of stems [2, P, dim] -> [R, Q, dim].
        """
        scores = torch.baddbmm(self._mask, queries, keys.transpose(1, 2))
        if stems:
            scores = torch.cat([self._stem_scores(queries, [stem[0] for stem in stems]), scores], -1)
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(queries.dtype)
        found = torch.bmm(weights[..., self._longest :], values)
        for stem, (_, some) in zip(stems, self._aim.stems, strict=True):
            mine = weights[..., : stem.shape[1]]
            if some is None:
                found.add_(_shared(mine, stem[1].t()))
            else:
                found.index_add_(0, some, _shared(mine[some], stem[1].t()))
        return found

    def _stem_scores(self, queries: Tensor, stems: Sequence[Tensor]) -> Tensor:
        """Queries [R, Q, dim], keys [P, dim] -> [R, Q, longest stem]; what a row has no stem for is unseen."""
        if len(stems) == 1 and self._aim.stems[0][1] is None:
            return _shared(queries, stems[0])
        scores = queries.new_full((*queries.shape[:2], self._longest), -math.inf)
        for keys, (_, some) in zip(stems, self._aim.stems, strict=True):
            mine = _shared(queries if some is None else queries[some], keys)
            scores[slice(None) if some is None else some, :, : len(keys)] = mine
        return scores


def computes_in(model: PreTrainedModel) -> torch.dtype:
    """What everything between the matrices is computed in, and keys and values are kept in.

    A CPU multiplies matrices of bfloat16 fast, and does nothing else fast with it.
    """
    return torch.float32 if model.device.type == "cpu" else model.dtype


def _shared(x: Tensor, weight: Tensor) -> Tensor:
    """[R, Q, in] times the transpose of one [out, in] -> [R, Q, out]. Not by oneDNN: prompts have too many lengths."""
    return linear(x.reshape(-1, x.shape[2]), weight).view(*x.shape[:2], -1)


def _norm(module: Any, x: Tensor) -> Tensor:
    """Root mean square normalisation, in fewer operations than torch's own on a CPU; on a GPU that is a single one."""
    if x.is_cuda:
        return rms_norm(x, module.weight.shape, module.weight.to(x.dtype), module.variance_epsilon)
    size = x.shape[-1]
    norms = torch.linalg.vector_norm(x, 2, -1, True)
    norms = norms.square_().mul_(1 / size).add_(module.variance_epsilon).rsqrt_()
    normed: Tensor = (x * norms).mul_(module.weight)
    return normed
