"""The arm that only goes on with stage one: imitation of demonstrations, all weights, at a constant rate.

Options: out=DIR seed=N lr=RATE [mix=share of countdown] [batch_tokens=N] [every=seconds between two policies].
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM, AutoTokenizer

from commands.compose import load_domain
from policy.batches import Demonstrations, Encoder
from policy.pretrain import Optimisation, Progress, Schedule, Trainer, save_policy
from policy.value_head import ValueHead

ROOT = Path(__file__).resolve().parents[2]
ENDLESS = 10**9


def main(words: list[str]) -> None:
    said = dict(word.split("=", 1) for word in words)
    out, seed, lr, every = Path(said["out"]), int(said["seed"]), float(said["lr"]), float(said.get("every", 15))
    mix, base = float(said.get("mix", 0.0)), ROOT / "policy" / "shipped"
    torch.set_num_threads(1)
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    head = ValueHead.load(base, model.config.hidden_size)
    assert head is not None
    domains = [(load_domain(json.loads(json.dumps(OmegaConf.to_container(OmegaConf.load(
        ROOT / "conf" / "domain" / f"{name}.yaml"))))), share) for name, share in
        (("game24", 1 - mix), ("countdown", mix)) if share > 0]
    batches = Demonstrations(domains, Encoder(tokenizer), int(said.get("batch_tokens", 4096)), seed)
    trainer = Trainer(model, head, Optimisation(matrix_lr=lr, other_lr=lr, head_lr=lr), out, torch.device("cpu"))
    saved = time.monotonic()

    def on_log(progress: Progress) -> None:
        nonlocal saved
        if time.monotonic() - saved >= every:
            save_policy(model, head, tokenizer, out / f"step-{progress.step}")
            saved = time.monotonic()

    trainer.run("imitation", batches, Schedule(steps=ENDLESS, warmup=20, start=1.0, end=1.0),
                checkpoint_every=ENDLESS, log_every=5, on_log=on_log)


if __name__ == "__main__":
    main(sys.argv[1:])
