"""A line is made to go on while there is budget, and to answer when there is none."""

from __future__ import annotations

import pytest

from policy.base import Sampling
from policy.budget import Budget
from policy.scripted import Scripted, evenly
from tests.search.riddles import SECRET, FakeClock, RiddleJudge, Script, searcher, solve

ENDLESS: Script = {("t",) * depth: evenly("t") for depth in range(60)}


async def test_an_end_that_comes_too_early_is_replaced_by_the_word() -> None:
    script: Script = {
        (): evenly("a"), ("a",): evenly("=1"), ("a", "Wait"): evenly("b"), ("a", "Wait", "b"): evenly("=2"),
        ("a", "Wait", "b", "Wait"): evenly(f"={SECRET}"),
    }  # fmt: skip
    found = await solve("budget_forcing", script, "400tok")
    assert [answer.text for answer in found] == ["1", SECRET]  # a refuted answer does not replace another
    assert found[-1].thoughts == ("a", "Wait", "b", "Wait", f"={SECRET}") and found[-1].verified
    assert found[-1].tokens == 2 + 3 + 2 + 3 + 4  # the words are not charged


async def test_the_latest_answer_of_a_line_is_its_vote() -> None:
    script: Script = {(): evenly("=1"), ("Wait",): evenly("=1"), ("Wait", "Wait"): evenly("=2")}
    found = await solve("budget_forcing", script, "3sims", judge=RiddleJudge(False))
    assert (found[0].text, found[-1].text) == ("1", "2")  # it was 1 twice
    alone = await solve("budget_forcing", script, "3sims", judge=RiddleJudge(False), extensions=1)
    assert alone[-1].text == "1"


async def test_what_is_before_the_mark_stays_and_what_follows_it_goes() -> None:
    script: Script = {
        (): evenly("hm"), ("hm",): evenly("so it is 1 </think>"), ("hm", "so it is 1 </think>"): evenly("=1"),
        ("hm", "so it is 1", "Wait"): evenly(f"={SECRET}"),
    }  # fmt: skip
    found = await solve("budget_forcing", script, "400tok", policy=Scripted(script, max_thought_tokens=32))
    assert found[-1].verified and found[-1].thoughts == ("hm", "so it is 1", "Wait", f"={SECRET}")


async def test_a_text_that_ends_without_an_answer_goes_on_too() -> None:
    script: Script = {(): evenly("a"), ("a",): evenly("stop\x04"), ("a", "Wait"): evenly(f"={SECRET}")}
    found = await solve("budget_forcing", script, "400tok")
    assert [answer.text for answer in found] == [SECRET]


@pytest.mark.parametrize(("end", "text"), [("</think>", "7"), ("", None)])
async def test_an_answer_is_forced_while_the_tokens_hold_one(end: str, text: str | None) -> None:
    script = ENDLESS | {(*("t",) * depth, "</think>"): evenly("The answer:") for depth in range(60)}
    script |= {(*("t",) * depth, "</think>", "The answer:"): evenly("=7") for depth in range(60)}
    meter = Budget(tokens=80).start()
    found = await solve("budget_forcing", script, judge=RiddleJudge(False), meter=meter, end=end)
    assert {answer.text for answer in found} == ({text} if text else set()) and meter.tokens <= 80
    if text:
        assert found[0].thoughts[:-3] == ("t",) * (len(found[0].thoughts) - 3) and len(found[0].thoughts) > 15


async def test_an_answer_is_forced_while_there_is_time_for_one() -> None:
    clock = FakeClock()
    script = ENDLESS | {(*("t",) * depth, "</think>"): evenly("=7") for depth in range(60)}
    meter = Budget(seconds=1.0).start(clock)
    policy = Scripted(script, tick=clock.tick)
    judge = RiddleJudge(False)
    found = await solve("budget_forcing", script, policy=policy, judge=judge, meter=meter, answer_share=0.3)
    assert found[0].text == "7" and 0.7 < found[0].seconds <= 0.8
    assert policy.calls[-1].sampling is Sampling.GREEDY or found[0].thoughts.count("t") >= 30


async def test_a_line_that_is_over_makes_room_for_another() -> None:
    script: Script = {(): [("a", -0.1, None), ("b", -3.0, None)], ("a",): evenly("=1"), ("b",): evenly(f"={SECRET}")}
    found = await solve("budget_forcing", script, "400tok")  # nothing is known of what follows the word
    assert found[-1].verified and found[-1].thoughts == ("b", f"={SECRET}")


async def test_a_line_is_extended_no_more_than_told() -> None:
    script: Script = {("Wait",) * depth: evenly(f"={depth}") for depth in range(60)}
    policy = Scripted(script)
    await solve("budget_forcing", script, "9sims", policy=policy, judge=RiddleJudge(False), extensions=2)
    assert [len(call.state.thoughts) for call in policy.calls] == [0, 1, 2] * 3


@pytest.mark.parametrize(("option", "value"), [
    ("word", " "), ("word", "a\nb"), ("answer_thoughts", 0), ("answer_share", 2), ("extensions", 0)])  # fmt: skip
def test_what_cannot_be_is_refused(option: str, value: object) -> None:
    with pytest.raises(Exception, match=option):
        searcher("budget_forcing", **{option: value})
