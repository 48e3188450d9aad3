"""Thoughts that end a chat model's whole text, from drawing to learning: their probability is found again exactly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from policy.base import BadPolicy
from policy.budget import Budget
from policy.layout import Writing
from policy.transformer import Transformer
from search.mcts import MCTS
from selfplay.batches import LessonEncoder
from selfplay.learner import Learner
from selfplay.lessons import NOTHING, Lesson, endings
from selfplay.losses import logprobs
from selfplay.objectives import ExpertIteration, Grpo, Objective, RejectionSampling
from selfplay.player import Player
from selfplay.replay import Gathered, Replay
from selfplay.store import Store
from selfplay.trainee import Lora, Trainee
from selfplay.training import Learned, Training
from selfplay.trajectory import Job, Line, Purpose, Trajectory
from tests.policy.chatty import write_chatty
from verifiers.datasets.question_answers import QuestionAnswers

CPU = torch.device("cpu")
TRAINING = Training(lora=Lora(rank=4), max_steps=1, batch_tokens=2048, bf16=False)
STEPS = ["line", "paragraph"]
Play = Callable[[str], list[Trajectory]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chatty(tmp_path_factory.mktemp("chatty") / "model", merges=False, seed=31)  # which likes ends


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> QuestionAnswers:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps({"question": f"What is {n} + {n % 3 + 1} - {n}?", "answer": f"{n % 3 + 1}"})
                            + "\n" for n in range(30)))
    return QuestionAnswers("gsm8k", str(path))


@pytest.fixture(scope="module")
def play(model: Path, domain: QuestionAnswers, tmp_path_factory: pytest.TempPathFactory) -> Play:
    made: dict[str, list[Trajectory]] = {}

    def of(step: str) -> list[Trajectory]:
        """Six searches with eight lines each, out of a store."""
        if step not in made:
            policy = Transformer(str(model), threads=1, max_thought_tokens=24, step=step)
            player = Player({"gsm8k": domain}, policy, MCTS(), Budget(tokens=400), lines=8)
            jobs = [Job("run", Purpose.TRAIN, 1, problem, 0, 5) for problem in islice(domain.problems("train", 0), 6)]
            store = Store(str(tmp_path_factory.mktemp("store") / step))
            try:
                store.append(1, asyncio.run(_all(player, jobs)))
            finally:
                policy.close()
            made[step] = graded([one for one in store.trajectories(1) if not one.failed])
        return made[step]

    return of


async def _all(player: Player, jobs: Sequence[Job]) -> list[Trajectory]:
    return [played async for played in player.play(jobs)]


def forgetting(played: Sequence[Trajectory]) -> list[Trajectory]:
    """The same as version 1 of the store had them."""
    return [replace(one, lines=tuple(replace(line, lasts=()) for line in one.lines)) for one in played]


def graded(played: Sequence[Trajectory]) -> list[Trajectory]:
    """As if every other line were right; a random model's hardly ever are."""
    def better(number: int, line: Line) -> Line:
        return replace(line, reward=1.0, status="correct") if number % 2 and line.thoughts else line

    return [replace(one, lines=tuple(map(better, range(99), one.lines))) for one in played]


def gathered(played: Sequence[Trajectory], objective: Objective) -> Gathered:
    return Replay(demonstrations=0.0, held_out=0).gather(played, objective, [], 0)


def differences(model: Path, step: str, lessons: Sequence[Lesson]) -> list[float]:
    """Of the stored log-probability [nats] of each thought and the one that the learner computes."""
    learner = Trainee(model, None, Lora(), seed=0, device=CPU)
    learner.train(False)
    encoder = LessonEncoder(learner.tokenizer, learner.context, Writing(step=step).on(learner.tokenizer, learner.ends))
    found = []
    for lesson in lessons:
        [[row]] = encoder.rows(lesson)
        tokens = torch.tensor([row.tokens])
        with torch.no_grad():
            computed = logprobs(learner.read(tokens).logits, tokens)[0]
        found += [abs(float(computed[where].sum()) - stored)
                  for where, stored in zip(row.thoughts(), row.logprobs, strict=True) if stored is not None]
    return found


