"""Language models of any shape with random weights, in folders like any other policy's."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn.functional import pad
from transformers import LlamaConfig, LlamaForCausalLM

from policy.charset import SPECIAL, character_tokenizer
from policy.value_head import ValueHead

_logging: Any = transformers.logging
CONTEXT = 4096
OF_ENDS = 20  # one token of so many ends a thought


@dataclass(frozen=True)
class Shape:
    """Of a transformer; the vocabulary is that of the shipped policy where `vocabulary` is 0."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    intermediate: int
    vocabulary: int = 0

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    @property
    def parameters(self) -> int:
        """Without embeddings."""
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.key_value_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    def operations(self, context: float) -> float:
        """Of one token that sees `context` tokens: a multiplication and an addition for each parameter, and attention's
        scores and sums."""
        return 2 * self.parameters + 4 * context * self.heads * self.head_dim * self.layers

    def kv_bytes(self, width: int) -> int:
        """Of one token's keys and values in numbers of that many bytes."""
        return 2 * self.layers * self.key_value_heads * self.head_dim * width


SHAPES = {
    "1M": Shape(128, 5, 4, 4, 352),
    "shipped": Shape(192, 5, 4, 1, 512),
    "10M": Shape(384, 6, 6, 2, 1024),
    "30M": Shape(512, 10, 8, 2, 1536),
    "0.5B": Shape(896, 24, 14, 2, 4864, 151936),
    "7B": Shape(3584, 28, 28, 4, 18944, 152064),
}
"""By name. The last two are those of Qwen2.5 (its model cards and configs), without biases: of its own architecture
transformers reads no other tokenizer than Qwen's."""


def write(
    shape: Shape, folder: Path, *, endless: bool = False, values: bool = True, dtype: torch.dtype = torch.float32
) -> Path:
    """A model and its tokenizer, and a value head where thoughts have ends.

    Args:
        endless: no token ever ends a thought, so that all are as long as they may be; else one of OF_ENDS does, about.
        values: with a value head, where thoughts have ends.
    """
    _logging.disable_progress_bar()
    tokenizer = character_tokenizer()
    torch.manual_seed(0)
    model = _llama(shape, shape.vocabulary or len(tokenizer)).to(dtype)
    with torch.no_grad():
        for layer in model.base_model.layers:  # what they add is little, so that the next direction stays
            layer.self_attn.o_proj.weight *= 0.1
            layer.mlp.down_proj.weight *= 0.1
        # A direction that all hidden states have, of a length of about sqrt(H) there: it says how likely a token is.
        likely = model.get_input_embeddings().weight[:, 0]
        likely[:] = 1.0
        likely[: len(SPECIAL)] = 0.3
        likely[len(tokenizer) :] = -1.0  # what no text has; it would end a thought
        newline = tokenizer.convert_tokens_to_ids("\n")
        likely[newline] = 0.3 if endless else 1.0 + math.log(len(tokenizer) / OF_ENDS) / math.sqrt(shape.hidden)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if values and not endless:  # endless thoughts are never valued, and reading leaves takes many times as long with it
        ValueHead(shape.hidden).save(folder)
    return folder


def widened(policy: Path, intermediate: int, folder: Path) -> Path:
    """A policy with so many neurons a layer, of which the new ones do nothing: it writes the same, and costs more."""
    shutil.copytree(policy, folder)
    config = json.loads((folder / "config.json").read_text())
    more = (0, intermediate - config["intermediate_size"])
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": intermediate}))
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if "mlp" in name:
            weights[name] = pad(weight, more if "down_proj" in name else (0, 0, *more))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _llama(shape: Shape, vocabulary: int) -> Any:
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.key_value_heads,
        intermediate_size=shape.intermediate, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    ))
