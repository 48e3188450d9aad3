"""From configs to objects: domains, policies and searchers, each one `_target_` constructor."""

from __future__ import annotations

import functools
import gc
import inspect
import types
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, cast, get_args, get_origin, get_type_hints

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from commands.errors import REFUSALS, BadInput, shorten
from policy.base import Policy, Thought
from policy.experts import Experts
from policy.tools import Tooled
from search.base import Searcher
from verifiers.base import BadProblem, Domain, Problem

if TYPE_CHECKING:
    import torch

Config = DictConfig | Mapping[str, Any]
CONF = Path(__file__).resolve().parent.parent / "conf"
_SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}


def make(what: str, config: Config, **more: Any) -> Any:
    """Call the constructor that a config names. Raises BadInput, or BadPolicy, with one line."""
    try:
        constructor = instantiate(config, _partial_=True, _convert_="all")
        _check_scalars(what, constructor, more)
        return constructor(**more)
    except InstantiationException as error:
        raise BadInput(f"cannot make the {what}: {str(error).splitlines()[0]}") from error
    except REFUSALS:
        raise
    except (TypeError, ValueError) as error:  # an option of a wrong name or value
        raise BadInput(f"cannot make the {what}: {error}") from error


def _check_scalars(what: str, constructor: functools.partial[Any], more: Mapping[str, Any]) -> None:
    """Raises BadInput for an option that is not of the plain kind its constructor is annotated with, or is missing."""
    parameters = inspect.signature(constructor.func).parameters
    given = {**constructor.keywords, **more}
    for name, parameter in parameters.items():
        if name not in given and parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            raise BadInput(f"{what}.{name} is missing; it must be given")
    function: Any = constructor.func
    if isinstance(function, type):
        function = function.__init__  # type: ignore[misc]
    try:
        hints = get_type_hints(function)
    except NameError:  # annotated with names that only a type checker imports: the constructor judges alone
        return
    for name, value in constructor.keywords.items():
        hint = hints.get(name)
        kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        if set(kinds) <= _SCALARS.keys() and not any(_is_a(value, kind) for kind in kinds):
            allowed = " or ".join(_SCALARS[kind] for kind in kinds)
            raise BadInput(f"{what}.{name}={shorten(str(value))} cannot be; allowed: {allowed}")


