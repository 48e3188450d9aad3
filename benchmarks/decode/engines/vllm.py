"""vLLM on a GPU. Written from its documentation; it has not been run yet."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from benchmarks.decode.arms import ends
from benchmarks.decode.work import Done, Work, as_text

if not torch.cuda.is_available():
    raise ImportError("it is measured on a GPU, and there is none")

import vllm


class VLLM:
    """With its prefix cache. As in Tree, the leaves have been read before.

    Args:
        folder: of the model.
        dtype: of the model.
    """

    def __init__(self, folder: Path, dtype: str = "float32") -> None:
        self._folder, self._dtype = folder, dtype
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._engine: Any = None
        self._live = 0

    def run(self, work: Work, seed: int) -> Done:
        """See Arm."""
        if self._live != work.live:
            self._engine = None  # frees its memory first
            gc.collect()
            torch.cuda.empty_cache()
            self._engine = vllm.LLM(
                model=str(self._folder), dtype=self._dtype, enable_prefix_caching=True, max_num_seqs=work.live,
                gpu_memory_utilization=0.5,
            )
            self._live = work.live
        prompts = [{"prompt_token_ids": self._tokenizer(as_text(leaf))["input_ids"]} for leaf in work.leaves]
        self._draw(prompts, 1)
        started = time.perf_counter()
        tokens = self._draw(prompts, work.longest)
        return Done(tokens, len(prompts), time.perf_counter() - started)

    def _draw(self, prompts: list[dict[str, Any]], longest: int) -> int:
        config = vllm.SamplingParams(
            temperature=1.0, max_tokens=longest, stop_token_ids=ends(self._tokenizer, 1).eos_token_id, detokenize=False,
        )
        found = self._engine.generate(prompts, config, use_tqdm=False)
        return sum(len(thought.outputs[0].token_ids) for thought in found)
