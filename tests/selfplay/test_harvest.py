"""Harvest: every thought that was drawn is told of, certain ends are backed up exactly, and remembering is free."""

from __future__ import annotations

import math
from contextlib import aclosing

import pytest

from policy.budget import Budget
from policy.scripted import Scripted, evenly
from search.rules import best
from search.thinking import Thinking
from search.tree import Node
from selfplay.harvest import answers, graft, harvest
from selfplay.trajectory import Example, Move
from tests.search.riddles import SECRET, TREES, RiddleJudge, Script, forest, riddle, searcher, visits

SCRIPT: Script = {
    (): [("a", math.log(0.6), 0.2), ("b", math.log(0.3), 0.6), ("c", math.log(0.1), 0.5)],
    ("a",): [("a1", math.log(0.5), 0.2), ("a2", math.log(0.5), 0.1)],
    ("b",): [("b1", math.log(0.7), 0.3), ("!b", math.log(0.2), 0.9), ("b3\x1b", math.log(0.1), 0.4)],
    ("c",): [("c1", math.log(0.9), 0.8), ("c2", math.log(0.1), 0.1)],
    ("b", "b1"): evenly("=1", "=2"),
    ("c", "c1"): [("=4", math.log(0.9), 0.9), (f"={SECRET}", math.log(0.1), 0.1)],
}


async def thought(
    name: str, script: Script, budget: str = "1000tok", proves: bool = False, remember: bool = True
) -> Thinking:
    """A search that has ended, remembered or not."""
    made, meter = searcher(name), Budget.parse(budget).start()
    thinking = made.begin(riddle(), Scripted(script), RiddleJudge(proves), meter, 1, remember)
    async with thinking, aclosing(made.run(thinking)) as found:
        async for _ in found:
            pass
    return thinking


async def examples(
    name: str, script: Script, most: int = 256, budget: str = "1000tok", proves: bool = False
) -> dict[str, Example]:
    thinking = await thought(name, script, budget, proves)
    graft(thinking)
    right = {text: text == SECRET for text in answers(thinking.tree)}
    return {"/".join(example.thoughts): example for example in harvest(thinking.tree, right, best, most)}


def moves(example: Example) -> dict[str, tuple[str, float]]:
    return {move.text: (move.outcome, move.q) for move in example.moves}


async def test_what_is_certain_is_backed_up_and_the_failed_are_told_of() -> None:
    found = await examples("mcts", SCRIPT)
    assert list(found) == ["", "a", "b", "b/b1", "c", "c/c1"]
    assert moves(found["c/c1"]) == {"=4": ("wrong", 0.0), f"={SECRET}": ("correct", 1.0)}
    assert moves(found["c"])["c1"] == ("open", 1.0) and found["c"].q == found[""].q == 1.0
    assert moves(found["b"]) == {"b1": ("open", 0.0), "!b": ("dead", 0.0), "b3": ("dead", 0.0)}  # all ended wrong
    assert moves(found["b/b1"]) == {"=1": ("wrong", 0.0), "=2": ("wrong", 0.0)}
    assert moves(found["a"]) == {"a1": ("open", 0.0), "a2": ("open", 0.0)}  # nothing comes after them
    assert [(move.value, move.prior) for move in found["b"].moves] == [
        (0.3, pytest.approx(0.7)), (0.9, pytest.approx(0.2)), (0.4, pytest.approx(0.1))]  # fmt: skip
    assert found[""].value is None and found["b"].value == 0.6
    assert found["b"].visits == next(move for move in found[""].moves if move.text == "b").visits > 0


async def test_a_proof_ends_the_search_and_what_was_refuted_is_told_apart() -> None:
    found = await examples("mcts", SCRIPT, proves=True)
    assert moves(found["c/c1"]) == {"=4": ("refuted", 0.0), f"={SECRET}": ("correct", 1.0)}
    assert moves(found["b/b1"]) == {"=1": ("refuted", 0.0), "=2": ("refuted", 0.0)}


