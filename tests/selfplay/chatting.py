"""Self-play of tiny chat models on questions, and the probabilities that a learner finds in what it left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from policy.budget import Budget
from policy.layout import Writing
from policy.transformer import Transformer
from search.mcts import MCTS
from selfplay.batches import LessonEncoder
from selfplay.learner import Learner
from selfplay.lessons import Lesson
from selfplay.losses import logprobs
from selfplay.objectives import Grpo, Objective
from selfplay.player import Player
from selfplay.replay import Gathered, Replay
from selfplay.store import Store
from selfplay.trainee import Lora, Trainee
from selfplay.training import Learned, Training
from selfplay.trajectory import Job, Line, Purpose, Trajectory
from verifiers.datasets.question_answers import QuestionAnswers

CPU = torch.device("cpu")
TRAINING = Training(lora=Lora(rank=4), max_steps=1, batch_tokens=2048, bf16=False)


def questions(folder: Path) -> QuestionAnswers:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"question": f"What is {n} + {n % 3 + 1} - {n}?", "answer": f"{n % 3 + 1}"})
                            + "\n" for n in range(30)))
    return QuestionAnswers("gsm8k", str(path))


def play(model: Path, domain: QuestionAnswers, writing: Writing, store: Store) -> list[Trajectory]:
    """Six searches with eight lines each, out of a store."""
    policy = Transformer(str(model), threads=1, max_thought_tokens=24, step=writing.step, template=writing.template)
    player = Player({"gsm8k": domain}, policy, MCTS(), Budget(tokens=400), lines=8)
    jobs = [Job("run", Purpose.TRAIN, 1, problem, 0, 5) for problem in islice(domain.problems("train", 0), 6)]
    try:
        store.append(1, asyncio.run(_all(player, jobs)))
    finally:
        policy.close()
    return graded([one for one in store.trajectories(1) if not one.failed])


async def _all(player: Player, jobs: Sequence[Job]) -> list[Trajectory]:
    return [played async for played in player.play(jobs)]


def graded(played: Sequence[Trajectory]) -> list[Trajectory]:
    """As if every other line were right; a random model's hardly ever are."""
    def better(number: int, line: Line) -> Line:
        return replace(line, reward=1.0, status="correct") if number % 2 and line.thoughts else line

    return [replace(one, lines=tuple(map(better, range(99), one.lines))) for one in played]


def without(field: str, played: Sequence[Trajectory]) -> list[Trajectory]:
    """The same as an older version of the store had them."""
    return [replace(one, lines=tuple(replace(line, **{field: ()}) for line in one.lines)) for one in played]


def gathered(played: Sequence[Trajectory], objective: Objective) -> Gathered:
    return Replay(demonstrations=0.0, held_out=0).gather(played, objective, [], 0)


def differences(model: Path, writing: Writing, lessons: Sequence[Lesson]) -> list[float]:
    """Of the stored log-probability [nats] of each thought and the one that the learner computes."""
    learner = Trainee(model, None, Lora(), seed=0, device=CPU)
    learner.train(False)
    encoder = LessonEncoder(learner.tokenizer, learner.context, writing.on(learner.tokenizer, learner.ends))
    found = []
    for row in (row for lesson in lessons for [row] in encoder.rows(lesson)):
        tokens = torch.tensor([row.tokens])
        with torch.no_grad():
            computed = logprobs(learner.read(tokens).logits, tokens)[0]
        found += [abs(float(computed[where].sum()) - stored)
                  for where, stored in zip(row.thoughts(), row.logprobs, strict=True) if stored is not None]
    return found


def learn(model: Path, writing: Writing, played: Sequence[Trajectory], folder: Path) -> Learned:
    """One step of a policy gradient."""
    learner = Learner(model, Grpo(), TRAINING, CPU, writing)
    return learner.learn(gathered(played, Grpo()), folder / "out", folder / "work",
                         champion=None, seed=1, about={"generation": 1, "base_version": "b"})
