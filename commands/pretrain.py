"""Train a small policy from scratch: imitate demonstrations, then learn values from its own rollouts. Resumable.

The same command continues after an interruption, from the last checkpoint in `run_dir`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from commands.compose import domain_config, folder_option, load_domain, make, torch_device
from commands.errors import BadInput, whole
from commands.manifest import reopen, write_atomically
from commands.model_card import Report, loss_curve, model_card
from verifiers.base import Domain, derive_seed

if TYPE_CHECKING:
    from policy.batches import Batches, Encoded, Encoder
    from policy.pretrain import Progress as TrainingProgress
    from policy.pretrain import Schedule, Trainer
    from policy.transformer import Transformer
    from selfplay.rollouts import Rollout

# Options that may change between an interruption and the resumption: they do not change what is learned.
FREE = ("threads", "device", "out", "run_dir", "checkpoint_every", "log_every", "report")


def run(cfg: DictConfig) -> int:
    for name, least in (("seed", 0), ("batch_tokens", 64), ("checkpoint_every", 1), ("log_every", 1)):
        whole(name, cfg[name], least)
    threads = len(os.sched_getaffinity(0)) if cfg.threads is None else whole("threads", cfg.threads)
    folder, out = (folder_option(name, cfg[name]) for name in ("run_dir", "out"))
    if out.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise BadInput(f"out={out} holds the run directory {folder}; choose another place for the policy")
    schedules = {str(name): make("schedule", phase.schedule) for name, phase in cfg.imitation.items()}
    shape, valuing = make("model", cfg.model), make("schedule", cfg.valuing.schedule)
    optimisation = make("optimisation", cfg.optimisation)
    device = torch_device(str(cfg.device))
    used = {*cfg.outcomes, *(name for phase in cfg.imitation.values() for name in phase.demonstrations)}
    domains = {name: load_domain(domain_config(name)) for name in sorted(map(str, used))}
    import torch

    from policy.batches import Demonstrations, Encoder, Outcomes
    from policy.charset import character_tokenizer
    from policy.folders import may_replace
    from policy.pretrain import Trainer, new_model, new_value_head, save_policy

    may_replace(out)
    attempt = reopen(folder, _plain(cfg), int(cfg.seed), FREE)
    torch.set_num_threads(threads)
    tokenizer = character_tokenizer()
    encoder = Encoder(tokenizer)
    trainer = Trainer(
        new_model(shape, tokenizer, derive_seed(cfg.seed, "weights")),
        new_value_head(shape.hidden_size, derive_seed(cfg.seed, "value head")),
        optimisation, folder, device,
    )
    trainer.resume()
    phases = list(cfg.imitation)
    done = 0  # every phase goes on in the stream of demonstrations where the one before it stopped
    for name in phases:
        demonstrations = Demonstrations([(domains[str(d)], float(share)) for d, share in
                                         cfg.imitation[name].demonstrations.items()], encoder, cfg.batch_tokens,
                                        cfg.seed, first=done)
        done += schedules[str(name)].steps
        _train(trainer, str(name), [*map(str, phases), "valuing"], demonstrations, schedules[str(name)], cfg)
    imitated = folder / "imitated"
    if trainer.progress.stage != "valuing":
        save_policy(trainer.model, trainer.head, tokenizer, imitated)
    rollouts = _rollouts(folder / "rollouts.jsonl", imitated, domains, cfg, encoder)
    outcomes = Outcomes(rollouts, demonstrations, encoder, cfg.seed)
    _train(trainer, "valuing", ["valuing"], outcomes, valuing, cfg)
    save_policy(trainer.model, trainer.head, tokenizer, out)
    reports = _report(out, domains, cfg)
    rows = trainer.progress.curve
    write_atomically(out / "loss_curve.png", lambda file: loss_curve(rows, file))
    card = model_card(_plain(cfg), trainer.progress, trainer.model.num_parameters(), reports)
    write_atomically(out / "README.md", lambda file: file.write(card.encode()))
    attempt.end("finished", accuracies=[vars(report) for report in reports])
    print(f"wrote the policy to {out}")
    return 0


def _plain(cfg: DictConfig) -> dict[str, Any]:
    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    return config


def _train(
    trainer: Trainer, stage: str, order: Sequence[str], batches: Batches, schedule: Schedule, cfg: DictConfig
) -> None:
    """Train one stage, unless the checkpoint is of a later one."""
    if trainer.progress.stage in order[order.index(stage) + 1 :]:
        return
    with _progress_bar(stage, schedule.steps) as show:
        trainer.run(stage, batches, schedule, checkpoint_every=cfg.checkpoint_every, log_every=cfg.log_every,
                    on_log=show)


@contextmanager
def _progress_bar(stage: str, steps: int) -> Iterator[Any]:
    """A bar on stderr in a terminal, a line now and then elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[losses]}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(stage, total=steps, losses="")

        def show(progress: TrainingProgress) -> None:
            row = progress.curve[-1]
            losses = f"imitation {row['imitation_loss']:.3f}  value {row['value_loss']:.3f}"
            bar.update(task, completed=progress.step, losses=losses)
            if not console.is_terminal:
                console.print(f"{stage} {progress.step}/{steps}  {losses}  {progress.seconds:.0f} s", highlight=False)

        yield show


