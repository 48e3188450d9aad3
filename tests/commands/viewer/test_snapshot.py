from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from commands.viewer import snapshot as module
from commands.viewer.snapshot import MOST_TEXT, Snapshot
from policy.budget import Budget
from search.anytime import Anytime
from search.beam import Beam
from search.best_of_n import BestOfN
from search.greedy import Greedy
from search.levin import Levin
from search.mcts import MCTS
from search.self_consistency import SelfConsistency
from search.thinking import Thinking
from search.tot_bfs import TotBFS
from search.tot_dfs import TotDFS
from search.tree import Node, Outcome, size
from tests.commands.viewer.made import PROBLEM, Deep, Saying, together, watched

SEARCHERS = [Beam(), BestOfN(), Greedy(), Levin(), MCTS(), MCTS(rollouts=True), SelfConsistency(), TotBFS(), TotDFS()]


def all_nodes(root: Node) -> Iterator[Node]:
    yield root
    for child in root.children:
        yield from all_nodes(child)


def line_of(nodes: dict[int, dict[str, Any]], node: dict[str, Any]) -> tuple[str, ...]:
    return () if node["parent"] is None else (*line_of(nodes, nodes[node["parent"]]), node["text"])


@pytest.mark.parametrize("searcher", SEARCHERS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("every", [None, 3])
async def test_what_was_told_bit_by_bit_is_the_tree(searcher: Anytime, every: int | None) -> None:
    thinking, snapshot, deltas = await watched(searcher, every=every)
    nodes = together(deltas)
    assert list(nodes) == list(range(len(nodes)))
    beside = sum(len(line) for _, line in thinking.lines)
    failed = sum(step.outcome in (Outcome.DEAD, Outcome.REFUTED)
                 for node in all_nodes(thinking.tree) for step in node.steps)
    assert len(nodes) == size(thinking.tree) + failed + beside > 1
    told = {line_of(nodes, node): node for node in nodes.values() if node["kind"] == "thought" and "visits" in node}
    for node in all_nodes(thinking.tree):
        seen = told[node.state.thoughts]
        assert (seen["visits"], seen["solved"], seen["closed"]) == (node.visits, node.solved, node.closed)
        assert seen["q"] == pytest.approx(node.q, abs=1e-4) and seen["prior"] == pytest.approx(node.prior, abs=1e-4)
    assert {node["id"]: node for node in snapshot.everything()["nodes"]} == nodes


async def test_outcomes_and_answers_are_told() -> None:
    _, _, deltas = await watched(MCTS(), ("a", "bad", "wrong", "right"), depth=2, tokens=1000)
    nodes = list(together(deltas).values())
    assert {node["outcome"] for node in nodes} >= {"open", "dead", "refuted", "proved"}
    assert all(node["answer"] == node["text"] for node in nodes if node["outcome"] in ("refuted", "proved"))
    answers = [answer for delta in deltas for answer in delta["answers"]]
    assert answers[-1]["verified"] and answers[-1]["text"] == "right" and answers[-1]["confidence"] == 1.0
    assert nodes[0]["solved"] and deltas[-1]["spent"]["tokens"] > 0


@pytest.mark.parametrize("searcher", [BestOfN(), SelfConsistency()])
async def test_chains_are_lines_below_the_problem(searcher: Anytime) -> None:
    _, _, deltas = await watched(searcher, tokens=200)
    nodes = together(deltas)
    assert {node["kind"] for node in nodes.values()} == {"thought", "greedy", "chain"}
    assert nodes[1]["kind"] == "greedy" and sum(node["parent"] == 0 for node in nodes.values()) > 3


async def test_a_look_costs_the_same_however_large_the_tree_is() -> None:
    thinking, _, _ = await watched(TotBFS(k=4, width=64), ("a", "b", "c", "d"), depth=6, tokens=6000)
    assert size(thinking.tree) > 1000
    late = Snapshot(thinking, [])
    sizes = [len(late.delta(50)["nodes"]) for _ in range(200)]
    assert max(sizes) <= 50 * 4 + len(thinking.first_line) and sum(sizes) >= size(thinking.tree)
    looks = 0
    for _ in late._looks(False):
        looks += 1
    assert looks == 1  # nothing has landed since: the root alone is looked at


async def test_hostile_texts_and_numbers_become_json() -> None:
    texts = ("</script><script>", "\ud800", "x" * 100_000, "\u2028\u202e")
    _, snapshot, _ = await watched(MCTS(), texts, depth=2)
    told = json.loads(json.dumps(snapshot.everything(), allow_nan=False))
    [long] = {node["length"] for node in told["nodes"] if "length" in node}
    assert long == 100_000 and max(len(node["text"]) for node in told["nodes"]) == MOST_TEXT
    assert module.number(float("-inf")) is None and module.number(float("nan")) is None


async def test_there_is_an_end_to_what_a_page_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NODES", 20)
    for searcher in (MCTS(), BestOfN()):
        _, snapshot, deltas = await watched(searcher)
        assert len(together(deltas)) == 20 and deltas[-1]["full"] and snapshot.everything()["full"]


async def test_a_search_that_forgets_is_refused() -> None:
    thinking = Thinking(PROBLEM, Saying(["a"]), Deep(), Budget(tokens=10).start(), 0)
    with pytest.raises(ValueError, match="remember"):
        Snapshot(thinking, [])