@pytest.mark.parametrize("step", STEPS)
def test_lines_have_the_probability_they_were_stored_with(model: Path, play: Play, step: str) -> None:
    played = play(step)
    lines = [line for one in played for line in one.lines if not line.greedy]
    assert all(len(line.lasts) == len(line.thoughts) for line in lines)
    assert sum(line.lasts[-1:] == (True,) for line in lines) >= 5  # they end so
    assert sum(any(line.lasts[:-1]) for line in lines) >= 3  # and are asked on after such an end
    lessons = gathered(played, Grpo()).lessons
    found = differences(model, step, lessons)
    assert len(found) == sum(len(line.thoughts) for line in {(one.problem.id, line.thoughts, line.lasts): line
                             for one in played for line in one.lines if not line.greedy}.values())  # fmt: skip
    assert max(found) < 1e-3
    unlike = differences(model, step, gathered(forgetting(played), Grpo()).lessons)
    assert sum(difference > 0.25 for difference in unlike) > len(unlike) / 3


@pytest.mark.parametrize("step", STEPS)
def test_moves_of_a_tree_have_the_probability_they_were_stored_with(model: Path, play: Play, step: str) -> None:
    moves = [(one.problem.prompt, example.thoughts, move) for one in play(step) for example in one.examples
             for move in example.moves if move.outcome != "dead"]
    assert sum(move.last for _, _, move in moves) >= 5
    found = differences(model, step, [
        Lesson(prompt, (*thoughts, move.text), (0.0,) * (len(thoughts) + 1), (NOTHING,) * (len(thoughts) + 2),
               logprobs=(*(None,) * len(thoughts), move.logprob), last=move.last) for prompt, thoughts, move in moves])
    assert len(found) == len(moves) and max(found) < 1e-3


@pytest.mark.parametrize("step", STEPS)
def test_a_policy_gradient_drops_none(model: Path, play: Play, tmp_path: Path, step: str) -> None:
    def learn(played: Sequence[Trajectory], name: str) -> Learned:
        learner = Learner(model, Grpo(), TRAINING, CPU, Writing(step=step))
        return learner.learn(gathered(played, Grpo()), tmp_path / name / "out", tmp_path / name / "work",
                             champion=None, seed=1, about={"generation": 1, "base_version": "b"})

    assert any(any(lesson.advantages) for lesson in gathered(play(step), Grpo()).lessons)
    learned = learn(play(step), "as stored")
    assert learned.unlike == 0.0 and learned.steps == 1 and learned.curve[0].objective != 0.0
    try:
        unlike = learn(forgetting(play(step)), "other").unlike
    except BadPolicy as error:  # where it is more than half of them
        assert "do not have the probability that was stored" in str(error)
        unlike = 1.0
    assert unlike > 0.2


@pytest.mark.parametrize("objective", [ExpertIteration(least=0.0), RejectionSampling()], ids=lambda each: each.name)
def test_what_is_imitated_ends_as_it_was_drawn(model: Path, play: Play, objective: Objective) -> None:
    played = play("paragraph")
    ended = {(one.problem.prompt, path): share for one in played for path, share in endings([one]).items()}
    learner = Trainee(model, None, Lora(), seed=0, device=CPU)
    encoder = LessonEncoder(learner.tokenizer, learner.context, Writing(step="paragraph").on(learner.tokenizer))
    imitated = [lesson for lesson in gathered(played, objective).lessons if any(lesson.imitation)]
    assert any(lesson.last for lesson in imitated) and all(lesson.imitation[-1] for lesson in imitated if lesson.last)
    for lesson in imitated:
        [[row]] = encoder.rows(lesson)
        assert (row.tokens[-1] == learner.tokenizer.eos_token_id) == lesson.last
        shares = [ended.get((lesson.prompt, lesson.thoughts[: count + 1]), 0.0) for count in range(len(row.ends) - 1)]
        assert shares[-1] > 0 if lesson.last else all(s < 1 for s, w in zip(shares, lesson.imitation, strict=True) if w)
