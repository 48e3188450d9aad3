"""Stage one: imitate demonstrations, then learn to value states from the outcomes of the policy's own rollouts.

One training loop serves both stages; what differs between them is the stream of batches and the learning rate.
It is resumable at any step: batches depend on (seed, step) alone, and a checkpoint holds all other state.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from policy.base import BadPolicy
from policy.batches import IGNORE, NO_VALUE, Batch, Batches
from policy.files import write_atomically
from policy.folders import publish
from policy.losses import losses
from policy.value_head import ValueHead


@dataclass(frozen=True)
class Shape:
    """The language model's shape (a Llama: rotary positions, SwiGLU, tied embeddings).

    Attributes:
        key_value_heads: heads of keys and values that the query heads share (Shazeer 2019; Ainslie et al. 2023): the
            fewer, the less memory is read for each token of a thought.
    """

    hidden_size: int = 192
    layers: int = 5
    heads: int = 4
    key_value_heads: int = 1
    intermediate_size: int = 512
    max_length: int = 512

    def __post_init__(self) -> None:
        if min(vars(self).values()) < 1:
            raise ValueError("every number of a shape must be at least 1")
        if self.hidden_size % (2 * self.heads) or self.heads % self.key_value_heads:
            raise ValueError("heads must divide hidden_size into even parts, and key_value_heads must divide heads")


@dataclass(frozen=True)
class Schedule:
    """Learning rates of one stage, as a share of the peak: linear warm-up, a plateau, a linear decline.

    Attributes:
        steps: optimisation steps.
        warmup: steps until `start` is reached.
        start, end: shares of the peak learning rate on the plateau and at the last step.
        decline: share of the steps over which it declines from start to end.
        anew: the optimisers forget what they know of the stage before (a warm restart).
    """

    steps: int
    warmup: int = 0
    start: float = 1.0
    end: float = 0.0
    decline: float = 1.0
    anew: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.warmup <= self.steps or min(self.start, self.end, self.decline) < 0:
            raise ValueError("a schedule has at least 1 step, warm-up within its steps, and no negative share")

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.start * (step + 1) / self.warmup
        left = (self.steps - step) / max(1.0, self.decline * self.steps)
        return self.end + (self.start - self.end) * min(1.0, left)


@dataclass
class Optimisation:
    """How to step.

    Attributes:
        matrix_lr: peak learning rate of the hidden matrices (Muon, scaled to match AdamW's update size).
        other_lr: peak learning rate of embeddings and norms (AdamW).
        head_lr: peak learning rate of the value head (AdamW): it starts anew where the others are nearly done.
        weight_decay: decoupled, for the matrices.
        value_weight: weight of the value loss beside the imitation loss.
        clip: largest gradient norm.
    """

    matrix_lr: float = 0.004
    other_lr: float = 0.004
    head_lr: float = 0.03
    weight_decay: float = 0.01
    value_weight: float = 1.0
    clip: float = 1.0


@dataclass
class Progress:
    """What a checkpoint says of the run so far."""

    stage: str = ""
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float | str]] = field(default_factory=list)


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerBase, seed: int) -> LlamaForCausalLM:
    """A freshly initialised model; its weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed % 2**63)
        return LlamaForCausalLM(LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=shape.hidden_size, num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads, num_key_value_heads=shape.key_value_heads,
            intermediate_size=shape.intermediate_size, max_position_embeddings=shape.max_length,
            tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        ))


def new_value_head(hidden_size: int, seed: int) -> ValueHead:
    with torch.random.fork_rng():
        torch.manual_seed(seed % 2**63)
        return ValueHead(hidden_size)


