"""The model card and the loss curve that go with a pretrained policy."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from policy.pretrain import Progress


_NUMBERS = ("countdown", "game24")
# How demonstrations come about, by the beginnings of the names of domains.
_NOTES = {
    _NUMBERS: """  Countdown and Game of 24 are hindsight: random legal steps whose result names the target (for
  Game of 24, those whose result is 24 are kept); no solver is involved.
""",
    ("arithmetic", "equations"): "  Arithmetic and equations are written out in random decompositions.\n",
}
_PUZZLES = """, and the 100 Game of 24 puzzles of the Tree-of-Thoughts paper
  (Yao et al. 2023), under every setting"""


@dataclass(frozen=True)
class Report:
    """Accuracies on validation problems of one domain, without search; each in [0, 1]."""

    domain: str
    problems: int
    samples: int
    greedy: float
    sampled: float
    any_of_samples: float


def model_card(config: Mapping[str, Any], progress: Progress, parameters: int, reports: Sequence[Report]) -> str:
    """Markdown with the metadata block that the Hugging Face hub reads."""
    phases = config["imitation"].values()
    shares = "; then ".join(", ".join(f"{name} {share:.0%}" for name, share in phase["demonstrations"].items())
                            for phase in phases)
    rows = "\n".join(f"| {r.domain} | {r.problems} | {r.greedy:.1%} | {r.sampled:.1%} | {r.any_of_samples:.1%} |"
                     for r in reports)
    samples = reports[0].samples if reports else 0
    learned = {name for phase in phases for name in phase["demonstrations"]}
    notes = "".join(note for families, note in _NOTES.items() if any(name.startswith(families) for name in learned))
    puzzles = _PUZZLES if any(name.startswith(_NUMBERS) for name in learned) else ""
    outcomes = ", ".join(f"{name} {count} x {each}" for name, (count, each) in config["outcomes"].items())
    optimisation = config["optimisation"]
    imitation = sum(phase["schedule"]["steps"] for phase in phases)
    valuing = config["valuing"]["schedule"]["steps"]
    where = f"{platform.machine()}, threads={config['threads'] or 'all'}, device={config['device']}"
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# A small reasoning policy over characters

A Llama-architecture causal language model with {parameters / 1e6:.2f} million parameters, trained from scratch by
`python run_experiment.py pretrain` on demonstrations that the project generates itself. It reads a problem on a line
and writes one thought a line. `value_head.safetensors` estimates P(a rollout from here ends correct).

## Data

- Demonstrations: {shares}
  (shares of the sequences in each phase), drawn afresh for every step, from training splits only.
{notes}- Outcomes: {outcomes} (training problems x rollouts of the policy itself).
- Held out: validation and test splits by content hash{puzzles}.

## Training

- {imitation} steps of imitation and {valuing} of valuing of
  {config["batch_tokens"]} tokens each, {progress.tokens / 1e6:.1f} million tokens in all; Muon for the hidden matrices
  (peak learning rate {optimisation["matrix_lr"]}), AdamW for the rest ({optimisation["other_lr"]}).
- Seed {config["seed"]}; {progress.seconds / 60:.0f} minutes of training steps ({where}).

![loss](loss_curve.png)

## Accuracies without search

On validation problems: the greedy line, the average of {samples} sampled lines, and any of them.

| domain | problems | greedy | sampled | any of {samples} |
|---|---|---|---|---|
{rows}

It knows these kinds of problems and nothing else, and it is often wrong: it is meant to be searched with, not
believed.
"""


def loss_curve(rows: Sequence[Mapping[str, Any]], file: BinaryIO) -> None:
    """Both losses against tokens, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    tokens = [row["tokens"] / 1e6 for row in rows]
    imitation = [(t, row["imitation_loss"]) for t, row in zip(tokens, rows, strict=True) if row["imitation_loss"]]
    value = [(t, row["value_loss"]) for t, row in zip(tokens, rows, strict=True) if row["value_loss"]]
    for axes, points, name in ((left, imitation, "imitation loss [nats a token]"),
                               (right, value, "value loss [nats a state]")):
        if points:
            axes.plot(*zip(*points, strict=True))
        axes.set_xlabel("million tokens")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    left.set_yscale("log")
    figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
