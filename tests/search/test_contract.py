"""What every searcher promises, over every YAML in conf/search."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import FunctionType, MethodType, ModuleType

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from policy.base import Sampling, Thought
from policy.budget import Budget, Meter
from policy.scripted import Scripted, evenly
from policy.uniform import Uniform
from search.base import Answer, Searcher
from search.thinking import Thinking
from search.tree import Outcome, Step
from tests.samples.domains import CONF, filled, parameters
from tests.search.riddles import (
    REFERENCE,
    SEARCHERS,
    SECRET,
    THINKERS,
    TREES,
    FakeClock,
    RiddleJudge,
    answers,
    forest,
    grown,
    riddle,
    searcher,
    solve,
    visits,
)
from verifiers.base import Domain, Problem, State, derive_seed

every_searcher = pytest.mark.parametrize("name", SEARCHERS)
every_thinker = pytest.mark.parametrize("name", THINKERS)
every_tree = pytest.mark.parametrize("name", TREES)
every_domain = pytest.mark.parametrize("domain_yaml", parameters())


def reachable(thing: object, seen: set[int] | None = None) -> Iterator[object]:
    """All data an object holds: attributes, items, closures; not the code of modules and classes."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, type | ModuleType | Enum):
        return
    seen.add(id(thing))
    yield thing
    parts: list[object] = []
    if isinstance(thing, dict):
        parts += [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set | frozenset):
        parts += thing
    elif isinstance(thing, FunctionType):
        parts += [cell.cell_contents for cell in thing.__closure__ or ()]
    elif isinstance(thing, MethodType):
        parts += [thing.__self__, thing.__func__]
    parts += vars(thing).values() if hasattr(thing, "__dict__") else ()
    if is_dataclass(thing):
        parts += [getattr(thing, field.name) for field in fields(thing)]
    for part in parts:
        yield from reachable(part, seen)


def load_domain(path: Path) -> Domain:
    domain = instantiate(filled(path.stem, OmegaConf.load(path)))  # type: ignore[arg-type]
    assert isinstance(domain, Domain)
    return domain


class Spy(Scripted):
    """Keeps everything it was handed."""

    def __init__(self) -> None:
        super().__init__(forest(3, (1, 2)))
        self.handed: list[object] = []

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        assert state.problem.reference is None
        self.handed += [state, meter]
        return await super().propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)


@every_searcher
def test_is_a_searcher(name: str) -> None:
    assert isinstance(searcher(name), Searcher)


@every_searcher
async def test_a_reference_is_out_of_reach(name: str) -> None:
    spy, judge = Spy(), RiddleJudge()
    meter = Budget(tokens=300).start()
    await answers(searcher(name).search(riddle(), spy, judge, meter, 1))  # even if nobody sealed it
    assert judge.seen and spy.handed
    assert REFERENCE not in [thing for thing in reachable([spy.handed, judge, meter]) if isinstance(thing, str)]


@every_domain
def test_sealed_problems_and_judges_hold_no_reference_and_no_domain(domain_yaml: Path) -> None:
    domain = load_domain(domain_yaml)
    problem = Problem("id", domain.name, "prompt", {"numbers": [1, 2]}, reference=REFERENCE)
    assert REFERENCE in reachable(problem)
    assert REFERENCE not in [t for t in reachable(problem.sealed()) if isinstance(t, str)]
    for _, posed in zip(range(5), domain.problems("test", 0), strict=False):
        held = list(reachable([domain.judge(), posed.sealed()]))
        assert not any(isinstance(thing, Domain) for thing in held)
        assert posed.reference is None or posed.reference not in [t for t in held if isinstance(t, str)]


@every_thinker
@pytest.mark.parametrize("proves", [True, False])
async def test_the_first_answer_is_the_greedy_one(name: str, proves: bool) -> None:
    script = {(): [("a", -0.1, 0.4), ("b", -2.0, 0.9)], ("a",): evenly("=1"), ("b",): evenly(f"={SECRET}")}
    greedy = await solve("greedy", script, judge=RiddleJudge(proves))
    found = await solve(name, script, judge=RiddleJudge(proves))
    assert [answer.text for answer in greedy] == ["1"]
    assert (found[0].text, found[0].thoughts, found[0].tokens) == ("1", ("a", "=1"), greedy[0].tokens)
    assert found[0].verified is False and (found[0].confidence == 0.0) is proves


SOLUTIONS = [(2,), (1, 2), (2, 0, 1), (0, 2, 1, 2)]


