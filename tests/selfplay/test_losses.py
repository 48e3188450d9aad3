"""The terms of the loss, held against other ways to compute them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from policy.batches import Encoder
from policy.losses import likelihoods as likelihoods_of_pretraining
from policy.losses import losses as losses_of_pretraining
from policy.pretrain import new_model, new_value_head
from selfplay.batches import LessonEncoder, collate
from selfplay.lessons import Lesson
from selfplay.losses import Reading, Scores, divergence, entropy, likelihoods, logprobs, terms
from tests.selfplay.made import SHAPE, TOKENIZER

LINES = [("1 2 3 -> 6", ("1+2=3, 3 3", "3+3=6"), 1.0), ("4 5 -> 9", ("no",), 0.0)]
MODEL, HEAD = new_model(SHAPE, TOKENIZER, 0).eval(), new_value_head(SHAPE.hidden_size, 0)


def no_objective(scores: Scores, batch: object) -> torch.Tensor:
    return scores.logprobs.new_zeros(())


def read(tokens: torch.Tensor) -> Reading:
    hidden = MODEL.model(input_ids=tokens).last_hidden_state
    return Reading(hidden, MODEL.lm_head(hidden))


def test_imitation_and_values_are_those_of_pretraining() -> None:
    encoder, theirs = LessonEncoder(TOKENIZER, 64), Encoder(TOKENIZER)
    states = sum(len(thoughts) + 1 for _, thoughts, _ in LINES)
    tokens = sum(len(thought) + 1 for _, thoughts, _ in LINES for thought in thoughts)
    lessons = [Lesson(prompt, thoughts, (1 / tokens,) * len(thoughts), ((reward, 1 / states),) * (len(thoughts) + 1))
               for prompt, thoughts, reward in LINES]
    batch = collate([rows for lesson in lessons for rows in encoder.rows(lesson)], encoder.pad)
    plain = theirs.batch([theirs.rollout(*line) for line in LINES])
    labels = torch.where(batch.thoughts > 0, batch.tokens, -100)
    with torch.no_grad():
        reading = read(batch.tokens)
        found = terms(reading, HEAD, batch, no_objective)
        assert torch.equal(plain.tokens, batch.tokens)
        imitation, _ = losses_of_pretraining(MODEL, HEAD, type(plain)(plain.tokens, labels, plain.values))
        _, value = losses_of_pretraining(MODEL, HEAD, plain)
        line = likelihoods(logprobs(reading.logits, batch.tokens), batch)
        expected = likelihoods_of_pretraining(MODEL, reading.hidden, plain)
    torch.testing.assert_close(found.imitation, imitation)
    torch.testing.assert_close(found.value, value)
    torch.testing.assert_close(line[batch.trust > 0], expected[batch.trust > 0])
    assert found.objective == found.anchor == 0


def test_the_anchor_is_the_exact_divergence() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(2, 5, 7), torch.randn(2, 5, 7)
    each = functional.kl_div(theirs.log_softmax(-1), ours.log_softmax(-1), log_target=True, reduction="none")
    expected = each.sum(-1)
    found = divergence(ours, theirs)
    torch.testing.assert_close(found[:, 1:], expected[:, :-1])  # of the distribution that a token was drawn from
    assert (found[:, 0] == 0).all() and (divergence(ours, ours) == 0).all()
    torch.testing.assert_close(entropy(ours)[:, 1:], torch.distributions.Categorical(logits=ours[:, :-1]).entropy())


def test_terms_are_computed_only_where_they_are_asked_for() -> None:
    encoder = LessonEncoder(TOKENIZER, 64)
    batch = collate(encoder.rows(Lesson("p", ("a",), (1.0,), ((0.5, 0.0), (0.5, 0.0)))), encoder.pad)
    with torch.no_grad():
        reading = read(batch.tokens)
        seen: list[Scores] = []
        found = terms(reading, HEAD, batch, lambda scores, _: seen.append(scores) or scores.logprobs.sum(),  # type: ignore[func-returns-value]
                      reference=reading.logits, anchor=reading.logits + torch.randn_like(reading.logits))
    assert found.value == 0 and found.anchor > 0
    assert seen[0].reference is not None
    assert found.objective.item() == pytest.approx(seen[0].reference.sum().item())


@pytest.mark.parametrize("shared", [True, False])
def test_a_head_of_its_own_leaves_the_policy_alone(shared: bool) -> None:
    encoder = LessonEncoder(TOKENIZER, 64)
    batch = collate(encoder.rows(Lesson("p", ("a",), (1.0,), ((1.0, 0.5), (0.0, 0.5)))), encoder.pad)
    hidden = torch.randn(*batch.tokens.shape, SHAPE.hidden_size, requires_grad=True)
    head = new_value_head(SHAPE.hidden_size, 0)
    found = terms(Reading(hidden, MODEL.lm_head(hidden)), head, batch, no_objective, shared=shared)
    found.value.backward()  # type: ignore[no-untyped-call]
    assert (hidden.grad is not None and bool(hidden.grad.any())) is shared
    assert all(bool(parameter.grad.any()) for parameter in head.parameters() if parameter.grad is not None)
    assert any(parameter.grad is not None for parameter in head.parameters())
