"""Every experiment of conf/experiment is a run of `improve` that could begin."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from commands.compose import load_domain, load_searcher, make
from policy.budget import Budget
from selfplay.settings import Settings

CONF = Path(__file__).resolve().parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_is_a_whole_configuration(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        cfg = compose("improve", overrides=[f"+experiment={name}"])
    assert isinstance(make("selfplay", cfg.selfplay), Settings)
    for part in ("curriculum", "proposals", "replay", "objective", "training"):
        make(part, cfg[part])
    load_searcher(cfg.search)
    assert Budget.parse(cfg.budget).tokens
    domain = load_domain(cfg.domain)
    if cfg.curves.of != "none":
        assert next(iter(domain.problems(cfg.curves.split, 0)))
    assert name in ("smoke", domain.name)  # an experiment is named after what it improves


def test_a_run_draws_every_champion_unless_it_says_otherwise() -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        assert compose("improve").curves.of == "all"
