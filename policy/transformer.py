"""A policy that is a language model: any Hugging Face causal LM, an optional PEFT adapter, an optional value head."""

from __future__ import annotations

import hashlib
import math
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from policy.base import BadPolicy, Sampling, Thought
from policy.budget import Meter
from policy.codec import Codec
from policy.decoder import TreeDecoder
from policy.trunk import Trunk
from policy.value_head import FILE as VALUE_HEAD_FILE
from policy.value_head import ValueHead
from verifiers.base import State

_logging: Any = transformers.logging
_hub: Any = transformers.utils.hub
MAX_THREADS = 1024
_ROOT = Path(__file__).resolve().parents[1]


class Transformer:
    """Proposes thoughts with a causal language model, decoded for trees.

    Args:
        path: a folder in standard Hugging Face layout (a relative one is also looked for beside this package), or a
            name on the hub. Nothing of the network is asked for a folder.
        adapter: folder of a PEFT adapter, merged into the weights.
        value_head: folder of a value head; by default the adapter's, else the model's, where they hold one.
        threads: torch threads, a setting of the whole process; by default OMP_NUM_THREADS, else the cores this
            process may use. More threads than cores are very slow.
        dtype: of the weights, such as 'float32' or 'bfloat16'.
        device: such as 'cpu' or 'cuda'.
        max_thought_tokens: a thought without an end after that many tokens is cut, and dead.
        max_batch: most sequences decoded at once; each holds its keys and values in a slot.
        cache_mb: bound of the prefix cache, in MiB.
        temperature: of INDEPENDENT samples; their log-probabilities are reported at temperature 1.
        revision: of a model on the hub.

    Raises: BadPolicy, with one line that says what is missing, corrupt or unsupported.
    """

    def __init__(
        self, path: str, adapter: str | None = None, value_head: str | None = None, *, threads: int | None = None,
        dtype: str = "float32", device: str = "cpu", max_thought_tokens: int = 64, max_batch: int = 256,
        cache_mb: int = 256, temperature: float = 1.0, revision: str | None = None,
    ) -> None:  # fmt: skip
        threads = _cores() if threads is None else threads
        if not 0 < temperature < math.inf or cache_mb < 0 or min(max_thought_tokens, max_batch, threads) < 1:
            raise BadPolicy(
                "a policy's threads, max_thought_tokens and max_batch must be at least 1, cache_mb at least 0, "
                "and its temperature above 0"
            )
        if threads > MAX_THREADS:  # OpenMP would end the process where it cannot have so many
            raise BadPolicy(f"{threads} threads (policy.threads or OMP_NUM_THREADS); at most {MAX_THREADS} are allowed")
        torch.set_num_threads(threads)
        _logging.disable_progress_bar()
        _logging.set_verbosity(_logging.CRITICAL)  # what is wrong with a folder is said below, in one line
        source = _locate(path)
        folder = source if source.is_dir() else None
        adapter_folder = None if adapter is None else _existing(adapter, "adapter")
        model, tokenizer = _load(path if folder is None else str(folder), folder is not None, dtype, revision)
        if adapter_folder is not None:
            model = _adapt(model, adapter_folder)
        model = _moved(model, device).eval().requires_grad_(False)
        head, head_folder = _value_head(model, value_head, adapter_folder, folder)
        ends = _as_list(getattr(model.generation_config, "eos_token_id", None))
        trunk = Trunk(model, head, max_batch)
        self.version = _version(path, model, [folder, adapter_folder], head_folder)
        self.max_thought_tokens = max_thought_tokens
        self._codec = Codec(tokenizer, trunk.vocabulary, ends)
        self._room = trunk.context - max_thought_tokens - 1
        if self._room < 1:
            raise BadPolicy(f"max_thought_tokens={max_thought_tokens} leaves no room for a problem in this model's "
                            f"context of {trunk.context} tokens")
        self.decoder = TreeDecoder(
            trunk, self._codec, max_thought_tokens=max_thought_tokens,
            cache_bytes=cache_mb << 20, temperature=temperature,
        )  # fmt: skip

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        """See Policy.propose. Nothing is proposed for a state that leaves no room for a thought in the context."""
        if sampling is Sampling.GREEDY:
            k = min(k, 1 - first)
        if k <= 0 or meter.expired:
            return []
        text = "".join(f"{line}\n" for line in (state.problem.prompt, *state.thoughts))
        tokens = self._codec.encode(text)
        if len(tokens) > self._room:
            return []
        prompt = min(len(self._codec.encode(f"{state.problem.prompt}\n")), len(tokens))
        return await self.decoder.propose(
            text, tokens, prompt, k, sampling=sampling, seed=seed, meter=meter, first=first
        )

    def close(self) -> None:
        """End the decoder's thread."""
        self.decoder.close()