@every_thinker
@pytest.mark.parametrize("valued", [True, False])
@pytest.mark.parametrize("solution", SOLUTIONS, ids=len)
async def test_known_solutions_are_found(name: str, solution: tuple[int, ...], valued: bool) -> None:
    for seed in range(3):
        found = await solve(name, forest(seed, solution, valued=valued), "20000tok")
        assert found[-1].verified and found[-1].text == SECRET and found[-1].confidence == 1.0
        assert len(found[-1].thoughts) == len(solution)


@every_tree
async def test_known_solutions_are_found_without_checking_thoughts(name: str) -> None:
    found = await solve(name, forest(5, (1, 2, 0)), check_thoughts=False)
    assert found[-1].verified


@every_searcher
@pytest.mark.parametrize("proves", [True, False])
async def test_a_proved_answer_ends_the_search_and_stands(name: str, proves: bool) -> None:
    script = {(): [(f"={SECRET}", -0.1, 0.1), ("=1", -3.0, 0.9), ("=2", -3.5, 0.8)]}
    found = await solve(name, script, "500tok", judge=RiddleJudge(proves))
    assert [answer.verified for answer in found].count(True) == proves
    if proves:
        assert found[-1].verified and len(found) == 1


def test_a_proved_answer_is_never_replaced() -> None:
    thinking = Thinking(riddle(), Scripted({}), RiddleJudge(), Budget(tokens=9).start(), 0)

    def step(text: str, outcome: Outcome) -> Step:
        return Step(Thought(text, -1.0, 2, 1.0), State(riddle(), (text,)), outcome, text)

    assert thinking.offer(step("r", Outcome.REFUTED), 0.9).confidence == 0.0  # type: ignore[union-attr]
    assert thinking.offer(step("f", Outcome.FINISHED), 0.9) is not None
    assert thinking.offer(step("r", Outcome.REFUTED), 0.9) is None
    assert thinking.offer(step("f", Outcome.FINISHED), 0.4) is not None  # the confidence may fall
    assert thinking.offer(step("p", Outcome.PROVED), 0.1).verified  # type: ignore[union-attr]
    assert thinking.offer(step("f", Outcome.FINISHED), 1.0) is None
    assert thinking.offer(step("q", Outcome.PROVED), 1.0) is None
    assert thinking.standing is not None and thinking.standing.text == "p"


@every_searcher
@settings(max_examples=20, deadline=None)
@given(tokens=st.integers(1, 400), seed=st.integers(0, 5), proves=st.booleans())
def test_a_token_budget_is_never_exceeded(name: str, tokens: int, seed: int, proves: bool) -> None:
    parent = Budget(tokens=tokens + 7).start()
    meter = Budget(tokens=tokens).start(parent=parent)
    found = asyncio.run(solve(name, forest(seed, None), judge=RiddleJudge(proves), meter=meter))
    assert meter.tokens <= tokens and all(answer.tokens <= tokens for answer in found)
    assert meter.tokens_left == tokens - meter.tokens, "a reservation was not given back"
    assert parent.tokens == meter.tokens


@every_searcher
@pytest.mark.parametrize("simulations", [1, 2, 7, 20])
async def test_a_simulation_budget_is_never_exceeded(name: str, simulations: int) -> None:
    meter = Budget(simulations=simulations).start()
    await solve(name, forest(1, None, branching=5), meter=meter)
    assert meter.simulations <= simulations
    if name not in ("greedy", *TREES):
        assert meter.simulations == simulations


@every_searcher
async def test_searches_that_share_simulations_keep_to_them_together(name: str) -> None:
    parent = Budget(simulations=30).start()
    meters = [Budget(simulations=30).start(parent=parent) for _ in range(20)]
    await asyncio.gather(*(solve(name, forest(i, None, branching=5), judge=RiddleJudge(proves=False), meter=meter)
                           for i, meter in enumerate(meters)))
    assert parent.simulations <= 30 and parent.simulations == sum(meter.simulations for meter in meters)


@every_searcher
@pytest.mark.parametrize("seconds", [0.05, 0.3, 1.0])
async def test_a_deadline_is_kept(name: str, seconds: float) -> None:
    clock = FakeClock()
    script = forest(2, None, branching=6)
    policy = Scripted(script, tick=clock.tick)
    meter = Budget(seconds=seconds).start(clock)
    found = await solve(name, script, judge=RiddleJudge(proves=False), policy=policy, meter=meter)
    assert meter.seconds <= seconds + 0.01 + 1e-9, "more than one token late"
    assert all(answer.seconds <= seconds + 0.01 + 1e-9 for answer in found)


