"""The arm of TRL: GRPOTrainer on the shipped policy, rewarded by this project's verifier and by nothing else.

Run by the Python of TRL's own environment, from the root of the checkout: -m benchmarks.race.trl_grpo JOB.json
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.race.job import Clock, Job
from verifiers.base import Domain, Judge, State
from verifiers.domains.countdown import Countdown


async def grade(domain: Domain, judge: Judge, prompt: str, completion: str) -> float:
    """1 for a completion whose lines of thought are a right solution, else 0.

    Lines are read as everywhere else here: a blank one breaks the solution off, and what follows on an answer is not
    looked at.
    """
    problem = domain.parse(prompt.strip())
    if problem is None:
        raise ValueError(f"the domain cannot read the prompt {prompt!r}")
    state = State(problem)
    for line in completion.split("\n"):
        if not line.strip():
            return 0.0
        state = state.then(line)
        answer = await judge.answer(state)
        if answer is not None:
            return domain.check(problem, answer).reward
    return 0.0


def reward(domain: Domain) -> Any:
    """The reward function as TRL calls it."""
    judge = domain.judge()

    def right_solution(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
        async def together() -> list[float]:
            return [await grade(domain, judge, *one) for one in zip(prompts, completions, strict=True)]

        return asyncio.run(together())

    return right_solution


def arguments(job: Job, out: Path) -> Any:
    """GRPOConfig: what a CPU needs, TRL's defaults, and what the configuration says."""
    from trl import GRPOConfig

    options = dict(job.options)
    groups = int(options.pop("groups"))  # problems of a step
    attention = options.pop("attention", None)
    assert attention in (None, "eager", "sdpa")
    size = groups * int(options["num_generations"])
    parts = int(options.pop("parts", 1))  # optimisation steps that a generated batch is split into
    return GRPOConfig(
        output_dir=str(out), seed=job.seed, use_cpu=True, fp16=False, gradient_checkpointing=False,
        per_device_train_batch_size=size // parts, steps_per_generation=parts, max_steps=1_000_000,
        save_strategy="no", report_to="none", logging_steps=10, disable_tqdm=True, **{
            "bf16": False, "max_completion_length": 80, "lr_scheduler_type": "constant_with_warmup",
            "warmup_steps": 5, **options},
    )  # fmt: skip


def main(path: str) -> int:
    job = Job.read(path)
    os.environ["OMP_NUM_THREADS"] = str(job.threads)
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOTrainer

    torch.set_num_threads(job.threads)
    out = Path(job.out)
    model: Any = AutoModelForCausalLM.from_pretrained(job.base, dtype=torch.float32)
    model.set_attn_implementation(job.options.get("attention") or "sdpa")
    tokenizer: Any = AutoTokenizer.from_pretrained(job.base)
    clock = Clock(job.marks, out)

    class Marks(TrainerCallback):
        """Starts the clock, saves at its marks, and ends the training after the last."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            clock.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            control.should_training_stop = clock.look(state.global_step, save)

    def save(folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    trainer = GRPOTrainer(
        model=model, reward_funcs=reward(Countdown(**job.domain)), args=arguments(job, out),
        train_dataset=Dataset.from_list([{"prompt": f"{prompt}\n"} for prompt in job.prompts]),
        processing_class=tokenizer, callbacks=[Marks()],
    )
    trainer.train()
    return 0 if clock.over else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
