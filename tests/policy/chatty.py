"""Tiny instruct models with random weights: a byte-level BPE of subwords, and chat templates as large models have."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from policy.value_head import ValueHead
from tests.policy.conftest import HIDDEN, build

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if thinking %}{{ '<think>\\n' }}{% endif %}{% endif %}"
)
"""As Qwen's. With {thinking: true} the template itself begins to think, as that of DeepSeek's R1 does."""

CORPUS = ["Add 1 and 2.\n\nThat is 3.\n\n</think>\n\n#### 3\n", "1+2=3\n\n12+1=13\nab=ba\n\n", "a=1\n    b=2\n\n\n=1\n",
          "Problem: 1+2\nSolution:\n1+2=3\n#### 3\n\nProblem:"]  # fmt: skip

ANSWERS = ("#### 1", "#### 2", "#### 3")
LIKED = (*ANSWERS, "\n", "\n\n", "</think>")  # and the end of its text
SEEDS = {"qwen2": 2}  # of what they like; with these they answer now and then
LETTERS = [*map(chr, range(33, 127)), "\u0120", "\u010a"]  # of ASCII alone, as bytes are written in a vocabulary


@cache
def chat_tokenizer(
    template: str | None = CHATML, eos: str = "<|im_end|>", merges: bool = True
) -> PreTrainedTokenizerFast:
    """Newlines merge with each other and with what stands before them, but not with what comes after, as in Qwen's.

    Without merges tokens are characters, so that a text has hardly any other tokens than those it is drawn in.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(_regex(), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330 if merges else 0, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=LETTERS, show_progress=False)
    backend.train_from_iterator(CORPUS * 20, trainer)
    backend.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in ("<think>", "</think>", *ANSWERS)])
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos, pad_token="<|endoftext|>",
                                   additional_special_tokens=["<|im_start|>", "<|im_end|>"])
    made.chat_template = template
    return made


def _regex() -> object:
    from tokenizers import Regex

    return Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")



def write_chatty(
    folder: Path, architecture: str = "llama", template: str | None = CHATML, eos: str = "<|im_end|>",
    merges: bool = True, seed: int | None = None,
) -> Path:  # fmt: skip
    """A saved instruct model with a value head; of a base model the end of the text is '<|endoftext|>'.

    What it likes to write can be read, and is an answer now and then; what it likes most is by the seed.
    """
    tokenizer = chat_tokenizer(template, eos, merges)
    model = build(architecture, len(tokenizer))
    with torch.no_grad():
        for parameter in model.parameters():  # random weights that matter: far from uniform
            if parameter.ndim == 2:
                parameter.mul_(8.0)
        rows = [ids[0] for text in LIKED if len(ids := tokenizer(text, add_special_tokens=False)["input_ids"]) == 1]
        rows.append(tokenizer.convert_tokens_to_ids(eos))
        weight = model.get_output_embeddings().weight  # type: ignore[operator]
        if seed is not None or architecture in SEEDS:
            torch.manual_seed(SEEDS[architecture] if seed is None else seed)
        weight.normal_(std=0.1)
        weight[rows] *= 4.0
    end = tokenizer.convert_tokens_to_ids(eos)
    model.config.eos_token_id = model.generation_config.eos_token_id = end
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(4)
    ValueHead(HIDDEN).save(folder)
    return folder
