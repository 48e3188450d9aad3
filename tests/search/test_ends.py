"""A policy that ends its text, and not only a line, tells the judge so."""

from __future__ import annotations

import pytest

from tests.search.riddles import SEARCHERS, RiddleJudge, Script, grown, solve
from verifiers.base import State

END = "\x04"  # how a script ends its text


class Patient(RiddleJudge):
    """Takes any line for the answer, once the text has ended."""

    async def answer(self, state: State) -> str | None:
        return "/".join(state.thoughts).rstrip("/") if state.ended and len(state.thoughts) > 1 else None


@pytest.mark.parametrize("name", SEARCHERS)
@pytest.mark.parametrize("end", [f"b{END}", f"{END}"], ids=["in a line", "after a line"])
async def test_a_text_that_has_ended_is_finished(name: str, end: str) -> None:
    script: Script = {(): [("a", 0.0, None)], ("a",): [(end, -0.1, None), ("", -9.0, None), ("c", -9.0, None)]}
    found = await solve(name, script, "200tok", judge=Patient(False))
    assert found[-1].text == ("a/b" if end[0] == "b" else "a")


async def test_a_blank_line_is_nothing_and_an_end_without_an_answer_leads_nowhere() -> None:
    thinking = await grown("mcts", {(): [("", 0.0, None), (END, -1.0, None), (f"a{END}", -2.0, None)]}, "60tok")
    assert [child.state.thoughts for child in thinking.tree.children] == [("a",)]