@every_searcher
async def test_the_same_seed_gives_the_same_answers(name: str) -> None:
    domain = load_domain(CONF / "countdown.yaml")
    problem = domain.parse("4 9 10 13 -> 24")
    assert problem is not None

    async def run() -> list[Answer]:
        meter = Budget(tokens=700).start(lambda: 0.0)
        return await answers(searcher(name).search(problem.sealed(), Uniform(domain), domain.judge(), meter, 5))

    assert await run() == await run()


@every_searcher
@pytest.mark.parametrize("budget", ["300tok", "30sims", "900tok"])
async def test_the_order_in_which_requests_finish_changes_nothing(name: str, budget: str) -> None:
    outcomes = []
    for shuffle in range(4):
        script = forest(7, (3, 2, 1, 3, 0), branching=4)  # more than the budgets can exhaust

        def pauses(state: State, first: int, shuffle: int = shuffle) -> int:
            return derive_seed(shuffle, *state.thoughts, first) % 20 if shuffle else 0

        thinking = await grown(
            name, script, budget, policy=Scripted(script, pauses=pauses), proves=False,
            **({"ramp": 1} if name in ("mcts", "levin") else {}),
        )
        standing = thinking.standing
        outcomes.append((visits(thinking.tree), thinking.meter.tokens, standing and (standing.text, standing.thoughts)))
    assert all(outcome == outcomes[0] for outcome in outcomes)


@every_tree
async def test_a_dead_tree_is_exhausted_before_the_budget(name: str) -> None:
    script = {(): evenly("a", "!x", "b"), ("a",): evenly("=1", "c\x1b"), ("b",): evenly("!y", "=2")}
    thinking = await grown(name, script, "100000tok")
    assert thinking.tree.closed and not thinking.tree.solved and not thinking.verified
    assert thinking.meter.tokens < 200


@every_searcher
async def test_a_policy_with_nothing_to_say(name: str) -> None:
    assert await solve(name, {}, "50tok+20sims") == []
    assert await solve(name, {}, "50tok") == []


@every_searcher
async def test_blank_and_endless_lines_die(name: str) -> None:
    assert await solve(name, {(): evenly("", "  ")}, "100tok") == []
    endless = {("a",) * depth: evenly("a") for depth in range(50)}
    assert await solve(name, endless, "900tok", max_depth=5) == []


@every_thinker
async def test_a_closed_search_gives_its_reservations_back(name: str) -> None:
    meter = Budget(tokens=2000).start()
    search = searcher(name).search(riddle(), Scripted(forest(4, None, branching=6)), RiddleJudge(False), meter, 1)
    async for _ in search:
        break
    await search.aclose()
    assert meter.tokens_left == 2000 - meter.tokens
    assert asyncio.all_tasks() == {asyncio.current_task()}


@every_thinker
async def test_the_event_loop_stays_free(name: str) -> None:
    beats = 0

    async def heart() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    beating = asyncio.create_task(heart())
    policy = Scripted(forest(4, None, branching=6))
    await solve(name, {}, "1500tok", policy=policy, judge=RiddleJudge(False))
    beating.cancel()
    assert beats >= len(policy.calls) / 16


@pytest.mark.parametrize("name", ["self_consistency", "mcts", "levin", "beam", "tot_bfs", "tot_dfs"])
@pytest.mark.parametrize("value", [None, 0.5])
async def test_where_nothing_can_be_proved_agreement_decides(name: str, value: float | None) -> None:
    likely = np.log([0.4, 0.3, 0.3])
    starts = [(text, float(p), value) for text, p in zip("abc", likely, strict=True)]
    script = {(): starts} | {(s,): evenly(e, value=value) for s, e in zip("abc", ("=1", "=2", "=2"), strict=True)}
    found = await solve(name, script, "1000tok", judge=RiddleJudge(False))
    assert found[0].text == "1" and found[-1].text == "2"
    assert not any(answer.verified for answer in found) and 0 < found[-1].confidence < 1


async def test_best_of_n_prefers_value() -> None:
    starts = [("a", -0.1, 0.5), ("b", -2.4, 0.5)]
    script = {(): starts, ("a",): evenly("=1", value=0.2), ("b",): evenly("=2", value=0.7)}
    found = await solve("best_of_n", script, "400tok", judge=RiddleJudge(False))
    assert [(answer.text, answer.confidence) for answer in found] == [("1", 0.2), ("2", 0.7)]