class Trainer:
    """The training loop, with checkpoints.

    Args:
        model, head: trained in place.
        optimisation: see Optimisation.
        folder: where `checkpoint.pt` and `curve.jsonl` go.
        device: where to train; bf16 autocast is used where the device computes it natively.
    """

    def __init__(
        self, model: LlamaForCausalLM, head: ValueHead, optimisation: Optimisation, folder: Path, device: torch.device
    ) -> None:
        self.model = model
        nn.Module.to(model, device)  # the model's own `to` hides its types
        if device.type == "cpu":  # for rows this short, plain products beat the CPU's fused kernel, backwards above all
            model.set_attn_implementation("eager")
        self.head = head.to(device)
        self.optimisation = optimisation
        self.folder = folder
        self.device = device
        self.bf16 = native_bf16(device)
        self._pad = int(model.config.pad_token_id or 0)
        self.progress = Progress()
        self.optimisers = self._new_optimisers()
        self.peaks = (optimisation.matrix_lr, optimisation.other_lr, optimisation.head_lr)

    def _new_optimisers(self) -> list[torch.optim.Optimizer]:
        matrices = [p for n, p in self.model.named_parameters()
                    if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
        ids = {id(p) for p in matrices}
        others = [p for p in self.model.parameters() if id(p) not in ids]

        def adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
            return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.95), weight_decay=0.0)

        return [
            # Muon orthogonalises the update of each hidden matrix (Jordan et al. 2024): fewer steps to the same loss.
            torch.optim.Muon(matrices, lr=self.optimisation.matrix_lr, weight_decay=self.optimisation.weight_decay,
                             adjust_lr_fn="match_rms_adamw"),
            adam(others, self.optimisation.other_lr),
            adam(self.head.parameters(), self.optimisation.head_lr),
        ]

    def run(self, stage: str, batches: Batches, schedule: Schedule, *, checkpoint_every: int, log_every: int,
            on_log: Callable[[Progress], None]) -> None:
        """Train one stage to its end, from wherever the checkpoint left it. Earlier stages must be finished."""
        if self.progress.stage != stage:
            self.progress.stage, self.progress.step = stage, 0
            if schedule.anew:
                self.optimisers = self._new_optimisers()
        progress = self.progress
        sums, since = torch.zeros(2), time.monotonic()
        counts = torch.zeros(2)
        while progress.step < schedule.steps:
            batch = batches(progress.step)
            step_losses = self._step(batch.to(self.device), schedule(progress.step))
            has = torch.tensor([bool((batch.labels != IGNORE).any()), bool((batch.values != NO_VALUE).any())])
            sums += step_losses * has
            counts += has
            progress.step += 1
            progress.tokens += int((batch.tokens - self._pad).count_nonzero())
            if progress.step % log_every == 0 or progress.step == schedule.steps:
                now = time.monotonic()
                progress.seconds, since = progress.seconds + now - since, now
                means = (sums / counts.clamp(min=1)).tolist()
                sums.zero_()
                counts.zero_()
                progress.curve.append({"stage": stage, "step": progress.step, "imitation_loss": means[0],
                                       "value_loss": means[1], "tokens": progress.tokens,
                                       "seconds": progress.seconds})
                on_log(progress)
            if progress.step % checkpoint_every == 0 or progress.step == schedule.steps:
                self.save()

    def _step(self, batch: Batch, share: float) -> Tensor:
        """One optimisation step; returns the two losses."""
        for optimiser, peak in zip(self.optimisers, self.peaks, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * share
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            imitation, value = losses(self.model, self.head, batch)
        (imitation + self.optimisation.value_weight * value).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([*self.model.parameters(), *self.head.parameters()], self.optimisation.clip)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return torch.stack([imitation.detach(), value.detach()]).cpu()

    def save(self) -> None:
        """Write the checkpoint and the loss curve, each atomically."""
        state = {"model": self.model.state_dict(), "head": self.head.state_dict(),
                 "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
                 "progress": vars(self.progress)}
        write_atomically(self.folder / "checkpoint.pt", lambda file: torch.save(state, file))
        lines = "".join(json.dumps(row) + "\n" for row in self.progress.curve)
        write_atomically(self.folder / "curve.jsonl", lambda file: file.write(lines.encode()))

    def resume(self) -> bool:
        """Continue from the checkpoint if there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return False
        try:
            state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:  # whatever a broken file makes of the unpickler
            why = type(error).__name__
            raise BadPolicy(f"cannot read the checkpoint {path}: {why}; remove it to start anew") from error
        self.model.load_state_dict(state["model"])
        self.head.load_state_dict(state["head"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.progress = Progress(**state["progress"])
        return True


def native_bf16(device: torch.device) -> bool:
    """Does the device compute bf16 in hardware? Emulated bf16 would be slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def save_policy(model: LlamaForCausalLM, head: ValueHead, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the standard HF layout (float32) plus the value head; an old policy is replaced once that is whole."""
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    nn.Module.to(model, torch.float32)

    def write(part: Path) -> None:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        head.save(part)

    publish(folder, write)