def _rollouts(
    path: Path, imitated: Path, domains: Mapping[str, Domain], cfg: DictConfig, encoder: Encoder
) -> list[Encoded]:
    """The imitating policy's own rollouts on training problems, encoded with their outcomes; played once, then read."""
    if not path.exists():
        played: list[Rollout] = []
        with _policy(imitated, cfg) as policy:
            for name, (problems, samples) in cfg.outcomes.items():
                played += _play(policy, domains[str(name)], "train", problems, samples, cfg.seed)
                print(f"played {len(played)} rollouts ({name})", flush=True)
        lines = [{"domain": r.problem.domain, "prompt": r.problem.prompt, "thoughts": r.thoughts,
                  "correct": r.verdict.ok} for r in played]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_atomically(path, lambda file: file.write(text.encode()))
    rows = map(json.loads, path.read_text().splitlines())
    return [encoder.rollout(row["prompt"], row["thoughts"], float(row["correct"])) for row in rows]


@contextmanager
def _policy(folder: Path, cfg: DictConfig) -> Iterator[Transformer]:
    from policy.transformer import Transformer

    policy = Transformer(str(folder), threads=cfg.threads, device=str(torch_device(str(cfg.device))), max_batch=512)
    try:
        yield policy
    finally:
        policy.close()


def _play(policy: Transformer, domain: Domain, split: str, count: int, samples: int, seed: int,
          **how: Any) -> list[Rollout]:
    from selfplay.rollouts import play

    problems = list(islice(domain.problems(split, derive_seed(seed, "rollouts")), count))
    return asyncio.run(play(policy, domain, problems, samples, derive_seed(seed, "rollouts", split), **how))


def _report(out: Path, domains: Mapping[str, Domain], cfg: DictConfig) -> list[Report]:
    """Accuracies of the finished policy without any search, on validation problems."""
    from policy.base import Sampling
    from selfplay.rollouts import accuracy, any_correct

    reports = []
    with _policy(out, cfg) as policy:
        for name in map(str, cfg.outcomes):
            domain = domains[name]
            count, samples = cfg.report.problems, cfg.report.samples
            greedy = _play(policy, domain, "validation", count, 1, cfg.seed, sampling=Sampling.GREEDY)
            sampled = _play(policy, domain, "validation", count, samples, cfg.seed)
            reports.append(Report(name, len(greedy), samples, accuracy(greedy), accuracy(sampled),
                                  any_correct(sampled)))
    return reports
