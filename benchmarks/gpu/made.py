"""Models of the shapes of Qwen2.5, made where they are to run: nothing is loaded, and nothing is written to disk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast, Qwen2Config

from benchmarks.decode.models import CONTEXT, OF_ENDS, Shape
from benchmarks.decode.work import text
from policy.charset import SPECIAL, character_tokenizer
from policy.codec import Codec
from policy.gpu.attention import Products
from policy.gpu.static import StaticStep
from policy.trunk import Trunk
from policy.value_head import ValueHead

KNOWN = 10.0  # how far the logits of the tokenizer's tokens are above zero, and all others' below


@dataclass(frozen=True)
class Made:
    """A model, its tokenizer, and the tree decoder's view of both."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    trunk: Trunk
    codec: Codec

    @property
    def device(self) -> torch.device:
        return self.trunk.device


@torch.inference_mode()
def made(shape: Shape, slots: int, device: torch.device, dtype: torch.dtype) -> Made:
    """With random weights.

    Embeddings and head are not tied: the head is as large as if they were. On a CPU the static steps run as well, so
    that all of the script can be tried.
    """
    config = Qwen2Config(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.key_value_heads,
        intermediate_size=shape.intermediate, max_position_embeddings=CONTEXT, tie_word_embeddings=False,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    untyped: Any = AutoModelForCausalLM
    with device:
        model = untyped.from_config(config, dtype=dtype).eval().requires_grad_(False)
        head = ValueHead(shape.hidden).requires_grad_(False)
    tokenizer = character_tokenizer()
    tokenizer.padding_side = "left"
    found = Made(model, tokenizer, Trunk(model, head, slots), Codec(tokenizer, shape.vocabulary))
    _step_on_a_cpu(found.trunk)
    return found


@torch.inference_mode()
def speak(of: Made) -> None:
    """Make characters likely and all other tokens not, and about one token of OF_ENDS the end of a thought.

    It takes a direction that all hidden states have, beside which little else is left of them: what compares hidden
    states comes before.
    """
    model: Any = of.model
    body, count = model.base_model, len(of.tokenizer)
    for layer in body.layers:  # as in GPT-2: else the direction is lost in what so many layers add
        for matrix in (layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight):
            matrix.div_(math.sqrt(2 * len(body.layers)))
    body.embed_tokens.weight[:, 0] = 2 * math.sqrt(model.config.hidden_size)
    line = of.tokenizer(text(64, np.random.default_rng(0)), return_tensors="pt").to(model.device)
    strength = float(body(**line, use_cache=False).last_hidden_state[..., 0].float().mean())
    likely = torch.full((of.trunk.vocabulary,), -KNOWN)
    likely[len(SPECIAL) : count] = KNOWN
    likely[of.tokenizer.convert_tokens_to_ids("\n")] = KNOWN + math.log(count / OF_ENDS)
    model.get_output_embeddings().weight[:, 0] = (likely / strength).to(model.device)
    of.trunk.check(of.model)
    _step_on_a_cpu(of.trunk)


def _step_on_a_cpu(trunk: Trunk) -> None:
    if trunk.device.type == "cpu" and trunk.fused is not None:
        trunk.static = StaticStep(trunk.fused, trunk.kv, Products)
