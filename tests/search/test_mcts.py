"""The flagship: golden trees, rules, exact backups."""

from __future__ import annotations

import math

import pytest

from policy.base import Sampling, Thought
from policy.budget import Budget
from policy.scripted import Scripted, evenly
from search import rules
from search.mcts import MCTS
from search.thinking import Thinking
from search.tree import Node, Outcome, Step, attach, close_upwards, line_logprob, size
from tests.search.riddles import SECRET, RiddleJudge, answers, forest, grown, riddle, solve, visits
from verifiers.base import State

SCRIPT = {
    (): [("a", math.log(0.6), 0.2), ("b", math.log(0.3), 0.6), ("c", math.log(0.1), 0.5)],
    ("a",): [("a1", math.log(0.5), 0.2), ("a2", math.log(0.5), 0.1)],
    ("b",): [("b1", math.log(0.7), 0.3), ("!b", math.log(0.2), 0.9), ("b3", math.log(0.1), 0.4)],
    ("c",): [("c1", math.log(0.9), 0.8), ("c2", math.log(0.1), 0.1)],
    ("b", "b1"): evenly("=1", "=2"),
    ("b", "b3"): evenly("=3"),
    ("c", "c1"): [("=4", math.log(0.9), 0.9), (f"={SECRET}", math.log(0.1), 0.1)],
}


def step(text: str, probability: float, value: float | None = None, outcome: Outcome = Outcome.OPEN) -> Step:
    answer = None if outcome is Outcome.OPEN or outcome is Outcome.DEAD else text
    return Step(Thought(text, math.log(probability), 2, value), State(riddle(), (text,)), outcome, answer)


def node(*steps: Step, spent: bool = False, value: float | None = None) -> Node:
    root = Node(State(riddle()), value=value)
    attach(root, steps, spent=spent)
    return root


async def test_golden_tree() -> None:
    policy = Scripted(SCRIPT)
    thinking = await grown("mcts", SCRIPT, "1000tok", policy=policy)
    draws = [("/".join(call.state.thoughts), call.first) for call in policy.calls[3:]]
    assert draws == [
        ("", 0), ("a", 0), ("a/a1", 0),  # the first line leads nowhere
        ("", 1), ("b", 0), ("b/b1", 0),  # another is begun at the root, and ends refuted
        ("b", 1), ("b/b1", 1),  # b is valued most: it is widened (by an illegal thought), and so is b1
        ("a", 1), ("a/a2", 0), ("b", 2), ("b/b3", 0),  # what is left of a and b, each to its end
        ("", 2), ("c", 0), ("c/c1", 0), ("c/c1", 1),
    ]  # fmt: skip
    assert {call.k for call in policy.calls} == {1}
    assert visits(thinking.tree) == {
        "": 16, "a": 4, "a/a1": 1, "a/a2": 1, "b": 6, "b/b1": 2, "b/b3": 1, "c": 3, "c/c1": 2, f"c/c1/={SECRET}": 1,
    }  # fmt: skip
    assert thinking.standing is not None and thinking.standing.thoughts == ("c", "c1", f"={SECRET}")
    assert thinking.tree.solved and thinking.tree.q == 1.0


async def test_golden_tree_without_diving() -> None:
    policy = Scripted(SCRIPT)
    thinking = await grown("mcts", SCRIPT, "1000tok", policy=policy, dive=False, k_init=2)
    draws = [("/".join(call.state.thoughts), call.first, call.k) for call in policy.calls[3:]]
    assert draws == [
        ("", 0, 2), ("b", 0, 2), ("b/b1", 0, 2),  # b is valued most, but both its ends are refuted
        ("a", 0, 2), ("a/a1", 0, 2), ("a/a2", 0, 2),  # a's thoughts lead nowhere: closed
        ("b", 2, 1), ("b/b3", 0, 2),  # what is left of b
        ("", 2, 1), ("c", 0, 2), ("c/c1", 0, 2),  # the root is widened
    ]  # fmt: skip
    assert visits(thinking.tree) == {
        "": 11, "a": 3, "a/a1": 1, "a/a2": 1, "b": 4, "b/b1": 1, "b/b3": 1,
        "c": 2, "c/c1": 1, "c/c2": 0, f"c/c1/={SECRET}": 1,
    }  # fmt: skip
    assert thinking.standing is not None and thinking.standing.thoughts == ("c", "c1", f"={SECRET}")
    assert thinking.tree.solved and thinking.tree.q == 1.0


