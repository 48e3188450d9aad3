"""Objectives: what they teach, and the losses of those that have one of their own."""

from __future__ import annotations

import math

import pytest
import torch

from selfplay.lessons import prefixes
from selfplay.losses import Batch, Scores
from selfplay.objectives import Dpo, ExpertIteration, Grpo, Objective, RejectionSampling, completed
from tests.selfplay.made import example, line, move, trajectory

GOOD, BAD = move("good", 1.0, prior=0.2), move("bad", 0.0, prior=0.7)


def weights(objective: Objective, *played) -> dict[tuple[str, ...], float]:  # type: ignore[no-untyped-def]
    found: dict[tuple[str, ...], float] = {}
    for lesson in objective.teach(played, max(t.generation for t in played)):
        for path, weight in zip(prefixes(lesson.thoughts)[1:], lesson.imitation, strict=True):
            if weight:
                found[path] = found.get(path, 0.0) + weight
    return found


def targets(objective: Objective, *played) -> dict[tuple[str, ...], tuple[float, float]]:  # type: ignore[no-untyped-def]
    return {path: target for lesson in objective.teach(played, 0)
            for path, target in zip(prefixes(lesson.thoughts), lesson.targets, strict=True) if target[1]}


def test_the_improved_policy_is_the_prior_reweighted_by_what_the_search_found() -> None:
    one = example(GOOD, BAD, move("open", 0.5, prior=0.1))
    shares = ExpertIteration(temperature=0.5).improved(one)
    raw = [0.2 * math.exp(2), 0.7, 0.1 * math.exp(1)]
    assert shares == pytest.approx([each / sum(raw) for each in raw])
    sharp = ExpertIteration(temperature=1e-3).improved(one)
    assert sharp[0] == pytest.approx(1.0)
    assert ExpertIteration(temperature=1e6).improved(one) == pytest.approx([0.2, 0.7, 0.1], abs=1e-3)


def test_what_certainly_failed_has_no_share_however_likely_it_was() -> None:
    one = example(GOOD, *(move(name, 0.0, prior=0.26, outcome=name) for name in ("dead", "wrong", "refuted")))
    assert ExpertIteration(temperature=100.0).improved(one) == [1.0, 0.0, 0.0, 0.0]
    assert ExpertIteration(visits=True).improved(one) == [1.0, 0.0, 0.0, 0.0]
    assert ExpertIteration().improved(example(move("dead", 0.0, outcome="dead"))) == [0.0]


def test_visits_are_an_alternative_target() -> None:
    one = example(move("a", 1.0, visits=6), move("b", 0.3, visits=2))
    assert ExpertIteration(visits=True).improved(one) == [0.75, 0.25]


def test_what_was_never_tried_is_completed_from_its_siblings() -> None:
    tried, untried = move("a", 0.8, prior=0.6, visits=3), move("b", 0.5, prior=0.4, visits=0, value=None)
    assert completed(example(tried, untried, value=0.4)) == [0.8, pytest.approx((0.4 + 3 * 0.8) / 4)]
    assert completed(example(tried, untried, value=None)) == [0.8, pytest.approx(0.8)]
    assert completed(example(tried, move("b", 0.3, visits=0))) == [0.8, 0.3]  # the value head has spoken


def test_expert_iteration_learns_where_the_search_succeeded_and_nowhere_else() -> None:
    tree = (example(GOOD, BAD), example(move("never", 0.0), thoughts=("bad",)),
            example(move("end", 1.0, prior=1.0, outcome="correct"), thoughts=("good",)))
    found = weights(ExpertIteration(), trajectory(tree))
    assert set(found) == {("good",), ("good", "end")}  # the share of `bad` is not worth a sequence
    assert found["good", "end"] == 1.0
    again = weights(ExpertIteration(temperature=1.0), trajectory(tree), trajectory(tree[:1], sample=1))
    assert sum(found for path, found in again.items() if len(path) == 1) == pytest.approx(1.0)  # a state counts once


def test_the_tree_is_believed_where_it_is_certain_and_is_read_anyway() -> None:
    tree = (example(GOOD, BAD, move("open", 0.5)), example(move("end", 1.0, outcome="correct"), thoughts=("good",)))
    played = trajectory(tree, (line("good", "slip", reward=0.0),))
    found = targets(ExpertIteration(tree_trust=0.25), played)
    assert found[()] == (0.0, 1.0) and found["good", "slip"] == (0.0, 1.0)
    assert found["good",] == (pytest.approx(0.2), 1.25)  # a line that failed, and a tree that did not
    assert found["good", "end"] == (1.0, 0.25)
    assert ("bad",) not in found and ("open",) not in found
    assert targets(ExpertIteration(tree_trust=0.0), played).keys() == {(), ("good",), ("good", "slip")}


