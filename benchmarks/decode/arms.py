"""The ways to decode that are compared. Each does the same work with the same weights."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from benchmarks.decode.work import Done, Work, as_text, unlimited
from policy.base import Sampling
from policy.transformer import Transformer
from verifiers.base import State, derive_seed


class Arm(Protocol):
    """One way to decode."""

    def run(self, work: Work, seed: int) -> Done:
        """Draw each leaf's thoughts at temperature 1."""
        ...


class Tree:
    """This project's decoder. As in a search, the leaves have been read before: mostly, for it has drawn them.

    Args:
        folder: of the policy.
        sampling: of the thoughts.
        more: options of the policy.
    """

    def __init__(self, folder: Path, sampling: Sampling = Sampling.INDEPENDENT, **more: Any) -> None:
        self._folder, self._more, self.sampling = str(folder), more, sampling
        self._policies: dict[tuple[int, int], Transformer] = {}
        self._read: Work | None = None

    def policy(self, work: Work) -> Transformer:
        """With as many slots as there are to be live sequences."""
        shape = work.live, work.longest
        if shape not in self._policies:
            self._policies[shape] = Transformer(
                self._folder, max_batch=work.live, max_thought_tokens=work.longest, cache_mb=2048, **self._more
            )
        return self._policies[shape]

    def grow(self, work: Work, own: tuple[int, int], seed: int) -> Work:
        """Other leaves of the same root, drawn by this decoder: so many of their lines as have from own[0] to own[1]
        tokens."""
        policy, root = self.policy(work), State(work.leaves[0].problem)
        lines = asyncio.run(policy.propose(
            root, len(work.leaves), sampling=Sampling.INDEPENDENT, seed=derive_seed(seed, "leaves"), meter=unlimited()
        ))
        fit = [line for line in lines if line.complete and own[0] <= line.tokens <= own[1]]
        self._read = replace(work, leaves=[State(root.problem, (line.text,)) for line in fit])
        return self._read

    def run(self, work: Work, seed: int) -> Done:
        """See Arm."""
        return asyncio.run(self._run(self.policy(work), work, seed))

    def close(self) -> None:
        """End its decoders, which keep models and caches else."""
        for policy in self._policies.values():
            policy.close()
        self._policies.clear()

    async def _run(self, policy: Transformer, work: Work, seed: int) -> Done:
        meter = unlimited()

        async def draw(of: int) -> list[int]:
            found = await asyncio.gather(*(
                policy.propose(leaf, 1, sampling=self.sampling, seed=of, meter=meter) for leaf in work.leaves
            ))
            return [thought.tokens for thoughts in found for thought in thoughts]

        if work is not self._read:
            self._read = work
            root = State(work.leaves[0].problem)  # what leaves share is read before them
            await policy.propose(root, 1, sampling=Sampling.GREEDY, seed=0, meter=meter)
            await draw(derive_seed(seed, "before"))
        started = time.perf_counter()
        lengths = await draw(seed)
        return Done(sum(lengths), len(lengths), time.perf_counter() - started)


class Generate:
    """transformers' `generate`, for so many leaves at once."""

    def __init__(self, folder: Path, at_once: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        model: Any = AutoModelForCausalLM
        self.model = model.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval().to(device)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.at_once = at_once

    @torch.inference_mode()
    def run(self, work: Work, seed: int) -> Done:
        """See Arm. All leaves of a batch wait for its longest thought."""
        torch.manual_seed(seed)
        at_once = min(self.at_once, work.live)
        tokens = 0
        started = time.perf_counter()
        for first in range(0, len(work.leaves), at_once):
            texts = [as_text(leaf) for leaf in work.leaves[first : first + at_once]]
            tokens += useful(self._draw(texts, work.longest), self.tokenizer)
        return Done(tokens, len(work.leaves), time.perf_counter() - started)

    def _draw(self, texts: list[str], longest: int) -> torch.Tensor:
        batch = self.tokenizer(texts, return_tensors="pt", padding=True).to(self.model.device)
        found: torch.Tensor = self.model.generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"],
            generation_config=ends(self.tokenizer, longest),
        )
        return found[:, batch["input_ids"].shape[1] :]


def ends(tokenizer: Any, longest: int) -> Any:
    """Draw as Policy.propose does: from the whole distribution, until one of the tokens that end a thought."""
    config: Any = GenerationConfig
    return config(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=longest, pad_token_id=0, bos_token_id=1,
        eos_token_id=[*tokenizer.all_special_ids, tokenizer.convert_tokens_to_ids("\n")],
    )


def useful(drawn: torch.Tensor, tokenizer: Any) -> int:
    """Tokens up to each row's first end."""
    over = torch.isin(drawn, torch.tensor(ends(tokenizer, 1).eos_token_id, device=drawn.device))
    return int(torch.where(over.any(1), over.int().argmax(1) + 1, drawn.shape[1]).sum())
