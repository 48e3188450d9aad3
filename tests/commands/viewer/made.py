"""Searches and pages for the tests of the viewer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from commands.viewer.snapshot import Snapshot
from policy.base import Sampling, Thought
from policy.budget import Budget, Meter
from search.anytime import Anytime
from search.base import Answer
from search.thinking import Thinking
from verifiers.base import Evidence, Problem, State, Verdict, correct, wrong

PROBLEM = Problem("id", "made", "think of anything", {})


class Saying:
    """Proposes given texts, again and again, after every line."""

    version = "saying"
    max_thought_tokens = 2

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        await asyncio.sleep(0)
        if sampling is Sampling.DISTINCT:
            return [Thought(text, -float(i), 2, 0.5) for i, text in enumerate(self.texts)][first : first + k]
        return [Thought(self.texts[(first + len(state.thoughts)) % len(self.texts)], -1.0, 2, 0.5)]


class Deep:
    """A line of `depth` thoughts is finished: `wrong` at its end is refuted, `right` proved. `bad` is dead."""

    def __init__(self, depth: int = 3) -> None:
        self.depth = depth

    async def answer(self, state: State) -> str | None:
        return state.thoughts[-1] if len(state.thoughts) >= self.depth else None

    async def check_thought(self, state: State, thought: str) -> Verdict:
        return wrong("bad") if thought == "bad" else correct()

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        if answer == "right":
            return correct(Evidence.PROVED)
        return wrong("no") if answer == "wrong" else None


async def watched(
    searcher: Anytime, texts: Sequence[str] = ("a", "bad", "b", "wrong"), depth: int = 3, tokens: int = 400,
    every: int | None = None,
) -> tuple[Thinking, Snapshot, list[dict[str, Any]]]:  # fmt: skip
    """A search that is over, its snapshot, and the deltas that were taken meanwhile, each of at most `every` looks."""
    answers: list[Answer] = []
    deltas: list[dict[str, Any]] = []
    meter = Budget(tokens=tokens).start()
    async with searcher.begin(PROBLEM, Saying(texts), Deep(depth), meter, 0, remember=True) as thinking:
        snapshot = Snapshot(thinking, answers)

        async def look() -> None:
            while True:
                await asyncio.sleep(0)
                deltas.append(snapshot.delta(every or 10**6))

        looking = asyncio.ensure_future(look())
        async for answer in searcher.run(thinking):
            answers.append(answer)
        looking.cancel()
    deltas.append(snapshot.last())
    return thinking, snapshot, deltas


def together(deltas: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The nodes that a page has after these deltas."""
    nodes: dict[int, dict[str, Any]] = {}
    for delta in deltas:
        for node in delta["nodes"]:
            assert node["id"] not in nodes and (node["parent"] is None or node["parent"] in nodes)
            nodes[node["id"]] = dict(node)
        for number, prior, value, q, visits, solved, closed in delta["changes"]:
            assert number in nodes
            nodes[number] |= {"prior": prior, "value": value, "q": q, "visits": visits, "solved": solved,
                              "closed": closed}
    return nodes


def wide(count: int, text: str = "thought") -> dict[str, Any]:
    """What a page is given of a made-up tree of so many nodes, ten children to a node."""
    outcomes = ("open", "open", "dead", "finished", "refuted")
    nodes: list[dict[str, Any]] = [{"id": 0, "parent": None, "kind": "thought", "text": "", "outcome": "open",
                                    "prior": 1.0, "value": None, "q": 0.5, "visits": count, "solved": False,
                                    "closed": False, "seen": 0.0}]
    for number in range(1, count):
        outcome = "open" if number * 10 < count else outcomes[number % 5]
        node = {"id": number, "parent": (number - 1) // 10, "kind": "thought", "text": f"{text} {number}",
                "outcome": outcome, "logprob": -1.5, "answer": str(number) if outcome == "finished" else None,
                "value": 0.25, "seen": round(10 * number / count, 4)}
        if outcome not in ("dead", "refuted"):
            node |= {"prior": 0.1, "q": (number % 97) / 97, "visits": 1 + count // number, "solved": False,
                     "closed": outcome == "finished"}
        nodes.append(node)
    answers = [{"text": "7", "confidence": 0.4, "verified": False, "seconds": 2.0, "tokens": 90, "simulations": 9,
                "thoughts": [f"{text} 1", f"{text} 11"]}]
    return {"nodes": nodes, "changes": [], "answers": answers, "full": False,
            "spent": {"seconds": 10.0, "tokens": 1000, "simulations": 100, "thoughts": count}}