def test_rejection_sampling_gives_every_problem_one_line_of_weight() -> None:
    played = trajectory(lines=(line("a", "b"), line("a", "b"), line("a", "c"), line("x", reward=0.0)))
    assert weights(RejectionSampling(), played) == {("a",): 1.0, ("a", "b"): 0.5, ("a", "c"): 0.5}
    assert len(weights(RejectionSampling(most=1), played)) == 2
    assert weights(RejectionSampling(), trajectory(lines=(line("x", reward=0.0),))) == {}


def test_advantages_are_against_the_groups_mean() -> None:
    lines = (line("a"), line("b", reward=0.0), line("b", reward=0.0), line("c", reward=0.0))
    error, greedy = line("e", status="error"), line("a", greedy=True)
    lessons = Grpo().teach([trajectory(lines=(*lines, error, greedy))], 0)
    assert {lesson.thoughts: lesson.advantages for lesson in lessons} == {
        ("a",): (0.75 / 4,), ("b",): (2 * -0.25 / 4,), ("c",): (-0.25 / 4,)}
    assert [lesson.targets[0] for lesson in lessons] == [(1.0, 1.0), (0.0, 2.0), (0.0, 1.0)]
    scaled = Grpo(deviation=True).teach([trajectory(lines=lines)], 0)
    assert scaled[0].advantages[0] == pytest.approx(0.75 / 4 / (3**0.5 / 4), rel=1e-3)
    alike = Grpo().teach([trajectory(lines=(line("a"), line("b")))], 0)
    assert not any(any(lesson.advantages) for lesson in alike)
    assert Grpo().teach([trajectory(lines=lines)], 1) == []  # of an older generation


def batch(advantages: list[list[float]], old: list[list[float]] | None = None) -> Batch:
    weights = torch.tensor(advantages)
    zero = torch.zeros_like(weights)
    return Batch(zero.long(), zero, zero, weights, zero if old is None else torch.tensor(old), zero, zero)


def test_the_surrogate_is_clipped_on_the_side_that_would_gain() -> None:
    ratios = torch.tensor([[2.0, 0.5, 2.0, 0.5]])
    now = ratios.log().requires_grad_()
    loss = Grpo().loss(Scores(now), batch([[1.0, 1.0, -1.0, -1.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(-(1.28 + 0.5 - 2.0 - 0.8))
    assert now.grad is not None
    assert now.grad[0].tolist() == pytest.approx([0.0, -0.5, 2.0, 0.0])  # what went far enough is left alone


def test_a_ratio_is_to_the_policy_that_played() -> None:
    loss = Grpo().loss(Scores(torch.tensor([[-1.0, -2.0]])), batch([[1.0, 0.0]], [[-1.1, 9.0]]))
    assert loss.item() == pytest.approx(-math.exp(0.1))


def test_pairs_are_siblings_of_which_one_led_somewhere() -> None:
    tree = (example(GOOD, BAD, move("worse", 0.0, prior=0.1), move("open", 0.5)),
            example(move("x", 1.0), thoughts=("a",)), example(move("y", 0.0), thoughts=("b",)))
    pairs = [(lesson.thoughts, lesson.instead, lesson.advantages) for lesson in Dpo().teach([trajectory(tree)], 0)]
    assert pairs == [(("good",), "bad", (0.5,)), (("good",), "worse", (0.5,))]
    [pair] = Dpo(pairs=1).teach([trajectory(tree)], 0)
    assert pair.instead == "bad"  # the one that the policy liked most


def test_the_preference_loss_is_that_of_the_paper() -> None:
    scores = Scores(torch.tensor([[0.0, -1.0], [0.0, -2.0], [0.0, -5.0], [0.0, -5.0]]),
                    torch.tensor([[0.0, -1.5], [0.0, -1.0], [0.0, 0.0], [0.0, 0.0]]))
    rows = batch([[0.0, 2.0], [0.0, -2.0], [0.0, 0.0], [0.0, 0.0]])
    expected = -2 * math.log(1 / (1 + math.exp(-0.5 * (0.5 + 1.0))))
    assert Dpo(beta=0.5, imitation=0.0).loss(scores, rows).item() == pytest.approx(expected)
    assert Dpo(beta=0.5, imitation=0.25).loss(scores, rows).item() == pytest.approx(expected + 2 * 0.25 * 1.0)


def test_lengths_may_be_taken_out_of_preferences() -> None:
    scores = Scores(torch.tensor([[-1.0, -1.0], [-1.0, 0.0]]), torch.zeros(2, 2))
    rows = batch([[1.0, 1.0], [-1.0, 0.0]])
    assert Dpo(beta=1.0, imitation=0.0, mean=True).loss(scores, rows).item() == pytest.approx(math.log(2))
    assert Dpo(beta=1.0, imitation=0.0).loss(scores, rows).item() > math.log(2)


@pytest.mark.parametrize(("kind", "bad"), [
    (ExpertIteration, {"temperature": 0.0}), (ExpertIteration, {"least": 1.0}), (RejectionSampling, {"most": 0}),
    (Grpo, {"clip_low": 1.5}), (Dpo, {"beta": 0.0}),
])
def test_impossible_settings_are_refused(kind: type[Objective], bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        kind(**bad)
