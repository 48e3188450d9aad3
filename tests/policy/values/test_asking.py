"""A policy asked for its opinion of thoughts, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.base import BadPolicy, Policy, Sampling, Thought
from policy.budget import Budget, Meter
from policy.scripted import Scripted, evenly
from policy.values.asking import Asking
from search.tot_bfs import TotBFS
from tests.search.riddles import SECRET, RiddleJudge, answers, riddle
from verifiers.base import Problem, State

WORDS = {"sure": 0.9, "likely": 0.5, "impossible": 0.0}


class Opinionated:
    """Thinks by a script, and says of a line of thought what `opinions` holds for its last thought."""

    version, max_thought_tokens = "opinionated", 32

    def __init__(self, thinks: Scripted, opinions: dict[str, list[str]]) -> None:
        self._thinks, self._opinions = thinks, opinions
        self.asked: list[str] = []

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        if not state.problem.prompt.startswith("Judge"):
            return await self._thinks.propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)
        assert sampling is Sampling.INDEPENDENT and k == 1 and state.problem.reference is None
        self.asked.append(state.problem.prompt)
        lines = self._opinions[state.problem.prompt.rsplit("|", 1)[1].split("\n")[-1]][first].split("\n")
        said = len(state.thoughts)
        return [Thought(lines[said], -1.0, len(lines[said]) + 1, last=said == len(lines) - 1)]


@pytest.fixture
def prompt(tmp_path: Path) -> str:
    path = tmp_path / "value.txt"
    path.write_text("Judge {x} {problem}|{thoughts}\n")
    return str(path)


async def valued(policy: Policy, sampling: Sampling = Sampling.DISTINCT) -> list[tuple[str, float | None, int]]:
    state = State(Problem("p", "riddle", "what?", {}, reference="never shown"))
    thoughts = await policy.propose(state, 9, sampling=sampling, seed=1, meter=Budget(tokens=999).start())
    return [(thought.text, thought.value, thought.tokens) for thought in thoughts]


async def test_words_become_numbers_and_every_token_is_charged(prompt: str) -> None:
    inner = Opinionated(Scripted({(): [("a{problem}", -1.0, 0.3), ("b", -2.0, 0.3), ("!\x1b", -3.0, 0.3)]}), {
        "a{problem}": ["sure", "Likely.", "likely? well\n\nso: **Sure**\nnever read"],
        "b": ["no idea", "impossible", "impossible to say"],
    })  # fmt: skip
    policy = Asking(inner, prompt, WORDS, samples=3, max_tokens=64)
    assert policy.max_thought_tokens == 32 + 3 * 64
    said = {text: (value, tokens) for text, value, tokens in await valued(policy)}
    third = 13 + 1 + 13  # its first line ends in no word of the table; what follows the verdict is not written
    assert said["a{problem}"] == (pytest.approx((0.9 + 0.5 + 0.9) / 3), 11 + 5 + 8 + third)
    assert said["b"] == (0.0, 2 + 8 + 11 + 18)  # what says no word does not count, and costs
    assert said["!"] == (None, 3)  # nobody is asked about a dead one
    assert inner.asked[0] == "Judge {x} what?|a{problem}"  # what a thought says is no place of the prompt


async def test_a_reply_goes_on_to_its_verdict_within_its_tokens(prompt: str) -> None:
    inner = Opinionated(Scripted({(): [("a", -1.0, None)]}), {"a": ["hm\n\nso\n- Sure!"]})
    assert await valued(Asking(inner, prompt, WORDS, samples=1, max_tokens=64)) == [("a", 0.9, 2 + 3 + 1 + 3 + 8)]
    assert await valued(Asking(inner, prompt, WORDS, samples=1, max_tokens=34)) == [("a", None, 2 + 3)]


async def test_chains_are_valued_where_told_so(prompt: str) -> None:
    inner = Opinionated(Scripted({(): [("a", -1.0, 0.3)]}), {"a": ["sure", "sure"]})
    for chains, expected in ((False, ("a", None, 2)), (True, ("a", 0.9, 12))):
        policy = Asking(inner, prompt, WORDS, samples=2, max_tokens=32, chains=chains)
        assert await valued(policy, Sampling.GREEDY) == [expected]


async def test_a_search_goes_where_the_policy_is_sure_and_keeps_to_its_tokens(prompt: str) -> None:
    script = {(): evenly("a", "b", "c")} | {(t,): evenly(f"={t}") for t in "ab"} | {("c",): evenly(f"={SECRET}")}
    opinions = {t: ["impossible"] for t in "ab"} | {"c": ["sure"]} | {f"={t}": ["likely"] for t in ("a", "b", SECRET)}
    for hope, dread, thought in (("sure", "impossible", "c"), ("impossible", "sure", "a")):
        inner = Opinionated(Scripted(script), opinions | {"c": [hope], "a": [dread]})
        policy = Asking(inner, prompt, WORDS, samples=1, max_tokens=32)
        meter = Budget(tokens=300).start()
        search = TotBFS(k=3, width=1, in_flight=1)
        found = await answers(search.search(riddle(), policy, RiddleJudge(thought == "c"), meter, 1))
        assert meter.tokens <= 300 and found[-1].thoughts[0] == thought
        assert found[-1].verified is (thought == "c")


@pytest.mark.parametrize(("options", "said"), [
    ({"words": {"two words": 0.5}}, "single words"), ({"words": {"sure": 2}}, "from 0 to 1"), ({"words": {}}, "empty"),
    ({"samples": 0}, "samples"), ({"max_tokens": 8}, "holds no thought; allowed: 32"),
    ({"prompt": "nowhere.txt"}, "cannot read the prompt"), ({"prompt": "conf/prompts/math.txt"}, "must have places"),
])  # fmt: skip
def test_what_cannot_be_is_refused(prompt: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(BadPolicy, match=said):
        Asking(Opinionated(Scripted({}), {}), **{"prompt": prompt, "words": WORDS, **options})  # type: ignore[arg-type]


def test_the_version_names_prompt_and_words(prompt: str) -> None:
    inner = Opinionated(Scripted({}), {})
    versions = {Asking(inner, prompt, WORDS).version, Asking(inner, prompt, {**WORDS, "sure": 1.0}).version,
                Asking(inner, "conf/prompts/value.txt", WORDS).version, Asking(inner, prompt, WORDS, samples=2).version}
    assert len(versions) == 4 and all(version.startswith("opinionated+asking-") for version in versions)
    assert Asking(inner, prompt, WORDS).version in versions
