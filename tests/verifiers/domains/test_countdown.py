"""Countdown: parsing, exact checks, splits, demonstrations and hostile answers."""

from __future__ import annotations

import time
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers.base import BadProblem, Evidence, State, Status, derive_seed, split_of
from verifiers.domains.countdown import Countdown

GAME24 = Countdown("game24", [4], 1, 13, 24, 24, target=24, named_splits=["tot100"])
ANY = Countdown("countdown", [3, 4, 5, 6], 1, 13, 10, 100)


def pose(text: str):
    problem = ANY.parse(text)
    assert problem is not None
    return problem


@pytest.mark.parametrize("text", ["4 9 10 13", "13, 10, 9, 4", "4 9 10 13 -> 24", "Make 24 from 4, 9, 10 and 13.",
                                  "make 24 with 4 9 10 13", "4 9 10 13 = 24", " 10 9 13 4 target: 24 "])
def test_ways_to_write_one_puzzle(text: str) -> None:
    problem = GAME24.parse(text)
    assert problem is not None and problem.id == pose("4 9 10 13 -> 24").id
    assert problem.prompt == "4 9 10 13 -> 24"


@pytest.mark.parametrize("text", ["", "17*24", "2x+3=7", "24", "What is 17 * 24?", "4 9 10 13 -> 25", "4 9 x 13",
                                  "\uff11 \uff12 \uff13 \uff14", "1 2 3 -> -5", "4 9 10 13 -> 5/2",
                                  "4 9 10 13 -> ${oc.env:HOME}"])
def test_not_a_game_of_24(text: str) -> None:
    assert GAME24.parse(text) is None


@pytest.mark.parametrize("text", ["1 2 3 4", "1 2 3 4 5 6 7 8 9 10 11 -> 5", "1234567 2 -> 4", "5 -> 5",
                                  "1,000 2 3 -> 6", "1 2 -> 1234567/2"])
def test_impossible_problems_say_why(text: str) -> None:
    with pytest.raises(BadProblem, match="countdown"):
        ANY.parse(text)


@pytest.mark.parametrize(("text", "prompt", "answer"), [
    ("1 2 3 -> -4", "1 2 3 -> -4", "(1-3)*2"), ("3 1 = -2", "1 3 -> -2", "1-3"),
    ("make 3/2 from 2 and 3", "2 3 -> 3/2", "3/2"), ("2 4 6 -> 6/2", "2 4 6 -> 3", "6*2/4"),
    ("0 1 -> 0", "0 1 -> 0", "0*1")])
def test_any_target(text: str, prompt: str, answer: str) -> None:
    problem = pose(text)
    assert problem.prompt == prompt
    assert ANY.check(problem, answer).ok and not ANY.check(problem, f"({answer})+0").ok


def test_a_target_out_of_reach_is_refused() -> None:
    far = Countdown("far", [2], 1, 3, 10**6, 10**6)
    with pytest.raises(BadProblem, match=r"far.*1000000"):
        next(far.problems("test", 0))


def test_the_papers_puzzles() -> None:
    puzzles = list(GAME24.problems("tot100", 0))
    assert len({p.id for p in puzzles}) == 100
    assert puzzles[0].prompt == "4 5 6 10 -> 24"
    with pytest.raises(BadProblem, match="tot100"):
        GAME24.problems("tot", 0)


def test_splits_are_disjoint_and_the_papers_puzzles_are_in_none() -> None:
    held_out = {p.id for p in GAME24.problems("tot100", 0)}
    splits = {s: {p.id for p in islice(ANY.problems(s, 0), 300)} | {p.id for p in islice(GAME24.problems(s, 0), 60)}
              for s in ("train", "validation", "test")}
    for split, ids in splits.items():
        assert not ids & held_out
        assert {split_of(i) for i in ids} == {split}
    rng = np.random.default_rng(0)
    for domain in (GAME24, ANY):
        for _ in range(200):
            problem, _ = domain.demonstrate(rng)
            assert problem.id not in held_out and split_of(problem.id) == "train"


def test_a_finite_family_ends() -> None:
    tiny = Countdown("tiny", [2], 1, 2, 2, 4)
    # 1+1, 1*2 and 2/1, 1+2, 2+2 and 2*2: four puzzles in all three splits together.
    assert len({p.id for s in ("train", "validation", "test") for p in tiny.problems(s, 0)}) == 4


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), domain=st.sampled_from([GAME24, ANY]))
async def test_demonstrations_are_legal_and_reach_the_target(seed: int, domain: Countdown) -> None:
    problem, thoughts = domain.demonstrate(np.random.default_rng(seed))
    judge, state = domain.judge(), State(problem.sealed())
    for thought in thoughts:
        assert await judge.answer(state) is None
        assert (await judge.check_thought(state, thought)).ok
        state = state.then(thought)
    answer = await judge.answer(state)
    assert answer == problem.reference
    verdict = await judge.self_check(problem.sealed(), answer)
    assert verdict is not None and verdict.ok and verdict.evidence is Evidence.PROVED and verdict.reward == 1.0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
async def test_random_thoughts_on_long_numbers_are_legal(seed: int) -> None:
    state, rng = State(pose("999999 999998 999997 999996 -> 24")), np.random.default_rng(seed)
    while (thought := ANY.random_thought(state, rng)) is not None:
        assert (await ANY.judge().check_thought(state, thought)).ok, thought
        state = state.then(thought)


