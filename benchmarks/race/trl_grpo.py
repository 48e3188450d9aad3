"""The arm that is TRL's GRPOTrainer, on a CPU, with LoRA and the exact reward of this project.

Runs in an environment of its own with `trl` and `datasets` beside this project's dependencies. Options: out=DIR seed=N
lr=RATE [group=completions a prompt] [batch=completions a step] [iterations=updates a batch] [every=seconds].
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from commands.compose import load_domain
from verifiers.base import State

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 96  # tokens of a completion: three thoughts of Game of 24 and their ends take at most 80


def main(words: list[str]) -> None:
    from datasets import Dataset  # type: ignore[import-not-found]
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer  # type: ignore[import-not-found]

    said = dict(word.split("=", 1) for word in words)
    out, seed, every = Path(said["out"]), int(said["seed"]), float(said.get("every", 15))
    group, batch = int(said.get("group", 8)), int(said.get("batch", 64))
    torch.set_num_threads(1)
    config: Any = OmegaConf.load(ROOT / "conf" / "domain" / "game24.yaml")
    domain = load_domain(config)
    judge, runner = domain.judge(), asyncio.Runner()
    problems = {f"{problem.prompt}\n": problem for problem in islice(domain.problems("train", seed), 100_000)}

    def reward(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float]:
        return [_reward(prompt, text) for prompt, text in zip(prompts, completions, strict=True)]

    def _reward(prompt: str, text: str) -> float:
        problem = problems[prompt]
        state = State(problem.sealed())
        for thought in text.split("\n"):
            state = state.then(thought, False)
            answer = runner.run(judge.answer(state))
            if answer is not None:
                return float(domain.check(problem, answer).ok)
        return 0.0

    class Keep(TrainerCallback):
        saved = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if time.monotonic() - self.saved >= every:
                part = out / f".step-{state.global_step}"
                model.save_pretrained(part)
                part.rename(out / f"step-{state.global_step}")
                self.saved = time.monotonic()

    base = ROOT / "policy" / "shipped"
    tokenizer = AutoTokenizer.from_pretrained(base)
    options = GRPOConfig(
        output_dir=str(out / "trl"), use_cpu=True, bf16=False, gradient_checkpointing=False, seed=seed,
        learning_rate=float(said["lr"]), lr_scheduler_type="constant", num_generations=group,
        per_device_train_batch_size=batch, num_iterations=int(said.get("iterations", 1)), max_completion_length=LONGEST,
        temperature=1.0, beta=0.0, max_steps=10**6, save_strategy="no", logging_steps=20, report_to=[],
        dataloader_num_workers=0, disable_tqdm=True,
    )
    out.mkdir(parents=True, exist_ok=True)
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(base), reward_funcs=reward, args=options,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in problems]), processing_class=tokenizer,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[Keep()],
    )
    (out / "config.json").write_text(json.dumps(said))
    trainer.train()


if __name__ == "__main__":
    main(sys.argv[1:])
