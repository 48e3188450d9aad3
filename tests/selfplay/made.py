"""Trajectories made by hand, and a tiny base policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from policy.charset import character_tokenizer
from policy.pretrain import Shape, new_model, new_value_head, save_policy
from selfplay.trajectory import Example, Job, Line, Move, Purpose, Trajectory
from verifiers.base import Problem, Verdict, content_id, correct, wrong

SHAPE = Shape(hidden_size=32, layers=2, heads=2, intermediate_size=64, max_length=128)
TOKENIZER = character_tokenizer()


def problem(prompt: str = "1 2 3 -> 6") -> Problem:
    return Problem(content_id(prompt), "countdown", prompt, {})


def move(text: str, q: float, prior: float = 0.5, outcome: str = "open", visits: int = 1, **rest: Any) -> Move:
    return Move(text, rest.get("logprob", -1.0), prior, visits, rest.get("value", 0.5), q, outcome)


def example(*moves: Move, thoughts: tuple[str, ...] = (), value: float | None = 0.5) -> Example:
    return Example(thoughts, moves, sum(each.visits for each in moves), value, max(each.q for each in moves))


def line(*thoughts: str, reward: float = 1.0, **rest: Any) -> Line:
    logprobs = rest.get("logprobs", (-1.0,) * len(thoughts))
    return Line(thoughts, logprobs, reward, rest.get("status", "correct" if reward == 1 else "wrong"),
                rest.get("greedy", False))


def trajectory(
    examples: tuple[Example, ...] = (), lines: tuple[Line, ...] = (), *, prompt: str = "1 2 3 -> 6",
    generation: int = 0, sample: int = 0, purpose: Purpose = Purpose.TRAIN, verdict: Verdict | None = None,
) -> Trajectory:  # fmt: skip
    job = Job("run", purpose, generation, problem(prompt), sample, 0)
    solved = any(each.status == "correct" for each in lines)
    return Trajectory(
        job.episode_id, generation, sample, purpose, job.problem, "version", job.search_seed, examples, lines,
        answer=None, answer_thoughts=(), verified=False, verdict=verdict or (correct() if solved else wrong("no")),
        temperature=1.0, tokens=100, simulations=10, seconds=0.1, line_tokens=50,
    )  # fmt: skip


def base_policy(folder: Path, seed: int = 0) -> Path:
    """A tiny Llama with random weights, far from uniform, and a value head."""
    model = new_model(SHAPE, TOKENIZER, seed)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(10.0)
    save_policy(model, new_value_head(SHAPE.hidden_size, seed), TOKENIZER, folder)
    return folder
