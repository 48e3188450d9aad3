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
    """

    at: Tensor
    own: Tensor
    slots: Tensor | None
    length: int
    stems: Sequence[tuple[Tensor, Tensor | None]] = ()


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
        """Weights that a module was given in place of its own are used from now on."""
        for layer in self.layers:
            layer.bind()

    def __call__(self, tokens: Tensor, aim: Aim) -> Tensor:
        """Tokens [R, T] -> hidden states after the final norm, [R, T, H]."""
        rows, width = tokens.shape
        attention = Attention(self.kv, aim, rows, width, self.layers[0].heads)
        return self.run(tokens.flatten(), aim.at.reshape(-1), attention).view(rows, width, -1)

    def run(self, tokens: Tensor, at: Tensor, attention: Attend) -> Tensor:
        """Tokens [N] at positions [N] of their lines -> hidden states after the final norm, [N, H]."""
        x = self.embed(tokens).to(self.kv.buffer.dtype)
        angles = at[:, None].float() * self.rope.inv_freq
        cos, sin = (turn(angles).mul_(self.rope.attention_scaling).to(x.dtype) for turn in (torch.cos, torch.sin))
        turns = cos[:, None, None], torch.stack([-sin, sin], 1)[:, None]
        for number, layer in enumerate(self.layers):
            layer(x, turns, number, attention)
        return _norm(self.norm, x)


class _Layer:
    """Attention and feed-forward of one layer; changes its input into its output."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.norms = layer.input_layernorm, layer.post_attention_layernorm
        self.head_norms = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
        self.dim = attention.head_dim
        self.heads = attention.q_proj.out_features // self.dim
        self.kv_heads = attention.k_proj.out_features // self.dim
        self.read = Joined([attention.q_proj, attention.k_proj, attention.v_proj])
        self.write = attention.o_proj
        self.up, self.down = Joined([mlp.gate_proj, mlp.up_proj]), mlp.down_proj

    def bind(self) -> None:
        self.read.bind()
        self.up.bind()

    def __call__(self, x: Tensor, turns: tuple[Tensor, Tensor], number: int, attention: Attend) -> None:
        """x: [N, H], in place; turns: cosines [N, 1, 1, dim / 2] and signed sines [N, 1, 2, dim / 2]."""
        drawn = self.read(_norm(self.norms[0], x))
        units = drawn.view(len(x), -1, 2, self.dim // 2)[:, : self.heads + self.kv_heads]
        for norm, part in zip(self.head_norms, (units[:, : self.heads], units[:, self.heads :]), strict=True):
            if norm is not None:
                part.copy_(_norm(norm, part.flatten(2)).view_as(part))
        swapped = units.flip(2)
        units.mul_(turns[0]).addcmul_(swapped, turns[1])
        ours = self.heads * self.dim
        _add(x, attention(drawn[:, :ours], drawn[:, ours:], number), self.write)
        width = self.down.in_features
        raised = self.up(_norm(self.norms[1], x))
        _add(x, silu(raised[:, :width]).mul_(raised[:, width:]), self.down)


class Attention:
    """Attention of new tokens to their stems, and to what their slots hold.

    Args:
        heads: of the queries.
    """

    def __init__(self, kv: SlotCache, aim: Aim, rows: int, width: int, heads: int) -> None:
        self._kv, self._aim, self._rows, self._width = kv, aim, rows, width
        _, _, slots, self._kv_heads, room, self._dim = kv.buffer.shape
        self._group = heads // self._kv_heads
        self._scale = 1 / math.sqrt(self._dim)
        device = aim.own.device
        numbers = torch.arange(rows, device=device) if aim.slots is None else aim.slots
        planes = torch.arange(2, device=device)[:, None] * slots * self._kv_heads
        rooms = planes + torch.arange(self._kv_heads, device=device)  # [2, kv heads]
        rooms = (rooms + numbers[:, None, None] * self._kv_heads)[:, None] * room + aim.own[:, :, None, None]
        self._places = rooms.reshape(-1)  # of each row's, token's, plane's and head's vector in a layer's buffer
        unseen = torch.arange(aim.length, device=device) > aim.own[:, :, None]
        mask = torch.zeros(unseen.shape, dtype=kv.buffer.dtype, device=device).masked_fill_(unseen, -math.inf)
        shape = rows, self._kv_heads, self._group if width > 1 else 1, width, aim.length  # one token: it broadcasts
        self._mask = mask[:, None, None].expand(shape).reshape(rows * self._kv_heads, -1, aim.length)
        self._longest = max((stem.shape[3] for stem, _ in aim.stems), default=0)

    def __call__(self, queries: Tensor, new: Tensor, layer: int) -> Tensor:
        """Queries [N, heads * dim], new keys and values [N, 2 * kv heads * dim] -> [N, heads * dim]."""
        buffer = self._kv.buffer[layer]
        buffer.view(-1, self._dim).index_copy_(0, self._places, new.reshape(-1, self._dim))
        aim, rows, each = self._aim, self._rows, self._group * self._width
        keys, values = (plane[: rows] if aim.slots is None else plane[aim.slots] for plane in buffer)
        keys, values = (part[:, :, : aim.length].flatten(0, 1) for part in (keys, values))
        queries = queries.reshape(rows, self._width, self._kv_heads, self._group, self._dim)
        queries = queries.permute(0, 2, 3, 1, 4).reshape(rows * self._kv_heads, each, self._dim)
        scores = torch.baddbmm(self._mask, queries, keys.transpose(1, 2), alpha=self._scale)
        if aim.stems:
            scores = torch.cat([self._stem_scores(queries, layer), scores], -1)
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(queries.dtype)
        found = torch.bmm(weights[..., self._longest :], values)
        for stem, some in aim.stems:
            self._add_stem(found, weights[..., : stem.shape[3]], stem[layer, 1], some)
        found = found.view(rows, self._kv_heads, self._group, self._width, self._dim).permute(0, 3, 1, 2, 4)
        return found.reshape(rows * self._width, -1)

    def _stem_scores(self, queries: Tensor, layer: int) -> Tensor:
        """Queries [R * kv heads, Q, dim] -> [R * kv heads, Q, longest stem]; what a row has no stem for is unseen."""
        aim, shape = self._aim, (self._rows, self._kv_heads, queries.shape[1], self._longest)
        if len(aim.stems) == 1 and aim.stems[0][1] is None:
            return self._together(queries, aim.stems[0][0][layer, 0].transpose(1, 2)).mul_(self._scale)
        scores = queries.new_full(shape, -math.inf)
        for stem, some in aim.stems:
            of = queries.view(*shape[:3], self._dim)
            mine = self._together((of if some is None else of[some]).flatten(0, 1), stem[layer, 0].transpose(1, 2))
            mine = mine.mul_(self._scale).view(-1, *shape[1:3], stem.shape[3])
            scores[slice(None) if some is None else some, :, :, : stem.shape[3]] = mine
        return scores.flatten(0, 1)

    def _add_stem(self, found: Tensor, weights: Tensor, values: Tensor, some: Tensor | None) -> None:
        if some is None:
            found.add_(self._together(weights, values))
            return
        shape = self._rows, self._kv_heads, weights.shape[1]
        mine = self._together(weights.reshape(*shape, -1)[some].flatten(0, 1), values)
        found.view(*shape, self._dim).index_add_(0, some, mine.view(-1, *shape[1:], self._dim))

    def _together(self, left: Tensor, right: Tensor) -> Tensor:
        """[r * kv heads, Q, a] times [kv heads, a, b], a product for each head -> [r * kv heads, Q, b]."""
        if self._kv_heads == 1:
            return torch.mm(left.reshape(-1, left.shape[2]), right[0]).view(*left.shape[:2], -1)
        count = len(left) // self._kv_heads
        heads = left.reshape(count, self._kv_heads, *left.shape[1:]).transpose(0, 1).flatten(1, 2)
        product = torch.bmm(heads, right).view(self._kv_heads, count, left.shape[1], -1)
        return product.transpose(0, 1).flatten(0, 1)


class Joined:
    """Linear layers of one input as one product, whose weights they keep views of."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        self.parts = parts
        self.weight = torch.empty(0)
        self.bias: Tensor | None = None
        self._join()

    def _join(self) -> None:
        self.weight = torch.cat([part.weight.data for part in self.parts])
        biases = [part.bias for part in self.parts]
        self.bias = None if any(bias is None for bias in biases) else torch.cat([bias.data for bias in biases])
        at = 0
        for part in self.parts:
            mine = slice(at, at + part.out_features)
            part.weight.data = self.weight[mine]
            if self.bias is not None:
                part.bias.data = self.bias[mine]
            at = mine.stop

    def bind(self) -> None:
        """Join anew where a part was given other tensors."""
        mine = {tensor.untyped_storage().data_ptr() for tensor in (self.weight, self.bias) if tensor is not None}
        theirs = {p.untyped_storage().data_ptr() for part in self.parts for p in (part.weight, part.bias)
                  if p is not None}
        if theirs != mine:
            self._join()

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x.to(self.weight.dtype), self.weight, self.bias).to(x.dtype)


def computes_in(model: PreTrainedModel) -> torch.dtype:
    """What everything between the matrices is computed in, and keys and values are kept in.

    A CPU multiplies matrices of bfloat16 fast, and does nothing else fast with it.
    """
    return torch.float32 if model.device.type == "cpu" else model.dtype


def _norm(module: Any, x: Tensor) -> Tensor:
    return rms_norm(x, module.weight.shape, module.weight.to(x.dtype), module.variance_epsilon)


def _add(x: Tensor, y: Tensor, through: nn.Linear) -> None:
    """x += through(y), in place."""
    if through.weight.dtype != x.dtype:
        x.add_(linear(y.to(through.weight.dtype), through.weight))
    else:
        x.addmm_(y, through.weight.t())
    if through.bias is not None:
        x.add_(through.bias)
