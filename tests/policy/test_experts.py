"""An expert for each domain, and one policy for the rest."""

from __future__ import annotations

import pytest

from policy.base import Policy, Sampling
from policy.budget import Budget
from policy.experts import Experts
from policy.scripted import Scripted, evenly
from verifiers.base import Problem, State


def saying(text: str) -> Scripted:
    policy = Scripted({(): evenly(text)}, max_thought_tokens=len(text) + 2)
    policy.version = text
    return policy


async def said(policy: Policy, domain: str) -> str:
    state = State(Problem("id", domain, "prompt", {}))
    [thought] = await policy.propose(state, 1, sampling=Sampling.GREEDY, seed=0, meter=Budget(tokens=99).start())
    return thought.text


async def test_the_problem_decides_who_thinks() -> None:
    policy = Experts(saying("rest"), {"sums": saying("sums expert"), "words": saying("words")})
    assert isinstance(policy, Policy)
    assert [await said(policy, domain) for domain in ("sums", "words", "other")] == ["sums expert", "words", "rest"]
    assert policy.max_thought_tokens == len("sums expert") + 2


def test_its_version_names_everybody() -> None:
    versions = [Experts(saying(default), {name: saying(text)}).version for default, name, text in (
        ("a", "sums", "b"), ("a", "words", "b"), ("a", "sums", "c"), ("b", "sums", "b"))]
    assert len(set(versions)) == 4
    one, other = saying("x"), saying("y")
    assert Experts(one, {"p": one, "q": other}).version == Experts(one, {"q": other, "p": one}).version


async def test_an_absent_expert_has_a_name_and_nobody_stands_in_for_it() -> None:
    rest, sums, words = saying("rest"), saying("sums"), saying("words")
    policy = Experts(rest, {"words": words}, {"sums": sums.version})
    assert policy.version == Experts(rest, {"sums": sums, "words": words}).version != Experts(rest, {}).version
    assert [await said(policy, domain) for domain in ("words", "other")] == ["words", "rest"]
    with pytest.raises(LookupError, match="expert for sums is not loaded"):
        await said(policy, "sums")


def test_everybody_is_closed() -> None:
    closed = []

    class Closing(Scripted):
        def close(self) -> None:
            closed.append(self)

    Experts(Closing({}), {"a": Closing({}), "b": saying("no close")}).close()
    assert len(closed) == 2
