"""Tiny policies with random weights over a small alphabet, in standard Hugging Face folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from policy.value_head import ValueHead

ALPHABET = ("<bos>", "<eos>", "\n", *"12+=ab")
HIDDEN = 16


def small_tokenizer(newline: str = "\n") -> PreTrainedTokenizerFast:
    vocabulary = {token.replace("\n", newline): i for i, token in enumerate(ALPHABET)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.decoder = decoders.Fuse()
    backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>")


def build(architecture: str, vocabulary: int) -> torch.nn.Module:
    shape = {"vocab_size": vocabulary, "hidden_size": HIDDEN, "intermediate_size": 32, "num_hidden_layers": 2,
             "num_attention_heads": 4, "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 1,
             "tie_word_embeddings": False}  # fmt: skip
    torch.manual_seed(3)
    if architecture == "neox":
        return GPTNeoXForCausalLM(GPTNeoXConfig(**shape))
    if architecture == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**shape, num_key_value_heads=2))
    return LlamaForCausalLM(LlamaConfig(**shape, num_key_value_heads=2))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """tiny_folder(architecture='llama', tokenizer=None): a saved policy with a value head."""
    made: dict[tuple[str, int], Path] = {}

    def make(architecture: str = "llama", tokenizer: PreTrainedTokenizerFast | None = None) -> Path:
        name = (architecture, id(tokenizer))
        if name not in made:
            # AutoTokenizer reads any tokenizer of a Qwen2 folder as a byte-level one, and adds an end of its own.
            qwen = architecture == "qwen2"
            tokenizer = tokenizer or small_tokenizer("\u010a" if qwen else "\n")
            folder = tmp_path_factory.mktemp(architecture)
            model = build(architecture, len(tokenizer) + qwen)
            with torch.no_grad():
                for parameter in model.parameters():  # random weights that matter: far from uniform
                    if parameter.ndim == 2:
                        parameter.mul_(12.0)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            torch.manual_seed(4)
            ValueHead(HIDDEN).save(folder)
            made[name] = folder
        return made[name]

    return make


@pytest.fixture(scope="session")
def subwords() -> PreTrainedTokenizerFast:
    """A byte-level BPE in which newlines merge with each other and with text, as in large models."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=280, special_tokens=["<eos>"], initial_alphabet=alphabet)
    backend.train_from_iterator(["1+2=3\n\n12+1=13\nab=ba\n\n", "a=1\nb=2\n\n=1\n"] * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")