async def test_what_is_uncertain_keeps_the_word_of_the_search() -> None:
    found = await examples("mcts", SCRIPT, budget="36tok")
    assert list(found) == ["", "b"]
    assert moves(found[""]) == {"a": ("open", pytest.approx(0.2 * 0.5)), "b": ("open", pytest.approx(0.3 * 0.5))}
    assert moves(found["b"]) == {"b1": ("open", pytest.approx(0.3 * 0.5)), "!b": ("dead", 0.0)}
    assert found[""].q == found["b"].q == pytest.approx(0.15)


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("proves", [True, False])
async def test_remembering_changes_no_search(name: str, proves: bool) -> None:
    for seed in range(5):
        script = forest(seed, (1, 0, 2) if seed % 2 else None)
        with_memory = await thought(name, script, proves=proves)
        without = await thought(name, script, proves=proves, remember=False)
        assert visits(with_memory.tree) == visits(without.tree)
        assert with_memory.meter.tokens == without.meter.tokens
        assert not without.lines and not any(node.steps for node in walk(without.tree))


def walk(node: Node) -> list[Node]:
    return [node, *(below for child in node.children for below in walk(child))]


@pytest.mark.parametrize("name", [*TREES, "self_consistency", "best_of_n"])
async def test_every_example_is_sound(name: str) -> None:
    seen = 0
    for seed in range(8):
        found = await examples(name, forest(seed, (1, 0, 2) if seed % 2 else None), budget="600tok")
        seen += len(found)
        for line, example in found.items():
            assert sum(move.prior for move in example.moves) == pytest.approx(1)
            assert len({move.text for move in example.moves}) == len(example.moves)
            assert max(move.visits for move in example.moves) <= example.visits
            assert all(_sound(move) for move in example.moves)
            assert (example.q == 1) == any(move.q == 1 for move in example.moves)
            for move in example.moves:  # what is said of a thought is what is said of the state after it
                after = found.get(f"{line}/{move.text}".lstrip("/"))
                assert after is None or (after.q, after.visits, after.value) == (move.q, move.visits, move.value)
    assert seen > 8


def _sound(move: Move) -> bool:
    certain = {"correct": 1.0, "wrong": 0.0, "dead": 0.0, "refuted": 0.0}
    return 0 <= move.q <= 1 and certain.get(move.outcome, move.q) == move.q


async def test_too_many_states_leave_the_correct_lines() -> None:
    everything = await examples("mcts", SCRIPT)
    for most, kept in ((1, [""]), (3, ["", "c", "c/c1"]), (4, ["", "b", "c", "c/c1"])):
        found = await examples("mcts", SCRIPT, most)
        assert list(found) == kept
        assert all(found[line] == everything[line] for line in kept)


async def test_chains_are_a_tree_too() -> None:
    thinking = await thought("self_consistency", SCRIPT, "400tok")
    lines = len(thinking.lines)
    assert not thinking.tree.children and lines > 4
    graft(thinking)
    assert thinking.tree.visits == lines
    assert {child.state.thoughts[-1] for child in thinking.tree.children} == {"a", "b", "c"}
    assert sum(child.visits for child in thinking.tree.children) == lines
    for node in walk(thinking.tree):
        assert node.visits >= sum(child.visits for child in node.children)


async def test_the_greedy_line_is_no_way_around_the_judge() -> None:
    script: Script = {(): [("!x", math.log(0.9), None), ("y", math.log(0.1), None)], ("!x",): evenly(f"={SECRET}"),
                      ("y",): evenly("=1", "=2")}  # fmt: skip
    found = await examples("mcts", script)
    assert moves(found[""]) == {"!x": ("dead", 0.0), "y": ("open", 0.0)}
    alone = await examples("greedy", script)  # nobody has judged its steps here: it stands, as in the answer
    assert moves(alone[""]) == {"!x": ("open", 1.0)} and list(alone) == ["", "!x"]
