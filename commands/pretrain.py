"""Train a small policy from scratch: imitate demonstrations, then learn values from its own rollouts. Resumable."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from commands.compose import domain_config, load_domain, make
from commands.errors import BadInput

if TYPE_CHECKING:
    from policy.pretrain import Progress


def run(cfg: DictConfig) -> int:
    folder = Path(cfg.run_dir)
    claim(folder, cfg)
    domains = {name: load_domain(domain_config(str(name))) for name in cfg.demonstrations}
    import torch

    from policy.batches import Demonstrations, Encoder
    from policy.charset import character_tokenizer
    from policy.pretrain import Trainer, new_model, new_value_head
    from verifiers.base import derive_seed

    torch.set_num_threads(cfg.threads or len(os.sched_getaffinity(0)))
    device = torch.device("cuda" if cfg.device == "auto" and torch.cuda.is_available() else
                          "cpu" if cfg.device == "auto" else cfg.device)
    tokenizer = character_tokenizer()
    encoder = Encoder(tokenizer)
    shape = make("model", cfg.model)
    trainer = Trainer(new_model(shape, tokenizer, derive_seed(cfg.seed, "weights")),
                      new_value_head(shape.hidden_size, derive_seed(cfg.seed, "value head")),
                      make("optimisation", cfg.optimisation), folder, device)
    trainer.resume()
    weighted = [(domains[name], float(share)) for name, share in cfg.demonstrations.items()]
    demonstrations = Demonstrations(weighted, encoder, cfg.batch_tokens, cfg.seed)
    imitation = make("schedule", cfg.imitation)
    if trainer.progress.stage == "imitation":
        trainer.run("imitation", demonstrations, imitation, checkpoint_every=cfg.checkpoint_every,
                    log_every=cfg.log_every, on_log=lambda p: print(p.curve[-1], flush=True))
    return 0


def claim(folder: Path, cfg: DictConfig) -> None:
    """Make the run directory, or make sure that it belongs to this very configuration. Raises BadInput."""
    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    path = folder / "config.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config, indent=1))
        return
    before = json.loads(path.read_text())
    free = {"threads", "device", "out", "checkpoint_every", "log_every"}  # what does not change the result's meaning
    differing = sorted(k for k in {*before, *config} - free if before.get(k) != config.get(k))
    if differing:
        raise BadInput(f"{folder} holds a run with other settings of {', '.join(differing)}; choose another run_dir")
