"""Continuous batching of transformers, by `generate_batch`."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, ContinuousBatchingConfig

from benchmarks.decode.arms import ends
from benchmarks.decode.work import Done, Work, as_text

PAGE = 16  # tokens; full pages are shared and kept, and what is shared here is shorter than its usual 256

logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)  # it warns whenever a manager is kept


class Continuous:
    """Pages of a prompt are shared. As in Tree, the leaves have been read before: their pages are kept.

    Args:
        folder: of the model.
        dtype: of the model.
        device: of the model.
    """

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        loader: Any = AutoModelForCausalLM
        self._model = loader.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval().to(device)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def run(self, work: Work, seed: int) -> Done:
        """See Arm."""
        lines = [self._tokenizer(as_text(leaf))["input_ids"] for leaf in work.leaves]
        pages = -(-(max(map(len, lines)) + work.longest) // PAGE)
        config = ContinuousBatchingConfig(
            page_size=PAGE, num_blocks=2 * pages * len(lines), max_batch_tokens=2048, max_requests_per_batch=work.live,
            seed=seed,
        )
        try:
            self._draw(lines, config, 1)
            started = time.perf_counter()
            tokens = self._draw(lines, config, work.longest)
            return Done(tokens, len(lines), time.perf_counter() - started)
        finally:
            self._model.destroy_cached_continuous_batching_manager()

    def _draw(self, lines: list[list[int]], config: ContinuousBatchingConfig, longest: int) -> int:
        """Tokens drawn. The manager, which holds the pages, stays."""
        found = self._model.generate_batch(
            lines, generation_config=ends(self._tokenizer, 40), max_new_tokens=longest,
            continuous_batching_config=config, persistent_manager=True,
        )
        if len(found) < len(lines) or any(thought.error for thought in found.values()):
            raise RuntimeError("generate_batch did not finish all thoughts")
        return sum(len(thought.generated_tokens) for thought in found.values())