def _cores() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _locate(path: str) -> Path:
    """The folder meant by a policy's path; what is not there may be a name on the hub."""
    source = _beside(path)
    if not source.is_dir() and (source.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1):
        raise BadPolicy(f"there is no policy folder {path!r}")
    return source


def _beside(path: str) -> Path:
    """The path itself, or the folder of that name beside this package."""
    source = Path(path).expanduser()
    there = _ROOT / source  # an absolute path stays what it is
    return there if there.is_dir() and not source.is_dir() else source


def _existing(path: str, what: str) -> Path:
    folder = _beside(path)
    if not folder.is_dir():
        raise BadPolicy(f"there is no {what} folder {path!r}")
    return folder


def _load(name: str, local: bool, dtype: str, revision: str | None) -> tuple[Any, Any]:
    """The model and its tokenizer. Whatever the loaders raise for a broken folder becomes one line."""
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise BadPolicy(f"there is no dtype {dtype!r}; use 'float32', 'bfloat16' or 'float16'")
    loader: Any = AutoModelForCausalLM
    if not local and not _hub_answers():
        # The hub's client would retry for most of a minute; offline, it still loads what is in its cache.
        _hub.constants.HF_HUB_OFFLINE = True
    options = {"local_files_only": local, "revision": revision or "main"}
    try:
        model, report = loader.from_pretrained(
            name, dtype=kind, attn_implementation="sdpa", output_loading_info=True, **options
        )
    except Exception as error:
        where = "load the policy folder" if local else "find a folder, or load from the hub, the policy"
        raise BadPolicy(f"cannot {where} {name!r}: {_line(error)}") from error
    if wrong := sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]])):
        raise BadPolicy(f"the weights of {name!r} do not fit its config: {wrong[0]} is missing or misshapen")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
    except Exception as error:
        raise BadPolicy(f"cannot load the tokenizer of {name!r}: {_line(error)}") from error
    return model, tokenizer


def _moved(model: Any, device: str) -> Any:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device that is not there
        raise BadPolicy(f"cannot put the policy on the device {device!r}: {_line(error)}") from error


def _hub_answers() -> bool:
    """Can the hub be reached? Behind a proxy only its client can tell."""
    if getproxies():
        return True
    hub = urlsplit(_hub.constants.ENDPOINT)
    try:
        socket.create_connection((hub.hostname, hub.port or 443), timeout=5).close()
    except OSError:
        return False
    return True


def _adapt(model: Any, folder: Path) -> Any:
    from peft import PeftModel  # slow to import, and only needed here

    try:
        return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except Exception as error:
        raise BadPolicy(f"cannot load the adapter {str(folder)!r} into this policy: {_line(error)}") from error


def _value_head(
    model: Any, asked: str | None, adapter: Path | None, folder: Path | None
) -> tuple[ValueHead | None, Path | None]:
    """The value head and its folder."""
    size = model.config.get_text_config().hidden_size
    candidates = [adapter, folder] if asked is None else [_existing(asked, "value head")]
    for candidate in candidates:
        if candidate is not None and (head := ValueHead.load(candidate, size)) is not None:
            return head.to(model.device).requires_grad_(False), candidate
    if asked is not None:
        raise BadPolicy(f"there is no {VALUE_HEAD_FILE} in {asked!r}")
    return None, None


def _version(path: str, model: Any, folders: list[Path | None], head: Path | None) -> str:
    """A short hash of the files that hold the weights, or of the hub's name and commit."""
    digest = hashlib.blake2b(digest_size=6)
    kinds = ("*.safetensors", "*.bin")
    files = [f for folder in folders if folder is not None for kind in kinds for f in sorted(folder.glob(kind))]
    files = [f for f in files if f.name != VALUE_HEAD_FILE]
    if not files or folders[0] is None:
        digest.update(f"{path}@{getattr(model.config, '_commit_hash', None)}".encode())
    for file in [*files, *([] if head is None else [head / VALUE_HEAD_FILE])]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _as_list(ids: int | list[int] | None) -> list[int]:
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)


def _line(error: Exception) -> str:
    """What an error says, on one line of a readable length."""
    said = " ".join(str(error).split())
    return (f"{type(error).__name__} {said}" if isinstance(error, KeyError) or not said else said)[:200]
