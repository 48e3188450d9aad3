"""Thoughts drawn in other subwords than their text has: the learner finds their probability, and learns from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from policy.base import Sampling
from policy.budget import Budget
from policy.layout import Writing
from policy.tools import Tooled
from policy.transformer import Transformer
from selfplay.batches import LessonEncoder, Stream, collate
from selfplay.lessons import NOTHING, Lesson
from selfplay.losses import Scores, logprobs
from selfplay.objectives import Grpo
from selfplay.rollouts import draw
from selfplay.store import Store
from selfplay.trainee import Lora, Trainee
from selfplay.trajectory import Line, Trajectory
from tests.policy.chatty import chat_tokenizer, write_chatty
from tests.selfplay import chatting
from tests.selfplay.chatting import CPU, differences, gathered, learn, without
from verifiers.base import Completion, State
from verifiers.datasets.question_answers import QuestionAnswers

WRITINGS = {
    "line": Writing(step="line"), "paragraph": Writing(step="paragraph"), "think": Writing(step="think"),
    "begun": Writing(step="think", template={"thinking": True}),
}
Play = Callable[[str], list[Trajectory]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chatty(tmp_path_factory.mktemp("chatty") / "model", seed=31)


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> QuestionAnswers:
    return chatting.questions(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def play(model: Path, domain: QuestionAnswers, tmp_path_factory: pytest.TempPathFactory) -> Play:
    folder = tmp_path_factory.mktemp("stores")
    return cache(lambda name: chatting.play(model, domain, WRITINGS[name], Store(str(folder / name))))


def distinct(played: Sequence[Trajectory]) -> list[Line]:
    """Independent lines, each once a problem if it was drawn in the same tokens."""
    return list({(one.problem.id, line.thoughts, line.lasts, line.ids): line
                 for one in played for line in one.lines if not line.greedy}.values())


@pytest.mark.parametrize("name", WRITINGS)
def test_the_ratio_is_one_where_nothing_was_learned_yet(model: Path, play: Play, name: str) -> None:
    lines, lessons = distinct(play(name)), gathered(play(name), Grpo()).lessons
    assert all(len(line.ids) == len(line.thoughts) and all(line.ids) for line in lines)
    found = differences(model, WRITINGS[name], lessons)
    assert len(found) == sum(len(line.thoughts) for line in lines) > 50
    assert max(map(math.exp, found)) < 1.0001
    unlike = differences(model, WRITINGS[name], gathered(without("ids", play(name)), Grpo()).lessons)
    assert sum(difference > 0.25 for difference in unlike) > len(unlike) / 5


@pytest.mark.parametrize("name", WRITINGS)
def test_a_policy_gradient_drops_none(model: Path, play: Play, tmp_path: Path, name: str) -> None:
    learned = learn(model, WRITINGS[name], play(name), tmp_path / "drawn")
    assert (learned.unlike, learned.left_out, learned.steps) == (0.0, 0, 1)
    assert learned.curve[0].objective != 0.0
    assert learn(model, WRITINGS[name], without("ids", play(name)), tmp_path / "read").unlike > 0.1


@pytest.mark.parametrize("name", WRITINGS)
def test_the_gradient_is_that_of_the_tokens_that_were_drawn(model: Path, play: Play, name: str) -> None:
    """Against each thought read alone, after the state that it was drawn in."""
    learner = Trainee(model, None, None, seed=0, device=CPU)
    layout = WRITINGS[name].on(learner.tokenizer, learner.ends)
    lessons = gathered(play(name)[:2], Grpo()).lessons
    stream = Stream(lessons, iter(()), LessonEncoder(learner.tokenizer, learner.context, layout), share=0.0,
                    batch_tokens=1 << 20, seed=0)
    batch = collate(stream.rows, stream.pad)
    batch = replace(batch, old=logprobs(learner.read(batch.tokens).logits, batch.tokens).detach())
    Grpo().loss(Scores(logprobs(learner.read(batch.tokens).logits, batch.tokens)), batch).backward()
    found = [parameter.grad.clone() for parameter in learner.parameters().values() if parameter.grad is not None]

    learner.model.zero_grad()
    total, weights = torch.zeros(()), 0.0
    for lesson in lessons:
        for number, ids in enumerate(lesson.ids):
            state = layout.encoded(layout.text(lesson.prompt, lesson.thoughts[:number]).text)
            tokens = torch.tensor([[*state, *ids]])
            gained = logprobs(learner.read(tokens).logits, tokens)[0, len(state) :]
            total = total - lesson.advantages[number] * gained.sum()
            weights += abs(lesson.advantages[number]) * len(ids)
    (total / weights).backward()
    expected = [parameter.grad for parameter in learner.parameters().values() if parameter.grad is not None]
    scale = max(float(gradient.abs().max()) for gradient in expected)
    assert scale > 0
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * scale)


def split(text: str) -> tuple[int, ...]:
    """A text in tokens of a character each."""
    return tuple(token for letter in text for token in chat_tokenizer()(letter, add_special_tokens=False)["input_ids"])


def lesson_of(*ids: tuple[int, ...], **more: object) -> Lesson:
    return Lesson("Add", ("1+2=3", "12+1=13"), (0.0, 0.0), ((0.5, 1.0), (0.25, 1.0), NOTHING), advantages=(2.0, -1.0),
                  logprobs=(-1.0, -2.0), ids=ids, **more)  # type: ignore[arg-type]


def encoder(room: int = 512) -> LessonEncoder:
    return LessonEncoder(chat_tokenizer(), room, Writing(step="paragraph").on(chat_tokenizer()))


def test_what_was_drawn_as_it_is_read_stands_in_the_line() -> None:
    [[read]] = encoder().rows(lesson_of())
    first, second = (tuple(read.tokens[where]) for where in read.thoughts())
    [[drawn]] = encoder().rows(lesson_of(first, second))
    assert drawn.tokens == read.tokens and drawn.logprobs == read.logprobs == (-1.0, -2.0)
    assert (drawn.advantages == read.advantages).all()


def test_what_was_drawn_otherwise_stands_alone_after_its_state() -> None:
    [[read]] = encoder().rows(lesson_of())
    start, second = slice(0, read.ends[1]), slice(read.ends[1], read.ends[2])
    ids = split("12+1=13\n\n")
    assert ids != tuple(read.tokens[second])
    [line], [alone] = encoder().rows(lesson_of((), ids))
    assert line.tokens == read.tokens and (line.targets == read.targets).all() and (line.trust == read.trust).all()
    assert (line.advantages[second] == 0).all() and (line.advantages[start] == read.advantages[start]).all()
    assert line.logprobs == (-1.0, None)
    assert alone.tokens == [*read.tokens[start], *ids] and alone.logprobs == (-2.0,)
    assert [*alone.thoughts()] == [slice(read.ends[1], len(alone.tokens))]
    assert (alone.advantages[read.ends[1] :] == -1.0).all() and not alone.advantages[start].any()
    assert not alone.trust.any() and not alone.imitation.any()


def test_the_end_of_the_text_needs_no_line_that_ends_there() -> None:
    ids = (*split("1+2=3"), chat_tokenizer().eos_token_id)
    line, [alone] = encoder().rows(lesson_of(ids, ()))
    assert alone.tokens[-1] == chat_tokenizer().eos_token_id and line[0].tokens[-1] != alone.tokens[-1]


def test_without_an_advantage_nothing_stands_alone() -> None:
    lesson = replace(lesson_of((), split("12+1=13\n\n")), advantages=(2.0, 0.0))
    [[line]] = encoder().rows(lesson)
    assert line.logprobs == (-1.0, None)


def test_a_line_weighs_the_same_however_it_was_drawn() -> None:
    ids = split("1+2=3\n\n"), split("12+1=13\n\n")
    rows = [row for [row] in encoder().rows(replace(lesson_of(*ids, per_line=True), advantages=(1.0, 1.0)))]
    assert len(rows) == 3
    assert sum(float(row.advantages.sum()) for row in rows) == pytest.approx(1.0)


def test_what_has_no_room_is_counted() -> None:
    lesson = lesson_of((), split("12+1=13\n\n"))
    [line], [alone] = encoder().rows(lesson)
    assert len(alone.tokens) > len(line.tokens)
    assert encoder(len(line.tokens)).rows(lesson) == []
    with pytest.raises(ValueError, match="nothing to learn"):
        Stream([lesson], iter(()), encoder(len(line.tokens)), share=0.0, batch_tokens=999, seed=0)


class Adding:
    """A tool that writes more behind each thought."""

    version, max_chars = "adding", 6

    async def complete(self, state: State, thought: str) -> Completion | None:
        return Completion(len(thought), " added")


async def test_what_a_tool_wrote_is_read_and_not_learned(model: Path, domain: QuestionAnswers) -> None:
    policy = Tooled(Transformer(str(model), threads=1, max_thought_tokens=24), Adding())
    problem = next(iter(domain.problems("train", 0))).sealed()
    try:
        line = await draw(policy, domain.judge(), problem, 3, 1, Sampling.INDEPENDENT, Budget(tokens=999).start())
    finally:
        policy.close()
    count = len(line.thoughts)
    assert count > 1 and all(thought.endswith(" added") for thought in line.thoughts)
    lesson = Lesson(problem.prompt, line.thoughts, (0.0,) * count, (NOTHING,) * (count + 1), advantages=(1.0,) * count,
                    logprobs=line.logprobs, ids=line.ids)
    found = differences(model, Writing(), [lesson])
    assert len(found) == count and max(found) < 1e-3
    assert max(differences(model, Writing(), [replace(lesson, ids=())])) > 0.25


def test_a_trainer_that_knows_no_tokens_goes_by_the_text(model: Path, play: Play) -> None:
    """As with trajectories of older versions, and of servers."""
    learner = Trainee(model, None, Lora(), seed=0, device=CPU)
    rows = LessonEncoder(learner.tokenizer, learner.context, WRITINGS["line"].on(learner.tokenizer, learner.ends))
    for lesson in gathered(without("ids", play("line")), Grpo()).lessons:
        [[row]] = rows.rows(lesson)
        assert row.logprobs == lesson.logprobs
