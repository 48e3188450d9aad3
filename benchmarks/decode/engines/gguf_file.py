"""A Llama of transformers as a GGUF file, which llama.cpp reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

ARCHITECTURE = gguf.MODEL_ARCH.LLAMA
PRECISIONS = {
    "float32": gguf.GGMLQuantizationType.F32,
    "bfloat16": gguf.GGMLQuantizationType.BF16,
    "float16": gguf.GGMLQuantizationType.F16,
}


def write_gguf(folder: Path, file: Path, dtype: str = "float32") -> Path:
    """The model in a folder, with its matrices in a precision. No vocabulary: it is fed numbers of tokens."""
    loader: Any = AutoModelForCausalLM
    model = loader.from_pretrained(folder, dtype=torch.float32)
    config = model.config
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[ARCHITECTURE])
    _describe(writer, config)
    names = gguf.get_tensor_name_map(ARCHITECTURE, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue  # llama.cpp takes the embeddings where there is none
        kind = PRECISIONS[dtype if tensor.ndim > 1 else "float32"]  # llama.cpp wants norms and biases in float32
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(known, gguf.quantize(_turned(name, tensor, config).numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _describe(writer: Any, config: Any) -> None:
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])


def _turned(name: str, tensor: Tensor, config: Any) -> Tensor:
    """Rotary embeddings turn pairs of neighbours in llama.cpp, and pairs from a head's halves in transformers."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
    if heads is None:
        return tensor
    return tensor.view(heads, 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape).contiguous()
