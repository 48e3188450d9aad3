"""Lessons: every weight stands once, and no problem outweighs another."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfplay.lessons import NOTHING, Lesson, capped, correct_lines, cover, outcomes, prefixes
from tests.selfplay.made import example, line, move, trajectory
from verifiers.base import Status, Verdict

PATHS = st.lists(st.sampled_from("abc"), max_size=4).map(tuple)


@given(st.dictionaries(PATHS.filter(bool), st.floats(0.1, 2)),
       st.dictionaries(PATHS, st.tuples(st.floats(0, 1), st.floats(0.1, 2))))
def test_every_weight_and_every_target_stands_once(edges, states) -> None:  # type: ignore[no-untyped-def]
    found, valued = defaultdict(list), defaultdict(list)
    lessons = cover("p", edges, states)
    for lesson in lessons:
        for path, weight in zip(prefixes(lesson.thoughts)[1:], lesson.imitation, strict=True):
            found[path] += [weight] if weight else []
        for path, target in zip(prefixes(lesson.thoughts), lesson.targets, strict=True):
            valued[path] += [target] if target[1] else []
    assert {path: weights for path, weights in found.items() if weights} == {p: [w] for p, w in edges.items()}
    assert {path: targets for path, targets in valued.items() if targets} == {p: [t] for p, t in states.items()}
    leaves = {lesson.thoughts for lesson in lessons}
    assert len(leaves) == len(lessons)  # and none of them is the beginning of another
    assert not any(leaf in prefixes(other)[:-1] for leaf in leaves for other in leaves)


@given(st.dictionaries(PATHS.filter(bool), st.floats(0.1, 2)),
       st.dictionaries(PATHS, st.tuples(st.floats(0, 1), st.floats(0.1, 2))), st.integers(0, 3))
def test_few_lines_teach_values_alone_and_no_imitation_is_lost(edges, states, valued) -> None:  # type: ignore[no-untyped-def]
    lessons = cover("p", edges, states, valued)
    alone = [lesson for lesson in lessons if not any(lesson.imitation)]
    assert len(alone) <= valued
    found = {path: weight for lesson in lessons
             for path, weight in zip(prefixes(lesson.thoughts)[1:], lesson.imitation, strict=True) if weight}
    assert found == edges
    read = {path: target for lesson in lessons
            for path, target in zip(prefixes(lesson.thoughts), lesson.targets, strict=True) if target[1]}
    standing = {path for lesson in lessons for path in prefixes(lesson.thoughts)}
    assert read == {path: target for path, target in states.items() if path in standing}


def test_a_problem_weighs_at_most_as_its_cap_at_every_depth() -> None:
    lessons = [Lesson("p", ("a", "b"), (1.0, 0.25), ((0.5, 6.0), NOTHING, NOTHING), advantages=(-2.0, 0.5)),
               Lesson("p", ("c",), (3.0,), (NOTHING, (1.0, 6.0)), advantages=(2.0,))]
    one, other = capped(lessons, 1.0)
    assert one.imitation == (0.25, 0.25) and other.imitation == (0.75,)  # 4 in all at the first depth, 0.25 below
    assert one.advantages == (-0.5, 0.5) and other.advantages == (0.5,)
    assert one.targets[0] == (0.5, 1.0) and other.targets[1] == (1.0, 1.0)  # six lines weigh as one
    assert capped(lessons, 10.0) == lessons and capped([], 1.0) == []


def test_outcomes_are_means_over_the_independent_lines() -> None:
    error = line("a", "x", reward=0.0, status="error")
    greedy = line("a", "b", greedy=True)
    now = trajectory(lines=(line("a", "b"), line("a", "c", reward=0.0), error, greedy), generation=3)
    before = trajectory(lines=(line("a", "b", reward=0.0),), generation=2)
    assert outcomes([now], 3) == {(): (0.5, 2.0), ("a",): (0.5, 2.0), ("a", "b"): (1.0, 1.0), ("a", "c"): (0.0, 1.0)}
    both = outcomes([now, before], 3)  # an older line weighs half
    assert both[()] == (pytest.approx(1 / 2.5), 2.5) and both["a", "b"] == (pytest.approx(1 / 1.5), 1.5)


def test_correct_lines_come_from_lines_and_from_the_tree() -> None:
    tree = (example(move("a", 1.0)), example(move("b", 1.0, outcome="correct"), move("c", 0.0, outcome="wrong"),
                                             thoughts=("a",)))
    played = [trajectory(tree, (line("d"), line("e", reward=0.0), line("d")))]
    assert correct_lines(played) == {("a", "b"), ("d",)}
    assert correct_lines(played, tree=False) == {("d",)}
    assert correct_lines([trajectory(tree, verdict=Verdict(Status.WRONG))]) == {("a", "b")}


@pytest.mark.parametrize("bad", [
    {"imitation": (1.0,)}, {"targets": (NOTHING,)}, {"advantages": (1.0,)}, {"logprobs": (1.0, 1.0, 1.0)},
    {"instead": "c"},
])
def test_lessons_are_whole(bad: dict[str, object]) -> None:
    whole = {"imitation": (1.0, 1.0), "targets": (NOTHING,) * 3}
    with pytest.raises(ValueError, match=r"a lesson has|has an advantage"):
        Lesson("p", ("a", "b"), **{**whole, **bad})  # type: ignore[arg-type]
