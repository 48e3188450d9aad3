"""Lessons to tokens: where weights and targets land, how they are scaled, and that a step's batch never changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from policy.batches import COLUMNS, ROWS
from selfplay.batches import LessonEncoder, Stream, collate
from selfplay.lessons import NOTHING, Lesson
from selfplay.losses import Scores
from selfplay.objectives import Grpo
from selfplay.replay import demonstrations
from tests.policy.conftest import small_tokenizer
from tests.selfplay.made import TOKENIZER, line, trajectory
from verifiers.domains.countdown import Countdown

DOMAIN = Countdown("countdown", [3], 1, 9, 5, 30)
ENCODER = LessonEncoder(TOKENIZER, 64)
LESSON = Lesson("1 2 -> 3", ("1+1", "2+1=3"), (0.5, 2.0), ((0.25, 1.0), NOTHING, (1.0, 3.0)), advantages=(0.0, -1.0))
PAIR = Lesson("1 2 -> 3", ("a", "good"), (0.0, 0.0), (NOTHING,) * 3, advantages=(0.0, 2.0), instead="bad one")


def shown(chosen: np.ndarray, tokens: list[int]) -> str:
    return TOKENIZER.decode([token for token, is_chosen in zip(tokens, chosen, strict=True) if is_chosen])


def lines(count: int) -> list[Lesson]:
    return [Lesson("1 2 -> 3", ("+" * (1 + number % 7),), (1.0,), ((0.5, 1.0), NOTHING)) for number in range(count)]


def stream(lessons: list[Lesson], share: float = 0.0, seed: int = 0, batch_tokens: int = 256) -> Stream:
    return Stream(lessons, demonstrations([DOMAIN], 0), ENCODER, share=share, batch_tokens=batch_tokens, seed=seed)


def test_weights_are_of_thoughts_and_targets_of_states() -> None:
    [[row]] = ENCODER.rows(LESSON)
    assert TOKENIZER.decode(row.tokens) == "<bos>1 2 -> 3\n1+1\n2+1=3\n"
    assert shown(row.imitation == 0.5, row.tokens) == "1+1\n" and shown(row.imitation == 2.0, row.tokens) == "2+1=3\n"
    assert shown(row.advantages == -1.0, row.tokens) == "2+1=3\n" and not (row.advantages > 0).any()
    assert np.flatnonzero(row.trust).tolist() == [row.ends[0] - 1, row.ends[2] - 1]
    assert row.targets[row.trust > 0].tolist() == [0.25, 1.0] and row.trust[row.trust > 0].tolist() == [1.0, 3.0]
    assert [TOKENIZER.decode(row.tokens[thought]) for thought in row.thoughts()] == ["1+1\n", "2+1=3\n"]


def test_a_demonstration_is_encoded_as_in_stage_one() -> None:
    lesson = next(demonstrations([DOMAIN], 0))
    [[row]] = ENCODER.rows(lesson)
    assert row.tokens[-1] == TOKENIZER.eos_token_id
    text = "".join(f"{thought}\n" for thought in lesson.thoughts)
    assert shown(row.imitation == 1.0, row.tokens) == f"{text}<eos>"


def test_a_pair_differs_in_its_last_thought_and_in_sign() -> None:
    [(good, bad)] = ENCODER.rows(PAIR)
    assert shown(good.advantages == 2.0, good.tokens) == "good\n"
    assert shown(bad.advantages == -2.0, bad.tokens) == "bad one\n"
    assert good.ends[:2] == bad.ends[:2]


def test_what_does_not_fit_the_context_is_counted() -> None:
    long = Lesson("1 2 -> 3", ("+" * 99,), (1.0,), (NOTHING, NOTHING))
    assert ENCODER.rows(long) == []
    assert stream([long, LESSON]).left_out == 1
    with pytest.raises(ValueError, match="nothing to learn"):
        stream([long])


def test_other_tokenizers_do() -> None:
    encoder = LessonEncoder(small_tokenizer(), 64)  # it has no token to fill up with
    [[row]] = encoder.rows(Lesson("1+2", ("=1", "a"), (1.0, 1.0), (NOTHING,) * 3))
    assert len(row.tokens) == 1 + 4 + 3 + 2 and row.ends == [5, 8, 10]


def test_batches_have_few_shapes_and_pairs_stand_in_even_rows() -> None:
    batch = collate([*ENCODER.rows(LESSON), *ENCODER.rows(PAIR)], ENCODER.pad)
    assert batch.tokens.shape == (ROWS, 3 * COLUMNS)
    assert batch.advantages[0].max() == 2.0 and batch.advantages[1].min() == -2.0 and batch.advantages[2].min() == -1.0
    assert batch.thoughts.sum().item() == pytest.approx(1.0)
    assert (batch.tokens[3] == ENCODER.pad).all() and not batch.thoughts[3].any()


def test_parts_are_a_batch_in_pieces() -> None:
    one = stream(lines(30), batch_tokens=512)
    batch = max((one(step) for step in range(one.per_epoch)), key=lambda batch: len(batch.tokens))
    assert len(batch.tokens) > 2 * ROWS and len(batch.tokens) % ROWS == 0
    for count in (1, 2, 3, 99):
        parts = [part for number in range(count) if (part := batch.part(number, count)) is not None]
        assert torch.equal(torch.cat([part.tokens for part in parts]), batch.tokens)
        assert all(len(part.tokens) % ROWS == 0 for part in parts)


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    one, other = stream(lines(80), 0.2), stream(lines(80), 0.2)
    assert one.per_epoch > 3
    for step in (one.per_epoch + 2, 0, 3):  # entered anywhere, in any order
        assert torch.equal(one(step).tokens, other(step).tokens)
    epochs = [torch.cat([one(epoch * one.per_epoch + step).tokens.flatten() for step in range(one.per_epoch)])
              for epoch in (0, 1)]
    assert not torch.equal(*epochs) and torch.equal(*(epoch.sort().values for epoch in epochs))
    assert all(one(step).tokens.numel() <= 256 for step in range(one.per_epoch))


def test_every_lesson_stands_once_an_epoch_and_weights_are_means() -> None:
    one = stream([*lines(50), PAIR, LESSON], share=0.25)
    batches = [one(step) for step in range(one.per_epoch)]
    share = sum(batch.imitation.sum().item() for batch in batches) / one.per_epoch
    assert share == pytest.approx(1 + 0.25 / 0.75, rel=1e-4)  # the lessons, and the demonstrations beside them
    assert sum(batch.trust.sum().item() for batch in batches) / one.per_epoch == pytest.approx(1.0, rel=1e-4)
    lessons = sum(len(row.tokens) for rows in one.rows for row in rows)
    assert one.tokens == sum(int((batch.tokens != one.pad).sum()) for batch in batches)
    assert 1 - lessons / one.tokens == pytest.approx(0.25, abs=0.03)


def test_a_pair_weighs_as_its_better_thought_does() -> None:
    one = stream([PAIR, PAIR], batch_tokens=64)
    assert one.per_epoch == 2 and one(0).advantages.max() == 1.0 and one(0).advantages.min() == -1.0


@pytest.mark.parametrize("batch_tokens", [192, 4096])
def test_lines_may_weigh_alike_whatever_their_lengths_and_batches(batch_tokens: int) -> None:
    played = trajectory(lines=(line("+"), line("+" * 40, reward=0.0)))

    def losses(per_line: bool) -> list[float]:
        objective = Grpo(per_line=per_line)
        one = stream(objective.teach([played], 0), batch_tokens=batch_tokens)
        batches = [one(step) for step in range(one.per_epoch)]
        assert len(batches) == (2 if batch_tokens == 192 else 1)
        found = [float(objective.loss(Scores(torch.zeros_like(batch.old)), batch)) for batch in batches]
        assert sum(float(batch.advantages.abs().sum()) for batch in batches) == pytest.approx(one.per_epoch)
        return found

    assert sum(losses(per_line=True)) == pytest.approx(0.0, abs=1e-6)  # a right line, and a wrong one
    assert abs(sum(losses(per_line=False))) > 0.5


def test_nobody_asks_for_demonstrations_that_are_not_wanted() -> None:
    def none() -> Iterator[Lesson]:
        raise AssertionError("asked for")
        yield

    assert Stream(lines(3), none(), ENCODER, share=0.0, batch_tokens=256, seed=0).tokens == sum(
        len(ENCODER.rows(lesson)[0][0].tokens) for lesson in lines(3))