async def test_the_tree_depends_on_in_flight_only_through_the_ramp() -> None:
    alone = await grown("mcts", SCRIPT, "60tok", in_flight=1)
    ramped = await grown("mcts", SCRIPT, "60tok", in_flight=16, ramp=1000)
    assert visits(alone.tree) == visits(ramped.tree)


async def test_many_in_flight_take_different_leaves() -> None:
    policy = Scripted(SCRIPT)
    thinking = Thinking(riddle(), policy, RiddleJudge(False), Budget(seconds=60).start(lambda: 0.0), 1)
    async with thinking:
        await answers(MCTS(in_flight=4, k_init=3).run(thinking))
    asked = [(call.state.thoughts, call.first) for call in policy.calls if call.k > 1 or call.first]
    assert len(asked) == len(set(asked)) and {("a",), ("b",), ("c",)} <= {thoughts for thoughts, _ in asked[:5]}
    assert thinking.tree.closed and all(seen.pending == 0 and not seen.opening for seen in walk(thinking.tree))


def walk(root: Node) -> list[Node]:
    return [root, *(below for child in root.children for below in walk(child))]


async def test_visits_of_a_parent_are_those_below_it_and_its_own_draws() -> None:
    thinking = await grown("mcts", SCRIPT, "45tok")
    for seen in walk(thinking.tree):
        below = sum(child.visits for child in seen.children if child.answer is None)
        assert seen.visits >= below
        assert 0.0 <= seen.q <= 1.0 and 0.0 <= seen.mass <= 1.0 + 1e-9
        assert not seen.children or sum(child.prior for child in seen.children) == pytest.approx(1.0)


async def test_it_works_without_values_and_with_the_mean() -> None:
    blank = {state: [(text, logprob, None) for text, logprob, _ in lines] for state, lines in SCRIPT.items()}
    assert (await solve("mcts", blank))[-1].verified
    assert (await solve("mcts", blank, rollouts=True))[-1].verified
    assert (await solve("mcts", SCRIPT, backup=rules.mean))[-1].verified


async def test_rollouts_value_what_has_no_value() -> None:
    blank = {(): evenly("a", "b"), ("a",): evenly("=1"), ("b",): evenly("b1"), ("b", "b1"): evenly(f"={SECRET}")}
    thinking = await grown("mcts", blank, "1000tok", rollouts=True)
    assert thinking.verified and thinking.standing is not None and thinking.standing.thoughts[0] == "b"
    assert {child.state.thoughts[0]: child.value for child in thinking.tree.children} == {"a": 0.0, "b": 1.0}


def test_attach_keeps_distinct_living_thoughts_and_counts_all() -> None:
    root = node(step("a", 0.4), step("a", 0.4), step("b", 0.2), step("d", 0.3, outcome=Outcome.DEAD))
    assert [child.state.thoughts[-1] for child in root.children] == ["a", "b"]
    assert root.drawn == 4 and root.mass == pytest.approx(0.9) and root.mass_left == pytest.approx(0.1)
    assert [child.prior for child in root.children] == pytest.approx([2 / 3, 1 / 3])
    assert line_logprob(root.children[1]) == pytest.approx(math.log(0.2)) and size(root) == 3


def test_priors_survive_tiny_probabilities() -> None:
    root = Node(State(riddle()))
    attach(root, [step("a", 1.0), step("b", 1.0)], spent=False)
    for child in root.children:
        child.logprob = -5000.0
    attach(root, [], spent=False)
    assert [child.prior for child in root.children] == [0.5, 0.5]


def test_closing_is_exact() -> None:
    root = node(step("a", 0.5), step("b", 0.5), spent=True)
    a, b = root.children
    for child in (a, b):
        attach(child, [step("x", 1.0, outcome=Outcome.REFUTED)], spent=child is a)
        close_upwards(child)
    assert a.closed and not b.closed and not root.closed  # more may come after b
    attach(b, [], spent=True)
    close_upwards(b)
    assert root.closed and not root.solved and rules.best(root) == rules.mean(root) * 0 == 0.0


