"""Budgets are read or refused in one line; meters never let a search spend what it was not given."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.budget import UNLIMITED_TOKENS, BadBudget, Budget


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("10s", Budget(seconds=10)),
        ("2m", Budget(seconds=120)),
        ("500ms", Budget(seconds=0.5)),
        ("1h", Budget(seconds=3600)),
        ("0.2s", Budget(seconds=0.2)),
        ("5500tok", Budget(tokens=5500)),
        ("200sims", Budget(simulations=200)),
        (" 10s + 5500 tok ", Budget(seconds=10, tokens=5500)),
        ("1s+2tok+3sims", Budget(1, 2, 3)),
    ],
)
def test_texts(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


BAD = [
    "", "0", "0s", "-1", "-1s", "abc", "10", 10, 1.5, "10 s 5 tok", "10s+", "10s+20s", "1s+1m", "1.5tok", "1.5sims",
    "0tok", "0.0s", "infs", "nans", "1e3s", "٣s", "10S", "9999999999999s", "1_000tok", "+10s",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_bad_texts_get_one_clear_line(text: str | float) -> None:
    with pytest.raises(BadBudget) as error:
        Budget.parse(text)
    assert "\n" not in str(error.value) and "5500tok" in str(error.value) and len(str(error.value)) < 200


def test_a_long_bad_text_is_cut() -> None:
    with pytest.raises(BadBudget) as error:
        Budget.parse("x" * 1_000_000)
    assert len(str(error.value)) < 200


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        budget = Budget.parse(text)
    except BadBudget:
        return
    assert (budget.seconds or 1) > 0 and (budget.tokens or 1) > 0 and (budget.simulations or 1) > 0


@given(st.integers(0, 10**12 - 1), st.integers(0, 10**6 - 1), st.sampled_from(["ms", "s", "m", "h"]))
def test_what_was_read_can_be_written_and_read_back(whole: int, millionths: int, unit: str) -> None:
    try:
        budget = Budget.parse(f"{whole}.{millionths:06}{unit}")
    except BadBudget:
        return
    assert Budget.parse(str(budget)) == budget


@settings(max_examples=50, deadline=None)
@given(
    st.one_of(st.none(), st.integers(1, 10**5)), st.one_of(st.none(), st.integers(1, 10**9)),
    st.one_of(st.none(), st.integers(1, 10**9)),
)  # fmt: skip
def test_texts_round_trip(seconds: int | None, tokens: int | None, simulations: int | None) -> None:
    if (seconds, tokens, simulations) != (None, None, None):
        budget = Budget(seconds, tokens, simulations)
        assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize("limits", [{}, {"seconds": 0}, {"tokens": -1}, {"seconds": float("inf")}, {"simulations": 0}])
def test_bad_limits(limits: dict[str, float]) -> None:
    with pytest.raises(BadBudget):
        Budget(**limits)  # type: ignore[arg-type]


def test_seconds_run_on_the_clock_handed_in() -> None:
    clock = FakeClock()
    meter = Budget(seconds=2.0).start(clock)
    clock.now += 1.5
    assert (meter.seconds, meter.seconds_left, meter.expired) == (1.5, 0.5, False)
    clock.now += 0.5
    assert meter.expired and meter.exhausted
    assert meter.tokens_left == UNLIMITED_TOKENS and meter.simulations_left == float("inf")


def test_tokens_are_reserved_then_settled() -> None:
    meter = Budget(tokens=100).start()
    assert meter.reserve(60) and not meter.reserve(41) and meter.reserve(40)
    assert meter.tokens_left == 0 and meter.tokens == 0 and meter.exhausted and not meter.expired
    meter.settle(60, 10)
    assert meter.tokens == 10 and meter.tokens_left == 50
    meter.settle(40, 40)
    assert meter.tokens == 50 and meter.tokens_left == 50


@pytest.mark.parametrize("used", [-1, 11])
def test_no_more_is_settled_than_was_reserved(used: int) -> None:
    meter = Budget(tokens=100).start()
    assert meter.reserve(10)
    with pytest.raises(ValueError, match="reserved"):
        meter.settle(10, used)


def test_simulations() -> None:
    meter = Budget(simulations=2).start()
    meter.count_simulation()
    assert meter.simulations_left == 1 and not meter.exhausted
    meter.count_simulation()
    assert meter.exhausted and not meter.expired


def test_cancelling_ends_at_once_but_not_the_parent() -> None:
    parent = Budget(tokens=10).start()
    child = Budget(tokens=5).start(parent=parent)
    child.cancel()
    assert child.expired and not parent.expired
    other = Budget(tokens=5).start(parent=parent)
    parent.cancel()
    assert other.expired and other.exhausted


def test_a_child_spends_from_its_parent() -> None:
    clock = FakeClock()
    parent = Budget(seconds=1, tokens=10, simulations=3).start(clock)
    child = Budget(seconds=5, tokens=8, simulations=9).start(clock, parent)
    assert (child.seconds_left, child.tokens_left, child.simulations_left) == (1.0, 8, 3)
    assert child.reserve(6) and parent.tokens_left == 4
    sibling = Budget(tokens=8).start(clock, parent)
    assert not sibling.reserve(5) and sibling.reserve(4)
    child.settle(6, 2)
    child.count_simulation()
    assert (parent.tokens, parent.simulations, parent.tokens_left, sibling.tokens) == (2, 1, 4, 0)
    clock.now += 1
    assert child.expired and sibling.expired


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), max_size=30), st.integers(1, 200))
def test_what_is_spent_never_exceeds_the_budget(requests: list[tuple[int, float]], tokens: int) -> None:
    meter = Budget(tokens=tokens).start()
    held = [(size, int(size * share)) for size, share in requests if meter.reserve(size)]
    assert sum(size for size, _ in held) <= tokens
    for size, used in held:
        meter.settle(size, used)
    assert meter.tokens == sum(used for _, used in held) and meter.tokens_left == tokens - meter.tokens
