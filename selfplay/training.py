"""How the learner trains, and what it tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from selfplay.replay import Played
from selfplay.trainee import Lora


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
        adapter: 'lora', or 'full' for all weights (the control).
        lora: see Lora.
        restart: start from the base, not from the champion.
        epochs: over the lessons; a fraction is a part of one.
        max_steps: optimisation steps at most.
        batch_tokens: most tokens of a batch, padding included.
        accumulate: parts that a batch is computed in, one after the other, to save memory.
        checkpointing: recompute activations instead of keeping them.
        optimiser: 'adamw', or 'muon' for the matrices.
        lr, head_lr: peak learning rates of the policy and of the value head.
        warmup: steps until the peak is reached; from there the rate declines linearly.
        weight_decay: decoupled, of the policy.
        clip: largest gradient norm.
        value_weight: of the value head's loss.
        anchor: weight of the KL divergence from the frozen policy [1 / nat]; 0: none.
        anchor_to: 'base', or 'start' for the policy before this training.
        bf16: autocast to bfloat16; None: where the device computes it natively.
        dtype: of the base's weights under an adapter.
        checkpoint_every, monitor_every: steps.
        entropy_floor: training ends where the policy's entropy on held-out lines was last seen above this share of the
            base's, if it falls below; 0: never.
        base: folder of the weights that are trained, where the policy that plays has none of its own: it is asked over
            HTTP, and its server has loaded the same.
    """

    adapter: str = "lora"
    lora: Lora = field(default_factory=Lora)
    restart: bool = False
    epochs: float = 2.0
    max_steps: int = 100_000
    batch_tokens: int = 4096
    accumulate: int = 1
    checkpointing: bool = False
    optimiser: str = "adamw"
    lr: float = 2e-3
    head_lr: float = 2e-3
    warmup: int = 10
    weight_decay: float = 0.0
    clip: float = 1.0
    value_weight: float = 1.0
    anchor: float = 0.0
    anchor_to: str = "base"
    bf16: bool | None = None
    dtype: str = "float32"
    checkpoint_every: int = 50
    monitor_every: int = 25
    entropy_floor: float = 0.2
    base: str | None = field(default=None, repr=False)  # where it lies says nothing of what comes of a training

    def __post_init__(self) -> None:
        for name, allowed in (("adapter", ("lora", "full")), ("optimiser", ("adamw", "muon")),
                              ("anchor_to", ("base", "start")), ("dtype", ("float32", "bfloat16"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        if min(self.max_steps, self.batch_tokens, self.accumulate, self.checkpoint_every, self.monitor_every) < 1:
            raise ValueError("max_steps, batch_tokens, accumulate, checkpoint_every, monitor_every must be at least 1")
        if not min(self.epochs, self.lr, self.head_lr, self.clip) > 0:
            raise ValueError("epochs, lr, head_lr and clip must be above 0")
        if min(self.warmup, self.weight_decay, self.value_weight, self.anchor, self.entropy_floor) < 0:
            raise ValueError("warmup, weight_decay, value_weight, anchor and entropy_floor must be at least 0")


@dataclass(frozen=True)
class Step:
    """One optimisation step: the terms of its loss, unweighted (see selfplay/losses.py), and what it took."""

    step: int
    objective: float
    imitation: float
    value: float
    anchor: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Look:
    """What the policy has become, on held-out lines that the policy before it drew; means over tokens [nats].

    Attributes:
        step: after how many.
        entropy: of the next token.
        base_entropy: the base's.
        divergence: KL(policy || base).
        surprise: negative log-probability of the lines.
    """

    step: int
    entropy: float
    base_entropy: float
    divergence: float
    surprise: float


@dataclass(frozen=True)
class Learned:
    """What came of a training.

    Attributes:
        folder: of the adapter, or of the whole model.
        steps: that made this policy, of `planned` ones; fewer if the entropy fell below its floor.
        tokens: learned from, repeats counted.
        seconds: spent on steps, those of earlier attempts included.
        curve, looks: see Step and Look, with those that were taken back; the first look is before any step, the last is
            of this policy. Without held-out lines there is none.
        unlike: share of the thoughts whose log-probability is not what was stored (on-policy objectives only).
        left_out: lessons longer than the policy's context.
        played: see Played.
    """

    folder: Path
    steps: int
    planned: int
    tokens: int
    seconds: float
    curve: tuple[Step, ...]
    looks: tuple[Look, ...]
    unlike: float
    left_out: int
    played: Played
