"""A policy that is a language model: any Hugging Face causal LM, an optional PEFT adapter, an optional value head."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from policy import weights
from policy.base import BadPolicy, Sampling, Thought
from policy.budget import Meter
from policy.codec import Codec
from policy.decoder import TreeDecoder
from policy.fused import FAMILIES
from policy.layout import Writing
from policy.lora import Lora
from policy.steps import Steps
from policy.trunk import Trunk
from policy.value_head import ValueHead
from verifiers.base import State

_logging: Any = transformers.logging
MAX_THREADS = 1024


class Transformer:
    """Proposes thoughts with a causal language model, decoded for trees.

    Args:
        path: a folder in standard Hugging Face layout (a relative one is also looked for beside this package), or a
            name on the hub. Nothing of the network is asked for a folder.
        adapter: folder of a PEFT adapter, merged into the weights, or of full weights that replace them.
        merge: False keeps the base as it is and computes a LoRA adapter beside it (policy/lora.py): slower to decode
            with, fast to change, and several policies may share the base; see `beside`.
        value_head: folder of a value head; by default the adapter's, else the model's, where they hold one.
        threads: torch threads, a setting of the whole process; by default OMP_NUM_THREADS, else the cores this
            process may use. More threads than cores are very slow.
        dtype: of the weights: 'float32', 'bfloat16', 'float16', or 'auto' for that of the files.
        device: such as 'cpu' or 'cuda'.
        device_map: instead of `device`, where from_pretrained puts the weights as it reads them, which saves the
            machine's memory: 'auto', a device, or {'': device}. All layers must lie on one device.
        attention: 'sdpa' or 'eager', of models whose layers are computed by transformers.
        quantization: weights in fewer bits, by a library that is installed: options of transformers' quantisation
            config, such as {'quant_method': 'bitsandbytes', 'load_in_4bit': True}.
        chat, system, template, step, stop: how problems and thoughts are written; see Writing.
        max_thought_tokens: a thought without an end after that many tokens is cut, and dead.
        max_batch: most sequences decoded at once; each holds its keys and values in a slot.
        cache_mb: bound of the prefix cache, in MiB.
        temperature: of INDEPENDENT samples; their log-probabilities are reported at temperature 1.
        revision: of a model on the hub.
        speculate: most tokens of a thought that are guessed from earlier text and fed at once; 0 for none. What is
            drawn stays the same. It is worth most while few thoughts are under way.

    Attributes:
        version: a hash of the files of base, adapter and value head, or of the hub's name and commit.
        base_version: of the base alone; an adapter names the base it was made for (policy/weights.py).

    Raises: BadPolicy, with one line that says what is missing, corrupt or unsupported.
    """

    def __init__(
        self, path: str, adapter: str | None = None, value_head: str | None = None, *, merge: bool = True,
        threads: int | None = None, dtype: str = "float32", device: str = "cpu", max_thought_tokens: int = 64,
        max_batch: int = 256, cache_mb: int = 256, temperature: float = 1.0, revision: str | None = None,
        speculate: int = 0, attention: str = "sdpa", quantization: Mapping[str, Any] | None = None,
        chat: bool | str = "auto", system: str | None = None, template: Mapping[str, Any] | None = None,
        step: str | Steps = "line", stop: Sequence[str] = (), device_map: weights.DeviceMap = None,
    ) -> None:  # fmt: skip
        writing = Writing(chat, system, template, step, stop)
        threads = _cores() if threads is None else threads
        least = min(max_thought_tokens, max_batch, threads)
        if not 0 < temperature < math.inf or least < 1 or min(cache_mb, speculate) < 0:
            raise BadPolicy(
                "a policy's threads, max_thought_tokens and max_batch must be at least 1, cache_mb and speculate "
                "at least 0, and its temperature above 0"
            )
        if threads > MAX_THREADS:  # OpenMP would end the process where it cannot have so many
            raise BadPolicy(f"{threads} threads (policy.threads or OMP_NUM_THREADS); at most {MAX_THREADS} are allowed")
        torch.set_num_threads(threads)
        _logging.disable_progress_bar()
        _logging.set_verbosity(_logging.CRITICAL)  # what is wrong with a folder is said below, in one line
        source = weights.locate(path)
        folder = source if source.is_dir() else None
        adapter_folder = None if adapter is None else weights.existing(adapter, "adapter")
        name, local = path if folder is None else str(folder), folder is not None
        self._load = partial(weights.load_model, name, local, dtype, revision, attention,
                             weights.placed(device, device_map, quantization))
        self._model = weights.moved(self._load(), device if device_map is None else None)
        tokenizer = weights.load_tokenizer(name, local, revision)
        ends = weights.ends(self._model)
        self._folder, self._asked_head = folder, value_head
        self._names = weights.Naming(folder, f"{path}@{getattr(self._model.config, '_commit_hash', None)}")
        self._base: dict[str, torch.Tensor] | None = None  # kept from the first change of adapters on
        self.merge = merge
        self._lora: Lora | None = None
        self._trunk = trunk = Trunk(self._model, self._wear(adapter_folder if merge else None), max_batch)
        if not merge:
            self._put_on(adapter_folder)
        self.base_version = self._names.base
        self.temperature = temperature
        self.max_thought_tokens = max_thought_tokens
        self._layout = writing.on(tokenizer, ends)
        self._codec = Codec(tokenizer, trunk.vocabulary, ends, self._layout)
        self._room = trunk.context - max_thought_tokens - 1
        if self._room < 1:
            raise BadPolicy(f"max_thought_tokens={max_thought_tokens} leaves no room for a problem in this model's "
                            f"context of {trunk.context} tokens")
        self.decoder = TreeDecoder(
            trunk, self._codec, max_thought_tokens=max_thought_tokens,
            cache_bytes=cache_mb << 20, temperature=temperature, speculate=speculate,
        )  # fmt: skip

    @property
    def decoders(self) -> frozenset[TreeDecoder]:
        """What decodes for it; several policies may share one."""
        return frozenset([self.decoder])

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        """See Policy.propose. Nothing is proposed for a state that leaves no room for a thought in the context."""
        if sampling is Sampling.GREEDY:
            k = min(k, 1 - first)
        if k <= 0 or meter.expired:
            return []
        text, start = self._layout.text(state.problem.prompt, state.thoughts)
        tokens = self._codec.encode(text)
        if len(tokens) > self._room:
            return []
        prompt = min(len(self._codec.encode(self._layout.opening(state.problem.prompt))), len(tokens))
        return await self.decoder.propose(text, tokens, prompt, k, sampling=sampling, seed=seed, meter=meter,
                                          first=first, lora=self._lora, start=start)

    def beside(self, adapter: str) -> Transformer:
        """A policy with another adapter on the same base, where adapters are not merged.

        The two are decoded in one running batch by one thread, which ends when either is closed, and share the bounds
        of batch and cache; what one has read is nothing to the other. Raises BadPolicy for an adapter that cannot be
        worn so.
        """
        if self.merge:
            raise BadPolicy("a policy into whose weights adapters are merged wears one at a time; allowed: merge=false")
        other = copy.copy(self)
        other._put_on(weights.existing(adapter, "adapter"))
        return other

    def load_adapter(self, folder: str | Path | None) -> None:
        """Swap the adapter for another one, or for none, without loading the base again; forgets all that was read.

        Only while nothing is being proposed: raises RuntimeError otherwise. Raises BadPolicy, with one line, for an
        adapter that cannot be loaded or was made for another base; the one worn before stays then.
        """
        adapter = None if folder is None else weights.existing(str(folder), "adapter")
        self.decoder.change(lambda: self._swap(adapter) if self.merge else self._put_on(adapter))

    def named(self, adapter: str) -> str:
        """The version it would have with an adapter, told from the files alone.

        Raises BadPolicy, with one line, for an adapter that is not there or was made for another base.
        """
        folder = weights.existing(adapter, "adapter")
        self._names.check(folder)
        return self._names.wearing(folder, weights.head_folder(self._asked_head, folder, self._folder))

    def close(self) -> None:
        """End the decoder's thread."""
        self.decoder.close()

    def _swap(self, adapter: Path | None) -> None:
        before = self._adapter
        if self._base is None:
            self._base = weights.copy_of(self._model if before is None else self._load())
        try:
            self._refit(adapter)
        except BadPolicy:
            self._refit(None)  # whatever becomes of the one before, the version tells the truth
            if before is not None:
                self._refit(before)
            raise

    def _refit(self, adapter: Path | None) -> None:
        self._model.load_state_dict(self._base)
        self._trunk.value_head = self._wear(adapter)
        self._trunk.check(self._model)

    def _put_on(self, adapter: Path | None) -> None:
        """Wear an adapter beside the base weights, or none; nothing changes where that fails."""
        lora: Lora | None = None
        if adapter is not None:
            self._names.check(adapter)
            if self._trunk.fused is None:
                raise BadPolicy(f"merge=false cannot be with {type(self._model).__name__}: its layers are computed by "
                                f"transformers; allowed: merge=true, or a model of {', '.join(sorted(FAMILIES))}")
        head, head_folder = weights.value_head(self._model, self._asked_head, adapter, self._folder)
        if adapter is not None:
            lora = weights.beside(self._model, adapter, self._trunk.kv.buffer.dtype, head)
            self._trunk.try_on(lora)
        self.version = self._names.wearing(adapter, head_folder)
        self._lora, self._adapter = lora, adapter

    def _wear(self, adapter: Path | None) -> ValueHead | None:
        """Merge an adapter into the base weights in place; returns the value head that goes with it."""
        if adapter is not None:
            self._names.check(adapter)
            weights.merge(self._model, adapter)
        head, head_folder = weights.value_head(self._model, self._asked_head, adapter, self._folder)
        self.version = self._names.wearing(adapter, head_folder)
        self._adapter = adapter
        return head


def _cores() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