def test_a_solved_child_solves_its_parents() -> None:
    root = node(step("a", 0.5))
    attach(root.children[0], [step("x", 1.0, outcome=Outcome.PROVED)], spent=False)
    close_upwards(root.children[0])
    assert root.solved and rules.best(root) == rules.mean(root) == 1.0


def test_best_backs_up_what_is_left_to_find() -> None:
    root = node(step("a", 0.5, 0.3), step("d", 0.4, outcome=Outcome.DEAD), value=0.8)
    assert rules.undrawn(root) == pytest.approx(0.08)
    assert rules.best(root) == 0.3
    root.children[0].closed = True
    assert rules.best(root) == pytest.approx(0.08)


def test_mean_is_weighted_by_visits() -> None:
    root = node(step("a", 0.5, 0.2), step("b", 0.5, 0.6), value=0.5)
    root.children[0].visits, root.children[1].visits = 1, 2
    assert rules.mean(root) == pytest.approx((0.5 + 0.2 + 2 * 0.6) / 4)


def test_puct_weighs_value_prior_and_virtual_loss() -> None:
    root = node(step("a", 0.5, 0.4), step("b", 0.4, 0.5), value=0.1)
    a, b = root.children
    assert rules.Puct(0.01)(root, True)[0] is b
    b.value = b.q = 0.41
    assert rules.Puct(0.01)(root, False)[0] is b
    assert rules.Puct(50.0)(root, False)[0] is a
    b.pending = root.pending = 1
    assert rules.Puct(0.01, patience=3.0)(root, True)[0] is a
    assert None not in rules.Puct(1.0)(root, False) and None in rules.Puct(1.0)(root, True)
    a.closed = True
    assert rules.Puct(1.0)(root, False) == [b]


def test_patience_ends_where_tries_stay_in_vain() -> None:
    root = node(step("a", 0.5, 0.5), step("b", 0.4, 0.4), value=0.1)
    a, b = root.children
    a.visits = root.visits = 4  # 0.5 / (1 + 4 * 0.5 / 6) = 0.375
    assert rules.Puct(0.0)(root, False) == [a, b]
    assert rules.Puct(0.0, patience=9.0)(root, False) == [a, b]
    assert rules.Puct(0.0, patience=6.0)(root, False) == [b, a]
    b.visits, root.visits = 4, 8
    assert rules.Puct(0.0, patience=6.0)(root, False) == [a, b]


@pytest.mark.parametrize("in_flight", [1, 4])
async def test_a_dive_does_not_ask_twice_at_one_node(in_flight: int) -> None:
    policy = Scripted(forest(3, (1, 2, 0)))
    thinking = Thinking(riddle(), policy, RiddleJudge(), Budget(seconds=60).start(lambda: 0.0), 1)
    async with thinking:
        await answers(MCTS(in_flight=in_flight).run(thinking))
    asked = [(call.state.thoughts, call.first) for call in policy.calls if call.sampling is Sampling.DISTINCT]
    assert thinking.verified and len(asked) == len(set(asked))


def test_widening_grows_with_visits_and_never_asks_a_spent_node() -> None:
    widen = rules.ProgressiveWidening(k=2, c=1.0, alpha=0.5)
    root = node(step("a", 0.5), step("b", 0.4))
    assert not widen(root)
    root.visits = 4
    assert widen(root)
    root.visits, root.children[0].closed, root.children[1].closed = 0, True, True
    assert widen(root)  # nothing else is left
    root.opening = True
    assert not widen(root)
    root.opening, root.spent = False, True
    assert not widen(root)


@pytest.mark.parametrize(
    ("name", "number"), [("k_init", 0), ("in_flight", 0), ("c_puct", -1.0), ("widen_alpha", 2.0), ("max_depth", 0)]
)
def test_bad_numbers_are_refused(name: str, number: float) -> None:
    with pytest.raises(ValueError, match=name):
        MCTS(**{name: number})  # type: ignore[arg-type]
