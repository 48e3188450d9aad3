"""Thoughts that end a chat model's whole text, from drawing to learning: their probability is found again exactly."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from policy.base import BadPolicy
from policy.layout import Writing
from selfplay.batches import LessonEncoder
from selfplay.lessons import NOTHING, Lesson, endings
from selfplay.objectives import ExpertIteration, Grpo, Objective, RejectionSampling
from selfplay.store import Store
from selfplay.trainee import Lora, Trainee
from selfplay.trajectory import Trajectory
from tests.policy.chatty import write_chatty
from tests.selfplay import chatting
from tests.selfplay.chatting import CPU, differences, gathered, learn, without
from verifiers.datasets.question_answers import QuestionAnswers

STEPS = ["line", "paragraph"]
Play = Callable[[str], list[Trajectory]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chatty(tmp_path_factory.mktemp("chatty") / "model", merges=False, seed=31)  # which likes ends


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> QuestionAnswers:
    return chatting.questions(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def play(model: Path, domain: QuestionAnswers, tmp_path_factory: pytest.TempPathFactory) -> Play:
    """As trajectories without the tokens that were drawn, which would tell the ends too."""
    folder = tmp_path_factory.mktemp("stores")
    return cache(lambda step: without("ids", chatting.play(
        model, domain, Writing(step=step), Store(str(folder / step)))))


@pytest.mark.parametrize("step", STEPS)
def test_lines_have_the_probability_they_were_stored_with(model: Path, play: Play, step: str) -> None:
    played = play(step)
    lines = [line for one in played for line in one.lines if not line.greedy]
    assert all(len(line.lasts) == len(line.thoughts) for line in lines)
    assert sum(line.lasts[-1:] == (True,) for line in lines) >= 5  # they end so
    assert sum(any(line.lasts[:-1]) for line in lines) >= 3  # and are asked on after such an end
    lessons = gathered(played, Grpo()).lessons
    found = differences(model, Writing(step=step), lessons)
    assert len(found) == sum(len(line.thoughts) for line in {(one.problem.id, line.thoughts, line.lasts): line
                             for one in played for line in one.lines if not line.greedy}.values())  # fmt: skip
    assert max(found) < 1e-3
    unlike = differences(model, Writing(step=step), gathered(without("lasts", played), Grpo()).lessons)
    assert sum(difference > 0.25 for difference in unlike) > len(unlike) / 3


@pytest.mark.parametrize("step", STEPS)
def test_moves_of_a_tree_have_the_probability_they_were_stored_with(model: Path, play: Play, step: str) -> None:
    moves = [(one.problem.prompt, example.thoughts, move) for one in play(step) for example in one.examples
             for move in example.moves if move.outcome != "dead"]
    assert sum(move.last for _, _, move in moves) >= 5
    found = differences(model, Writing(step=step), [
        Lesson(prompt, (*thoughts, move.text), (0.0,) * (len(thoughts) + 1), (NOTHING,) * (len(thoughts) + 2),
               logprobs=(*(None,) * len(thoughts), move.logprob), last=move.last) for prompt, thoughts, move in moves])
    assert len(found) == len(moves) and max(found) < 1e-3


@pytest.mark.parametrize("step", STEPS)
def test_a_policy_gradient_drops_none(model: Path, play: Play, tmp_path: Path, step: str) -> None:
    assert any(any(lesson.advantages) for lesson in gathered(play(step), Grpo()).lessons)
    learned = learn(model, Writing(step=step), play(step), tmp_path / "as stored")
    assert learned.unlike == 0.0 and learned.steps == 1 and learned.curve[0].objective != 0.0
    try:
        unlike = learn(model, Writing(step=step), without("lasts", play(step)), tmp_path / "other").unlike
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