@settings(max_examples=60, deadline=None)
@given(numbers=st.lists(st.integers(1, 13), min_size=2, max_size=6), seed=st.integers(0, 2**32))
async def test_random_thoughts_are_legal_to_the_end(numbers: list[int], seed: int) -> None:
    problem = pose(" ".join(map(str, numbers)) + " -> 24")
    state, rng, judge = State(problem), np.random.default_rng(seed), ANY.judge()
    while (thought := ANY.random_thought(state, rng)) is not None:
        verdict = await judge.check_thought(state, thought)
        assert verdict.ok, (state, thought, verdict)
        state = state.then(thought)
    assert len(state.thoughts) == len(numbers) - 1
    answer = await judge.answer(state)
    value = Fraction(state.thoughts[-1].split("=")[1].strip("()"))
    assert answer is not None and ANY.check(problem, answer).ok == (value == 24)


@pytest.mark.parametrize(("thought", "status"), [
    ("13-9=4, 4 4 10", Status.CORRECT),
    ("9-13=(-4), (-4) 4 10", Status.CORRECT),
    ("4/9=(4/9), (4/9) 10 13", Status.CORRECT),
    ("13-9=5, 4 5 10", Status.WRONG),  # wrong result
    ("13-9=4, 4 10", Status.WRONG),  # a number lost
    ("13-9=4, 10 4 4", Status.WRONG),  # not ascending
    ("13-9=4", Status.WRONG),
    ("12-9=3, 3 4 10", Status.WRONG),  # 12 is not there
    ("9-9=0, 0 4 10 13", Status.WRONG),  # one 9 used twice
    ("9**2=81, 4 10 13 81", Status.UNPARSABLE),
    ("13-9=4,4 4 10", Status.UNPARSABLE),
    ("(1/0)+4=4, 4", Status.UNPARSABLE),
    ("", Status.UNPARSABLE),
    ("٤+٩=13, 10 13 13", Status.UNPARSABLE),
    ("4+9=13, " + "1 " * 10**5, Status.UNPARSABLE),
    ("__import__('os').system('true')", Status.UNPARSABLE),
])
async def test_check_thought(thought: str, status: Status) -> None:
    assert (await ANY.judge().check_thought(State(pose("4 9 10 13 -> 24")), thought)).status is status


async def test_a_step_after_the_last_or_after_nonsense_is_wrong() -> None:
    state = State(pose("4 9 -> 13"), ("9+4=13",))
    assert (await ANY.judge().check_thought(state, "13-13=0")).status is Status.WRONG
    lost = State(pose("4 9 10 -> 13"), ("no idea",))
    assert (await ANY.judge().check_thought(lost, "9+4=13, 10 13")).status is Status.WRONG


@pytest.mark.parametrize(("answer", "status"), [
    ("(13-9)*(10-4)", Status.CORRECT),
    ("(10-4)*(13-9)", Status.CORRECT),
    ("4+9+10+13", Status.WRONG),
    ("24", Status.WRONG),
    ("(13-9)*(10-4)*1", Status.WRONG),
    ("(13-9)*(10-4)+9-9", Status.WRONG),
    ("4*(9-10/13", Status.UNPARSABLE),
    ("2**9", Status.UNPARSABLE), ("0x18", Status.UNPARSABLE), ("4!", Status.UNPARSABLE), ("7//2", Status.UNPARSABLE),
    ("(" * 5000 + "24" + ")" * 5000, Status.UNPARSABLE),
    ("\uff12\uff14", Status.UNPARSABLE), ("", Status.UNPARSABLE), ("1" * 2**20, Status.UNPARSABLE),
    ("24/(4-4)", Status.UNPARSABLE), ("1_3", Status.UNPARSABLE), ("4e0", Status.UNPARSABLE), ("nan", Status.UNPARSABLE),
])
def test_check(answer: str, status: Status) -> None:
    start = time.process_time()
    verdict = ANY.check(pose("4 9 10 13 -> 24"), answer)
    assert verdict.status is status
    assert (verdict.reward == 1.0) == (status is Status.CORRECT)
    assert len(verdict.detail) < 300 and time.process_time() - start < 1


async def test_steps_that_do_not_fit_together_never_compose_a_solution() -> None:
    """Without step checks a line may lie about what is left; its answer must not become correct by that."""
    judge, problem = ANY.judge(), pose("4 9 10 13 -> 24")
    lying = State(problem, ("4*9=6, 6 10 13", "13-9=4, 4 6", "4*6=24"))
    answer = await judge.answer(lying)
    assert answer is not None
    verdict = await judge.self_check(problem, answer)
    assert verdict is not None and verdict.status is Status.UNPARSABLE
    wrong_sum = State(problem, ("13-9=4, 4 4 10", "10-4=5, 4 5", "5*4=24"))
    answer = await judge.answer(wrong_sum)
    assert answer is not None
    verdict = await judge.self_check(problem, answer)  # the expression it spells happens to be right: that is honest
    assert verdict is not None and verdict.ok and ANY.check(problem, answer).ok


def test_composed_parentheses_keep_the_meaning() -> None:
    rng = np.random.default_rng(derive_seed("compose"))
    for _ in range(300):
        problem, _ = ANY.demonstrate(rng)
        assert problem.reference is not None and ANY.check(problem, problem.reference).ok
