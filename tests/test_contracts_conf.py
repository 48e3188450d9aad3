"""Every YAML of every group makes what its group promises, and refuses an option that is misspelled."""

from __future__ import annotations

from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from commands.compose import close, load_domain, load_policy, load_searcher, make, wrapping
from commands.errors import BadInput
from commands.launch import command_names
from policy.base import Policy
from policy.tools import Tool, Tooled
from policy.uniform import Uniform
from search.base import Searcher
from selfplay.asymmetric import Proposals
from selfplay.curriculum import Curriculum
from selfplay.objectives import Objective
from selfplay.replay import Replay
from selfplay.settings import Settings
from selfplay.training import Training
from tests.samples.domains import filled, parameters
from verifiers.base import BadProblem, Domain, Judge

CONF = Path(__file__).resolve().parent.parent / "conf"
GROUPS = ("domain", "search", "policy", "tools", "objective", "training", "curriculum", "replay", "scalars",
          "selfplay", "proposals", "values", "generator")


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
    assert {"shipped", "transformer", "uniform", "openai"} <= names["policy"]
    assert names["tools"] == {"none", "calculator", "python"}
    assert names["values"] == {"none", "hidden", "asking", "agreement", "reward_model"}
    assert names["generator"] == {"sample", "propose"}
    assert {"revise", "budget_forcing"} <= names["search"]
    assert names["objective"] == {"expert_iteration", "rejection_sampling", "grpo", "dpo"}
    assert names["training"] == {"lora", "full"} and names["scalars"] == {"tensorboard", "mlflow", "wandb", "none"}
    assert names["selfplay"] == {"replica", "shared", "local"}
    assert {"solve", "evaluate", "plot", "compare", "pretrain", "improve", "report", "export"} <= set(command_names())


@pytest.mark.parametrize("path", parameters())
def test_every_domain(path: Path):
    config = filled(path.stem, read(path))
    made = load_domain(config)
    assert isinstance(made, Domain) and isinstance(made.judge(), Judge) and made.name == path.stem
    assert next(iter(made.problems("test", 0))).domain == made.name
    with pytest.raises(BadInput, match="misspelled"):
        load_domain({**config, "misspelled": 1})


def found_by(text: str) -> str:
    """The first domain of solve's allowlist that reads a text."""
    for name in OmegaConf.load(CONF / "solve.yaml").domains:
        try:
            if load_domain(read(CONF / "domain" / f"{name}.yaml")).parse(text) is not None:
                return str(name)
        except BadProblem:
            continue
    return ""


@pytest.mark.parametrize("name", ["arithmetic", "equations", "integrals", "programs"])
def test_a_domain_is_found_by_its_prompts(name: str):
    problems = load_domain(read(CONF / "domain" / f"{name}.yaml")).problems("test", 0)
    assert {found_by(problem.prompt) for problem in islice(problems, 15)} == {name}


@pytest.mark.parametrize(("text", "name"), [
    ("4 9 10 13", "game24"), ("1 2 3 4 5 6 -> 100", "countdown"), ("What is 17 * 24?", "arithmetic"),
    ("2x + 3 = 7", "equations"), ("2a+b=7 and a-b=2", "equations"), ("f(3)=7", "equations"), ("x(x-2)=0", "equations"),
    ("integrate 3x^2 + 2x", "integrals"), ("\\int \\frac{1}{x}\\,dx", "integrals"), ("int x = 3", ""),
    ("What is the integral of cos(2x)?", "integrals"), ("f(3)=7, f(5)=11, f(0)=1", "programs"),
    ("f(1,2)=3; f(2,2)=4", "programs"), ("f(3)=7; g(5)=11", "equations"),
])
def test_no_domain_takes_the_texts_of_another(text: str, name: str):
    assert found_by(text) == name


@pytest.mark.parametrize("path", configs("search"))
def test_every_searcher(path: Path):
    assert isinstance(load_searcher(read(path)), Searcher)
    with pytest.raises(BadInput, match="misspelled"):
        load_searcher({**read(path), "misspelled": 1})


@pytest.mark.parametrize("path", configs("policy"))
def test_every_policy(path: Path, domain: Domain):
    config = read(path)
    if any(OmegaConf.is_missing(config, key) for key in config if key != "domain"):
        pytest.skip("names no weights or server of its own: a person gives them")
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


@pytest.mark.parametrize(("group", "path"), [
    pytest.param(group, path, id=path.stem) for group in ("values", "generator")
    for path in sorted((CONF / group).glob("*.yaml"))])
def test_every_wrapper(group: str, path: Path, domain: Domain):
    config = read(path)
    uniform = read(CONF / "policy" / "uniform.yaml")
    if not config:
        assert type(load_policy(uniform, domain, **{group: config})) is Uniform
        return
    if any(OmegaConf.is_missing(config, key) for key in config):
        pytest.skip("names no weights of its own: a person gives them")
    policy = load_policy(uniform, domain, **{group: config})
    assert isinstance(policy, Policy) and policy.max_thought_tokens >= uniform.max_thought_tokens
    assert policy.version == "uniform" + wrapping(*(config if name == group else None
                                                    for name in ("tools", "generator", "values")))
    assert policy.version != "uniform"
    with pytest.raises(BadInput, match="misspelled"):
        load_policy(uniform, domain, **{group: {**config, "misspelled": 1}})


def composed(group: str, name: str) -> Any:
    """A YAML of a group of `improve`, with what it inherits."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("improve", overrides=[f"{group}={name}"])[group]


@pytest.mark.parametrize(("group", "kind"), [
    ("objective", Objective), ("training", Training), ("curriculum", Curriculum), ("replay", Replay),
    ("selfplay", Settings), ("proposals", Proposals),
])
def test_every_part_of_improve(group: str, kind: type) -> None:
    for path in sorted((CONF / group).glob("*.yaml")):
        config = OmegaConf.to_container(composed(group, path.stem))
        made = make(group, config)
        if kind is Objective:
            assert made.name == path.stem and made.teach and made.loss
        else:
            assert isinstance(made, kind)
        every = {field.name for field in fields(made)}
        assert set(config) - {"_target_"} == every, path.stem  # a person sees each option
        if group == "objective" or path.stem in ("lora", "window", "replica"):
            assert made == type(made)()  # and the defaults of the code
        with pytest.raises(BadInput, match="misspelled"):
            make(group, {**config, "misspelled": 1})


def test_every_domain_may_have_an_expert() -> None:
    names = {path.stem for path in (CONF / "domain").glob("*.yaml")}
    for policy in ("shipped", "transformer"):
        assert set(read(CONF / "policy" / f"{policy}.yaml").adapters) == names


def test_trackers(tmp_path: Path) -> None:
    nowhere = make("scalars", read(CONF / "scalars" / "none.yaml"), folder=str(tmp_path), run_id="run")
    nowhere.log(0, {"a": 1.0})
    board = make("scalars", read(CONF / "scalars" / "tensorboard.yaml"), folder=str(tmp_path), run_id="run")
    board.close()
    assert list(tmp_path.iterdir())
