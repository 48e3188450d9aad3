"""Attention of one new token a row, read straight from the slots: the inner loop of decoding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "tree_decoder"


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, **kwargs: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """A transformers attention function; see `AttentionInterface`.

    One query a row makes two batched matrix products, on a CPU about twice as fast as the fused kernel, which is made
    for many queries. Everything else goes to that kernel.

    Args:
        query: [R, heads, T, D].
        key, value: [R, kv heads, L, D], views of the slots.
        attention_mask: [R, 1, T, L], 0 or -inf.
        scaling: of the scores; by default D ** -0.5.

    Returns: [R, T, heads, D], and no weights.
    """
    rows, heads, width, dim = query.shape
    if width > 1 or attention_mask is None or attention_mask.dtype == torch.bool or query.device.type != "cpu":
        attended, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return attended, None
    groups, length = key.shape[1], key.shape[2]
    scaled = query * (dim**-0.5 if scaling is None else scaling)
    scores = torch.bmm(scaled.view(rows * groups, heads // groups, dim), key.flatten(0, 1).transpose(1, 2))
    scores = scores.view(rows, heads, length) + attention_mask[:, 0]
    weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
    attended = torch.bmm(weights.view(rows * groups, heads // groups, length), value.flatten(0, 1))
    return attended.view(rows, 1, heads, dim), None


AttentionInterface.register(NAME, attend)
