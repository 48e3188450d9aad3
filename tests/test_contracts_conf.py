"""Every YAML of every group makes what its group promises, and refuses an option that is misspelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from commands.compose import close, load_domain, load_policy, load_searcher, make
from commands.errors import BadInput
from commands.launch import command_names
from policy.base import Policy
from policy.tools import Tool, Tooled
from search.base import Searcher
from tests.samples.domains import filled
from verifiers.base import Domain, Judge

CONF = Path(__file__).resolve().parent.parent / "conf"
GROUPS = ("domain", "search", "policy", "tools")


def configs(group: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in sorted((CONF / group).glob("*.yaml"))]


def read(path: Path) -> Any:
    config = OmegaConf.load(path)
    OmegaConf.set_struct(config, True)
    return config


@pytest.fixture(scope="module")
def domain() -> Domain:
    return load_domain(read(CONF / "domain" / "game24.yaml"))


def test_the_groups_are_complete():
    names = {group: {path.stem for path in (CONF / group).glob("*.yaml")} for group in GROUPS}
    assert {"game24", "countdown", "countdown6", "arithmetic", "equations"} <= names["domain"]
    searchers = {"greedy", "self_consistency", "best_of_n", "beam", "tot_bfs", "tot_dfs", "mcts", "levin"}
    assert searchers <= names["search"]
    assert {"gsm8k", "math", "humaneval", "mbpp", "reasoning_gym", "custom"} <= names["domain"]
    assert {"shipped", "transformer", "uniform"} <= names["policy"]
    assert names["tools"] == {"none", "calculator", "python"}
    assert {"solve", "evaluate", "plot", "compare", "pretrain"} <= set(command_names())


@pytest.mark.parametrize("path", configs("domain"))
def test_every_domain(path: Path):
    config = filled(path.stem, read(path))
    made = load_domain(config)
    assert isinstance(made, Domain) and isinstance(made.judge(), Judge) and made.name == path.stem
    assert next(iter(made.problems("test", 0))).domain == made.name
    with pytest.raises(BadInput, match="misspelled"):
        load_domain({**config, "misspelled": 1})


@pytest.mark.parametrize("path", configs("search"))
def test_every_searcher(path: Path):
    assert isinstance(load_searcher(read(path)), Searcher)
    with pytest.raises(BadInput, match="misspelled"):
        load_searcher({**read(path), "misspelled": 1})


@pytest.mark.parametrize("path", configs("policy"))
def test_every_policy(path: Path, domain: Domain):
    config = read(path)
    if any(OmegaConf.is_missing(config, key) for key in config if key != "domain"):
        pytest.skip("names no weights of its own: a person gives them")
    made = load_policy(config, domain)
    assert isinstance(made, Policy) and made.version and made.max_thought_tokens > 1
    close(made)
    with pytest.raises(BadInput, match="misspelled"):
        load_policy({**OmegaConf.to_container(config), "misspelled": 1}, domain)


@pytest.mark.parametrize("path", configs("tools"))
def test_every_tool(path: Path, domain: Domain):
    config = read(path)
    uniform = read(CONF / "policy" / "uniform.yaml")
    if not config:
        assert not isinstance(load_policy(uniform, domain, config), Tooled)
        return
    made = make("tools", config)
    assert isinstance(made, Tool) and made.version == path.stem and made.max_chars > 0
    policy = load_policy(uniform, domain, config)
    assert isinstance(policy, Tooled) and policy.version == f"uniform+{path.stem}"
    assert policy.max_thought_tokens == uniform.max_thought_tokens + made.max_chars
    with pytest.raises(BadInput, match="misspelled"):
        load_policy(uniform, domain, {**config, "misspelled": 1})
