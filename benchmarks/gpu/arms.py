"""Both ways to decode, of a model that is in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import torch

from benchmarks.decode.arms import Generate
from benchmarks.decode.work import Done, Work, as_text, unlimited
from benchmarks.gpu.made import Made
from policy.base import Sampling
from policy.decoder import TreeDecoder
from verifiers.base import State, derive_seed

CACHE = 6 << 30  # bytes: leaves that have been read are not read again


class Tree:
    """The tree decoder.

    Args:
        model: whose trunk is its own from now on.
        longest: most tokens of a thought.
    """

    def __init__(self, model: Made, longest: int) -> None:
        self.trunk, self._codec = model.trunk, model.codec
        self._decoder = TreeDecoder(model.trunk, model.codec, max_thought_tokens=longest, cache_bytes=CACHE)

    @property
    def graphs(self) -> int:
        """How many steps have been captured."""
        return 0 if self.trunk.static is None else len(self.trunk.static.graphs.keys)

    def read(self, work: Work) -> None:
        """Read the leaves, as a search has that has drawn them."""
        asyncio.run(self._draw([State(work.leaves[0].problem)], 0, Sampling.GREEDY))
        asyncio.run(self._draw(work.leaves, derive_seed(0, "gpu", "read"), Sampling.INDEPENDENT))

    def run(self, work: Work, seed: int, sampling: Sampling = Sampling.INDEPENDENT) -> Done:
        """Draw a thought of each leaf, which has been read."""
        if self.trunk.device.type == "cuda":
            torch.cuda.synchronize(self.trunk.device)
        started = time.perf_counter()
        lengths = asyncio.run(self._draw(work.leaves, seed, sampling))
        return Done(sum(lengths), len(lengths), time.perf_counter() - started)

    def forget(self) -> None:
        """Give back the memory of what has been read."""
        self._decoder.change(lambda: None)
        if self.trunk.device.type == "cuda":
            torch.cuda.empty_cache()

    def close(self) -> None:
        self._decoder.close()

    async def _draw(self, states: Sequence[State], seed: int, sampling: Sampling) -> list[int]:
        meter = unlimited()

        async def one(state: State) -> list[int]:
            tokens = self._codec.encode(as_text(state))
            prompt = len(self._codec.encode(as_text(State(state.problem))))
            found = await self._decoder.propose(as_text(state), tokens, prompt, 1, sampling=sampling, seed=seed,
                                                meter=meter, first=0)
            return [thought.tokens for thought in found]

        return [tokens for found in await asyncio.gather(*map(one, states)) for tokens in found]


class GenerateOf(Generate):
    """transformers' `generate` of the same model."""

    def __init__(self, model: Made, at_once: int) -> None:
        self.model, self.tokenizer, self.at_once = model.model, model.tokenizer, at_once
