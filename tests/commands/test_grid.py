"""Which evaluations a comparison takes."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from commands.errors import BadInput
from commands.grid import AXES, budgets, cells, currency, entries, nested
from commands.prices import Price, own_price, read_prices
from policy.budget import BadBudget, Budget


def texts(groups):
    return [(axis, [str(budget) for budget in group]) for axis, group in groups]


def test_policies_are_names_or_labels_with_options():
    longer = {"long": {"policy": "uniform", "max_thought_tokens": 90}}
    found = entries("policy", OmegaConf.create(["uniform", {"near": "uniform"}, longer]), "policies")
    assert [(entry.label, entry.name, entry.config["max_thought_tokens"]) for entry in found] == [
        ("uniform", "uniform", 48), ("near", "uniform", 48), ("long", "uniform", 90)]
    assert all(entry.control for entry in found)
    as_mapping = entries("policy", OmegaConf.create({"near": "uniform", "a.1": {"policy": "shipped"}}), "policies")
    assert [(entry.label, entry.name) for entry in as_mapping] == [("near", "uniform"), ("a.1", "shipped")]
    [greedy] = entries("search", "greedy", "searches")
    assert greedy.config["_target_"].startswith("search.") and not greedy.control


@pytest.mark.parametrize(("asked", "said"), [
    (["nobody"], "there is no policy 'nobody'; allowed:"),
    (["uniform", "uniform"], "names 'uniform' twice"),
    ([], "policies is empty"),
    ([3], "cannot hold '3'"),
    ([{"a/b": "uniform"}], "cannot hold 'a/b'"),
    ([{"..": "uniform"}], "cannot hold '..'"),
    ([{"mine": {"max_thought_tokens": 9}}], "policies.mine="),
    ([{"mine": 3}], "policies.mine='3' cannot be"),
    ([{"mine": {"policy": "uniform", "misspelled": 9}}], "policies.mine has no option 'misspelled'; those of uniform: "
                                                         "domain, max_thought_tokens"),
    (["transformer"], "policies.transformer.path is missing"),
])  # fmt: skip
def test_what_cannot_be_compared_is_refused(asked, said: str):
    with pytest.raises(BadInput) as refused:
        entries("policy", OmegaConf.create(asked), "policies")
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_budgets_of_a_currency_are_read_off_the_longest():
    asked = budgets(OmegaConf.create(["5s", "1000tok", "1s", "10s+5500tok", "200tok", "50sims", "20sims", "1000ms"]))
    assert [str(budget) for budget in asked] == [
        "5s", "1000tok", "1s", "10s+5500tok", "200tok", "50sims", "20sims"]  # fmt: skip
    assert texts(nested(asked, AXES)) == [
        ("tokens", ["200tok", "1000tok"]), ("seconds", ["1s", "5s"]), (None, ["10s+5500tok"]), (None, ["50sims"]),
        (None, ["20sims"])]  # fmt: skip
    assert texts(nested(asked, ["seconds"]))[:3] == [
        ("tokens", ["200tok"]), ("tokens", ["1000tok"]), ("seconds", ["1s", "5s"])]  # fmt: skip
    assert len(nested(asked, [])) == len(asked)
    assert [str(budget) for budget in budgets("300tok")] == ["300tok"]
    assert [currency(Budget.parse(text)) for text in ("1s", "9tok", "9sims", "1s+9tok", "9tok+9sims")] == [
        "seconds", "tokens", None, None, None]  # fmt: skip
    for bad in ([], [1], {"a": "1s"}):
        with pytest.raises(BadInput, match="budgets="):
            budgets(OmegaConf.create(bad))
    with pytest.raises(BadBudget):
        budgets(OmegaConf.create(["soon"]))


def test_a_cell_for_each_policy_searcher_and_currency():
    policies = entries("policy", OmegaConf.create(["shipped", "uniform"]), "policies")
    searches = entries("search", OmegaConf.create(["mcts", "greedy"]), "searches")
    found = cells(policies, searches, budgets(OmegaConf.create(["9s", "200tok", "100tok", "1s+9tok"])), AXES, None, 32)
    assert [(cell.number, cell.label, str(cell.budget), cell.concurrent) for cell in found][:4] == [
        (0, "shipped / mcts", "200tok", 32), (1, "shipped / mcts", "9s", 1), (2, "shipped / mcts", "1s+9tok", 1),
        (3, "shipped / greedy", "200tok", 32)]
    assert len(found) == 12 and len({cell.folder for cell in found}) == 12
    assert {cell.concurrent for cell in cells(policies, searches, budgets("9s"), AXES, 4, 32)} == {4}


def test_prices_are_of_tokens_and_hours():
    prices = read_prices(OmegaConf.create({"a": {"per_million_tokens": 2, "per_hour": 3.6}, "b": {"per_hour": 0}}),
                         ["a", "b", "c"])
    assert prices == {"a": Price(2.0, 3.6), "b": Price(0.0, 0.0)} and read_prices(None, []) == {}
    assert prices["a"].of(500_000, 10, None) == pytest.approx(1.0 + 0.01)  # half a million tokens, ten seconds
    both = read_prices(OmegaConf.create({"a": {"per_million_tokens": 8, "per_million_prompt_tokens": 2}}), ["a"])["a"]
    assert both.of(1000, 10, 4000) == pytest.approx((8 * 1000 + 2 * 4000) / 1e6) and both.of(1000, 10, None) is None
    assert own_price({"price_in": 2, "price_out": 8}) == both and own_price({"price_out": 8, "price_in": None}) is None
    for bad, said in (({"d": {"per_hour": 1}}, "the policies are a, b, c"), ({"a": 3}, "prices.a="), (3, "prices="),
                      ({"a": {}}, "prices.a="), ({"a": {"per_token": 1}}, "per_million_tokens"),
                      ({"a": {"per_hour": -1}}, "at least 0"), ({"a": {"per_hour": True}}, "dollars"),
                      ({"a": {"per_hour": float("nan")}}, "dollars")):
        with pytest.raises(BadInput) as refused:
            read_prices(OmegaConf.create(bad) if isinstance(bad, dict) else bad, ["a", "b", "c"])
        assert said in str(refused.value)
