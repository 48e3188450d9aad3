"""The model that is trained: a base with a LoRA adapter in it, or all of its weights, and the value head beside it."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from policy.base import BadPolicy
from policy.folders import publish
from policy.pretrain import new_value_head
from policy.value_head import ValueHead
from policy.weights import base_version, ends
from selfplay.losses import Reading
from verifiers.base import derive_seed

ABOUT = "engine.json"


@dataclass(frozen=True)
class Lora:
    """A low-rank adapter (Hu et al. 2022).

    Attributes:
        rank: of each update.
        alpha: an update is scaled by alpha / rank.
        targets: names of the modules that get one, or 'all-linear' for every linear layer but the output.
        dropout: on the adapter's input; in [0, 1).
    """

    rank: int = 16
    alpha: int = 32
    targets: str | tuple[str, ...] = "all-linear"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if min(self.rank, self.alpha) < 1 or not 0 <= self.dropout < 1:
            raise ValueError("an adapter's rank and alpha must be at least 1, dropout in [0, 1)")


def check_start(start: Path, whole: bool) -> None:
    """Raises BadPolicy unless a folder is what a training can go on from: an adapter, or a whole model if all weights
    are trained."""
    adapter = (start / "adapter_config.json").is_file()
    if whole and adapter:
        raise BadPolicy(f"{str(start)!r} is an adapter, and all weights are to be trained; export it first: "
                        "run_experiment.py export ADAPTER out=FOLDER, then policy.path=FOLDER")
    if not whole and not adapter:
        raise BadPolicy(f"{str(start)!r} has no adapter_config.json, and an adapter is to be trained; allowed: an "
                        "adapter in PEFT's layout, or a whole model as policy.path")


class Trainee:
    """A base model, what is trained of it, and what it is held against.

    Args:
        base: folder of the base model, in standard layout, with a value head or without.
        start: folder of an adapter to go on from (without `lora`: of a whole model); None: from the base.
        lora: shape of a new adapter; one that is gone on from keeps its own. None: all weights are trained.
        hold_start: keep the policy at the start, to hold the one that is trained against it.
        seed: of new weights.
        device, dtype: of the base's weights; an adapter's are float32.
        checkpointing: compute activations again in the backward pass instead of keeping them.

    Attributes:
        context: most tokens of a line.
        ends: tokens at which its text ends, besides the tokenizer's own.

    Raises: BadPolicy, in one line.
    """

    def __init__(
        self, base: Path, start: Path | None, lora: Lora | None, *, seed: int, device: torch.device,
        hold_start: bool = False, dtype: torch.dtype = torch.float32, checkpointing: bool = False,
    ) -> None:  # fmt: skip
        if start is not None:
            check_start(start, whole=lora is None)
        self.base, self.lora, self.device = base, lora, device
        whole = base if start is None or lora is not None else start
        model = _loaded(AutoModelForCausalLM, whole, "the policy", dtype=dtype)
        self.tokenizer: Any = _loaded(AutoTokenizer, base, "the tokenizer of the policy")
        if device.type == "cpu":  # for rows this short, plain products beat the CPU's fused kernel, backwards above all
            model.set_attn_implementation("eager")
        model.to(device)
        limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.context = int(limit or 1 << 30)
        self.ends = ends(model)
        self.head = self._value_head(model, start, seed).to(device)
        self._holds_start = hold_start and start is not None  # else the start is the base
        if lora is None:
            self.model: Any = model
            base_model = model if start is None else _loaded(AutoModelForCausalLM, base, "the base", dtype=dtype)
            self._frozen = {"base": _frozen(base_model, device)}
            if self._holds_start:
                self._frozen["start"] = _frozen(model, device)
        else:
            self.model = self._adapted(model, start, lora, seed)
            if self._holds_start:
                self.model.load_adapter(str(start), "start")
                self.model.set_adapter("default")
        if checkpointing:
            with _quiet():
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self._body, self._output = model.base_model, model.get_output_embeddings()

    def _adapted(self, model: Any, start: Path | None, lora: Lora, seed: int) -> Any:
        from peft import LoraConfig, PeftModel, get_peft_model  # slow to import

        model.requires_grad_(False)
        if start is not None:
            try:
                with _quiet():
                    return PeftModel.from_pretrained(model, str(start), is_trainable=True)
            except Exception as error:
                raise BadPolicy(f"cannot go on from the adapter {str(start)!r}: {_line(error)}") from error
        targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
        config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets,
                            task_type="CAUSAL_LM")
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(seed, "adapter"))
            try:
                with _quiet():
                    return get_peft_model(model, config)
            except ValueError as error:
                raise BadPolicy(f"cannot put an adapter into the policy {str(self.base)!r}: {_line(error)}") from error

    def _value_head(self, model: Any, start: Path | None, seed: int) -> ValueHead:
        """The head to go on from, the base's where there is none, else a new one."""
        size = model.config.get_text_config().hidden_size
        for folder in (start, self.base):
            if folder is not None and (head := ValueHead.load(folder, size)) is not None:
                return head
        return new_value_head(size, derive_seed(seed, "value head"))

    def train(self, training: bool) -> None:
        self.model.train(training)
        self.head.train(training)

    def read(self, tokens: Tensor) -> Reading:
        """[B, T] tokens as the policy that is trained reads them."""
        hidden = self._body(input_ids=tokens, use_cache=False).last_hidden_state
        return Reading(hidden, self._output(hidden))

    @torch.no_grad()
    def refer(self, tokens: Tensor, to: str = "base") -> Tensor:
        """Logits [B, T, V] of the base, or of the policy at the start ('start', if that is held)."""
        if to == "start" and not self._holds_start:
            to = "base"
        if self.lora is None:
            logits: Tensor = self._frozen[to](input_ids=tokens, use_cache=False).logits
            return logits
        with self._still():
            if to == "base":
                with self.model.disable_adapter():
                    return self.read(tokens).logits
            self.model.set_adapter("start")
            try:
                return self.read(tokens).logits
            finally:
                self.model.set_adapter("default")

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Without dropout: what is held against the policy does not change from one look to the next."""
        training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(training)

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained of the model, by name; the value head apart."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    def state(self) -> dict[str, dict[str, Tensor]]:
        """What training has changed."""
        model = {name: parameter.detach() for name, parameter in self.parameters().items()}
        return {"model": model, "head": self.head.state_dict()}

    def load(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """The state of a trainee made alike."""
        parameters = self.parameters()
        with torch.no_grad():
            for name, tensor in state["model"].items():
                parameters[name].copy_(tensor)
        self.head.load_state_dict(dict(state["head"]))

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write the adapter in PEFT's layout (without LoRA: the whole model in Hugging Face's), the value head, and
        `engine.json` with the base's version and what else there is to say; an older one is replaced once the new one
        is whole.

        Raises FileExistsError if something else is in the way, and OSError if the disk refuses.
        """

        def write(part: Path) -> None:
            if self.lora is None:
                self.model.save_pretrained(part)
                self.tokenizer.save_pretrained(part)
            else:
                config = self.model.peft_config["default"]
                if not isinstance(config.target_modules, str):
                    config.target_modules = sorted(config.target_modules)  # a set has another order in each process
                with _quiet():
                    self.model.save_pretrained(part, selected_adapters=["default"], save_embedding_layers=False)
            self.head.save(part)
            said = {"base_version": base_version(self.base), **about}
            (part / ABOUT).write_text(json.dumps(said, indent=2) + "\n")
            (part / "README.md").write_text(_readme(self.base, about, adapter=self.lora is not None))

        publish(folder, write)


def _frozen(model: Any, device: torch.device) -> Any:
    return copy.deepcopy(model).to(device).requires_grad_(False).eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """What the libraries say to one another about names that will go is nothing for people."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _loaded(loader: Any, folder: Path, what: str, **options: Any) -> Any:
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        return loader.from_pretrained(str(folder), local_files_only=folder.is_dir(), **options)
    except Exception as error:
        raise BadPolicy(f"cannot load {what} {str(folder)!r} to train it: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:200]


def _readme(base: Path, about: Mapping[str, Any], adapter: bool) -> str:
    what, use = ("A LoRA adapter", "PeftModel.from_pretrained(base, folder)") if adapter else (
        "A policy", "AutoModelForCausalLM.from_pretrained(folder)")
    facts = "".join(f"- {name}: {value}\n" for name, value in about.items())
    library = "peft" if adapter else "transformers"
    return (f"---\nbase_model: {base}\nlibrary_name: {library}\n---\n{what} made by self-play, with the value head "
            f"beside it. `{use}` loads it; `policy.adapter=` or `policy.path=` uses it.\n\n{facts}")
