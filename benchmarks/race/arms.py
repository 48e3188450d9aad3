"""The arms and their configurations: six each, so that all are tuned with the same effort.

A configuration of self-play is a list of Hydra overrides of `improve`; those of the other arms are written alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Kind(str, Enum):
    """How an arm is run."""

    IMPROVE = "improve"
    GRPO = "trl_grpo"
    IMITATION = "imitating"


@dataclass(frozen=True)
class Arm:
    """One way to spend the minutes.

    Attributes:
        label: for people.
        kind: see Kind.
        common: options of all its configurations.
        configs: by name, what differs.
    """

    label: str
    kind: Kind
    common: tuple[str, ...]
    configs: Mapping[str, tuple[str, ...]]

    def options(self, config: str) -> tuple[str, ...]:
        return (*self.common, *self.configs[config])


# Small generations without matches: six minutes are few, and every arm's last policy is what is measured.
_SELF_PLAY = ("selfplay.gate=false", "replay.held_out=0", "budget=500tok")
_SOLUTIONS = ("objective=rejection_sampling", "objective.most=64", "training.lr=0.005")
_ROUNDS = ("selfplay.lines=16", "replay.window=1", "replay.demonstrations=0", "training.epochs=1.0",
           "training.warmup=0", "training.batch_tokens=8192")  # fmt: skip

ARMS: dict[str, Arm] = {
    "expert_iteration": Arm(
        "self-play: search, imitated", Kind.IMPROVE, (*_SELF_PLAY, "search=mcts", "selfplay.lines=4"),
        {
            "distil_p256": ("objective=expert_iteration", "selfplay.problems=256"),
            "distil_p512": ("objective=expert_iteration", "selfplay.problems=512"),
            "solutions_p256": (*_SOLUTIONS, "selfplay.problems=256"),
            "solutions_p512": (*_SOLUTIONS, "selfplay.problems=512"),
            "solutions_p512_epochs4": (*_SOLUTIONS, "selfplay.problems=512", "training.epochs=4.0"),
            "solutions_p512_full": (*_SOLUTIONS, "selfplay.problems=512", "training=full", "training.lr=0.0005"),
        },
    ),
    "rejection_sampling": Arm(
        "self-play: samples, no search", Kind.IMPROVE,
        (*_SELF_PLAY, "search=greedy", "selfplay.lines=16", *_SOLUTIONS, "objective.tree_lines=false"),
        {
            "p256": ("selfplay.problems=256",),
            "p256_lr2": ("selfplay.problems=256", "training.lr=0.002"),
            "p512": ("selfplay.problems=512",),
            "p512_lines8": ("selfplay.problems=512", "selfplay.lines=8"),
            "p512_epochs4": ("selfplay.problems=512", "training.epochs=4.0"),
            "p512_full": ("selfplay.problems=512", "training=full", "training.lr=0.0005"),
        },
    ),
    "grpo": Arm(
        "self-play: policy gradients, no search", Kind.IMPROVE,
        (*_SELF_PLAY, "search=greedy", "objective=grpo", *_ROUNDS),
        {
            "lr2": ("selfplay.problems=64", "training.lr=0.002"),
            "lr1": ("selfplay.problems=64", "training.lr=0.001"),
            "lr4": ("selfplay.problems=64", "training.lr=0.004"),
            "lr2_p128": ("selfplay.problems=128", "training.lr=0.002"),
            "full": ("selfplay.problems=64", "training=full", "training.lr=0.0003"),
            "full_p128": ("selfplay.problems=128", "training=full", "training.lr=0.0003"),
        },
    ),
    "trl_grpo": Arm(
        "TRL's GRPOTrainer", Kind.GRPO, (),
        {
            "g16_lr1e-4": ("groups=8", "num_generations=16", "learning_rate=1e-4"),
            "g16_lr3e-4": ("groups=8", "num_generations=16", "learning_rate=3e-4"),
            "g16_lr5e-4": ("groups=8", "num_generations=16", "learning_rate=5e-4"),  # 1e-3 breaks the policy
            "g8_lr3e-4": ("groups=16", "num_generations=8", "learning_rate=3e-4"),
            "g8_lr3e-4_small": ("groups=8", "num_generations=8", "learning_rate=3e-4"),
            # as the project's own learner does, where the CPU multiplies it natively
            "g16_lr3e-4_bf16": ("groups=8", "num_generations=16", "learning_rate=3e-4", "bf16=true"),
        },
    ),
    "imitation": Arm(
        "more demonstrations (stage one)", Kind.IMITATION, ("batch_tokens=4096", "end=0.02", "decline=1.0"),
        {
            "lr1": ("matrix_lr=0.001", "other_lr=0.0007"),
            "lr2": ("matrix_lr=0.002", "other_lr=0.0014"),
            "lr4": ("matrix_lr=0.004", "other_lr=0.0028"),
            "lr0.5": ("matrix_lr=0.0005", "other_lr=0.00035"),
            "lr1_big": ("matrix_lr=0.001", "other_lr=0.0007", "batch_tokens=8192"),
            "lr2_big": ("matrix_lr=0.002", "other_lr=0.0014", "batch_tokens=8192"),
        },
    ),
}
