"""What travels to the workers of self-play: plain configs, of which each makes its own policy and player."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from commands.compose import load_domain, load_policy, load_searcher
from policy.base import Policy
from policy.budget import Budget
from selfplay.player import Player


@dataclass(frozen=True)
class ConfigFactory:
    """See selfplay.pool.Factory.

    Attributes:
        policy_config, search, tools, generator, values: JSON texts of the constructors' configs; that of nothing is
            empty.
        domains: likewise, by the names that problems carry.
        budget, match_budget: of each search, and of each search in a match.
        lines, concurrent, states: see selfplay.player.Player.
    """

    policy_config: str
    search: str
    tools: str
    domains: Mapping[str, str]
    budget: str
    match_budget: str
    lines: int
    concurrent: int
    states: int
    generator: str = "{}"
    values: str = "{}"

    def policy(self) -> Policy:
        """Raises BadPolicy."""
        any_domain = load_domain(json.loads(next(iter(self.domains.values()))))  # only policies of rules ask for it
        return load_policy(json.loads(self.policy_config), any_domain, json.loads(self.tools),
                           generator=json.loads(self.generator), values=json.loads(self.values))

    def player(self, policy: Policy) -> Player:
        domains = {name: load_domain(json.loads(config)) for name, config in self.domains.items()}
        return Player(domains, policy, load_searcher(json.loads(self.search)), Budget.parse(self.budget),
                      match_budget=Budget.parse(self.match_budget), lines=self.lines, concurrent=self.concurrent,
                      states=self.states)
