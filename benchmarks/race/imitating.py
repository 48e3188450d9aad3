"""The arm of more stage one: the policy goes on imitating the domain's own demonstrations, as `pretrain` does.

    python -m benchmarks.race.imitating JOB.json
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from benchmarks.race.job import Clock, Job
from policy.batches import Demonstrations, Encoder
from policy.pretrain import Optimisation, Progress, Schedule, Trainer, save_policy
from policy.value_head import ValueHead
from verifiers.base import derive_seed
from verifiers.domains.countdown import Countdown

ENDLESS = 10**9


class Over(Exception):
    """The last mark has passed."""


@dataclass(frozen=True, kw_only=True)
class ByTheClock(Schedule):
    """Learning rates that decline with the time that is over, since nobody knows how many steps fit into it."""

    steps: int = ENDLESS
    clock: Clock = field(compare=False)

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return super().__call__(step)
        left = (1 - self.clock.share) / self.decline
        return self.end + (self.start - self.end) * min(1.0, left)


def main(path: str) -> int:
    job = Job.read(path)
    torch.set_num_threads(job.threads)
    options = dict(job.options)
    size, end, decline = (options.pop(name) for name in ("batch_tokens", "end", "decline"))
    base = Path(job.base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    head = ValueHead.load(base, model.config.hidden_size)
    assert head is not None
    clock = Clock(job.marks, Path(job.out))
    trainer = Trainer(model, head, Optimisation(**options), Path(job.out), torch.device("cpu"))
    batches = Demonstrations([(Countdown(**job.domain), 1.0)], Encoder(tokenizer), int(size),
                             derive_seed(job.seed, "more of stage one"))

    def look(progress: Progress) -> None:
        if progress.step % 20 == 0:
            print(f"{clock.seconds:.0f} s, step {progress.step}, loss {progress.curve[-1]['imitation_loss']:.4f}",
                  flush=True)
        if clock.look(progress.step, lambda folder: save_policy(model, head, tokenizer, folder)):
            raise Over

    schedule = ByTheClock(warmup=10, end=float(end), decline=float(decline), clock=clock)
    clock.start()
    try:
        trainer.run("more", batches, schedule, checkpoint_every=ENDLESS, log_every=1, on_log=look)
    except Over:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