def _is_a(value: Any, kind: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return type(value) is kind  # True is an int to Python, but not to a person
    return isinstance(value, int | float if kind is float else kind)


def load_domain(config: Config) -> Domain:
    return cast(Domain, make("domain", config))


def load_searcher(config: Config) -> Searcher:
    return cast(Searcher, make("search", config))


def needs_domain(config: Config) -> bool:
    """A policy whose YAML says `domain: ???` is one of rules, made anew for each domain."""
    return OmegaConf.is_missing(config if isinstance(config, DictConfig) else OmegaConf.create(dict(config)), "domain")


def load_policy(
    config: Config, domain: Domain | None, tools: Config | None = None, occurring: Collection[str] | None = None,
    *, generator: Config | None = None, values: Config | None = None,
) -> Policy:  # fmt: skip
    """A policy, with experts for single domains, and wrapped in what the configs name.

    Args:
        domain: needed by a policy of rules, or where no names are given.
        tools: a tool inside its thoughts.
        occurring: names of the domains whose problems will come, for which alone experts are loaded; null: `domain`.
        generator: how the thoughts of a tree are come by.
        values: where their values come from.

    Raises BadPolicy if it cannot be loaded.
    """
    more = {"domain": domain} if needs_domain(config) else {}
    plain, adapters = without_experts(config)
    policy = cast(Policy, make("policy", plain, **more))
    if adapters:
        names = occurring if occurring is not None else {domain.name} if domain is not None else set()
        policy = _with_experts(policy, plain, adapters, names)
    policy = _wrapped(policy, tools, generator, values)
    settle_garbage()
    return policy


def _wrapped(policy: Policy, tools: Config | None, generator: Config | None, values: Config | None) -> Policy:
    """Values are those of thoughts as a search sees them, so they come last. What fails leaves nothing running."""
    try:
        if tools:
            policy = Tooled(policy, make("tools", tools))
        if generator:
            policy = cast(Policy, make("generator", generator, policy=policy))
        if values:
            policy = cast(Policy, make("values", values, policy=policy))
    except BaseException:
        close(policy)
        raise
    return policy


class _Nobody:
    """A policy with nothing to say, for a look at what would be around one."""

    version, max_thought_tokens = "", 1

    async def propose(self, *_: object, **__: object) -> list[Thought]:
        return []


def wrapping(tools: Config | None, generator: Config | None, values: Config | None) -> str:
    """What the wrappers add to a policy's version."""
    policy = _wrapped(_Nobody(), tools, generator, values)
    close(policy)
    return policy.version


def _with_experts(policy: Policy, plain: Config, adapters: Mapping[str, str], occurring: Collection[str]) -> Policy:
    """Every expert is a whole model, or shares the policy's if adapters are not merged. One that nobody will ask is
    only named, which refuses what cannot be worn."""
    name_of = getattr(policy, "named", None)
    needed = [name for name in adapters if name in occurring or name_of is None]
    absent = {name: name_of(path) for name, path in adapters.items() if name_of is not None and name not in needed}
    beside = None if getattr(policy, "merge", True) else getattr(policy, "beside", None)
    experts = {name: make("policy", {**dict(plain), "adapter": adapters[name]}) if beside is None
               else beside(adapters[name]) for name in needed}
    return Experts(policy, experts, absent)


def without_experts(config: Config) -> tuple[Config, dict[str, str]]:
    """A policy's config without `adapters`, and those of its domains that have one."""
    plain = {str(name): value for name, value in config.items() if name != "adapters"} \
        if "adapters" in config else config
    return plain, {str(name): path for name, path in (config.get("adapters") or {}).items() if path is not None}


def settle_garbage() -> None:
    """Collect what can be collected, and keep the collector from ever looking at the rest again. Not inside a budget.

    A full collection walks every object there is, those of the libraries (0.2 s) and those that earlier searches left
    in the policy's caches (another 0.2 s after a few dozen): more than a deadline may be overshot by.
    """
    gc.collect()
    gc.freeze()


def torch_device(name: str) -> torch.device:
    """The device meant by a name, or by `auto`: cuda where there is one. Raises BadInput."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise BadInput(f"cannot train on the device {name!r}; allowed here: auto, cpu"
                       + (", cuda" if torch.cuda.is_available() else "")) from error


def folder_option(name: str, value: Any) -> Path:
    """The folder that an option names, which need not be there. Raises BadInput."""
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"{name}={shorten(str(value))} cannot be; allowed: a folder's path")
    return Path(value)


def close(policy: Policy) -> None:
    """End what a policy keeps running (a decoder's thread), if anything."""
    if hasattr(policy, "close"):
        policy.close()


def domain_config(name: str) -> DictConfig:
    return group_config("domain", name)


def given_domain(config: Config) -> tuple[str, Domain] | None:
    """The name and the domain that a command's config names, if any."""
    if config.get("domain") is None:
        return None
    hydra = config["hydra"] if "hydra" in config else HydraConfig.get()
    return hydra.runtime.choices["domain"], load_domain(config["domain"])


def group_config(group: str, name: str) -> DictConfig:
    """conf/GROUP/NAME.yaml, wherever Hydra searches for configs, or here where it does not run. Raises BadInput."""
    known: set[str] = set()
    for place in _config_folders():
        folder = place / group
        if folder.is_dir():
            known |= {path.stem for path in folder.glob("*.yaml")}
            if f"{name}.yaml" in {path.name for path in folder.iterdir()}:
                return cast(DictConfig, OmegaConf.load(folder / f"{name}.yaml"))
    raise BadInput(f"there is no {group} {shorten(name)}; allowed: {', '.join(sorted(known))}")


def _config_folders() -> list[Path]:
    if not HydraConfig.initialized():
        return [CONF]
    return [Path(source.path) for source in HydraConfig.get().runtime.config_sources if source.schema == "file"]


def pose(text: str, name: str, domain: Domain, reads: str) -> Problem:
    """Read a problem in a given domain. Raises BadInput or BadProblem."""
    problem = domain.parse(text)
    if problem is None:
        raise BadInput(f"{name} cannot read {shorten(text)}; it reads {reads}")
    return problem


class Guesser:
    """Finds the domain of a text: the first of an ordered allowlist that can read it."""

    def __init__(self, allowed: Mapping[str, str]) -> None:
        self.allowed = dict(allowed)
        self._loaded: dict[str, Domain] = {}

    def domain(self, name: str) -> Domain:
        if name not in self._loaded:
            self._loaded[name] = load_domain(domain_config(name))
        return self._loaded[name]

    def reads(self, name: str) -> str:
        """What a domain reads, for people."""
        return self.allowed.get(name, f"what conf/domain/{name}.yaml says")

    @property
    def all_reads(self) -> str:
        return "; ".join(f"{name} reads {what}" for name, what in self.allowed.items())

    def guess(self, text: str) -> tuple[str, Domain, Problem]:
        """(name, domain, problem). Raises BadProblem or BadInput, naming what could be read."""
        impossible: BadProblem | None = None
        for name in self.allowed:
            try:
                problem = self.domain(name).parse(text)
            except BadProblem as error:
                impossible = impossible or error
                continue
            if problem is not None:
                return name, self.domain(name), problem
        if impossible is not None:
            raise impossible
        raise BadInput(f"no domain can read {shorten(text)}: {self.all_reads}")
