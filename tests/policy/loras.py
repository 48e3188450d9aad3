"""Adapters that matter, and what policies that wear them say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from policy.base import Policy, Sampling, Thought
from policy.budget import Budget
from policy.value_head import ValueHead
from verifiers.base import Problem, State

PROBLEM = Problem("12+a", "toy", "12+a", {})


def lora(
    base: Path, target: Path, seed: int, head: bool = False, options: Mapping[str, Any] | None = None, **engine: object
) -> Path:
    """An adapter with a value head of its own or not, with options of PEFT's, and what the engine says of it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(**{"r": 2, "target_modules": ["q_proj", "down_proj"], **(options or {})})
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    model.save_pretrained(target)
    if head:
        ValueHead(16).save(target)
    if engine:
        (target / "engine.json").write_text(json.dumps(engine))
    return target


async def said(policy: Policy, seed: int = 5, problem: Problem = PROBLEM) -> Sequence[Thought]:
    """What a policy says of two states in every way of sampling."""
    meter = Budget(seconds=600).start()
    calls = [
        policy.propose(State(problem, line), 3, sampling=sampling, seed=seed, meter=meter)
        for line in ((), ("1=1",)) for sampling in Sampling
    ]  # fmt: skip
    return [thought for thoughts in await asyncio.gather(*calls) for thought in thoughts]
