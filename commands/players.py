"""Who plays in self-play, and the weights that are trained: those of the policy itself, or, where a server's model
plays, a copy of these here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig

from commands.batch import as_json
from commands.compose import close, make, without_experts
from commands.crew import ConfigFactory
from commands.errors import BadInput, shorten
from commands.usage import Ledger
from policy.budget import Budget
from verifiers.base import Domain

if TYPE_CHECKING:
    from policy.layout import Writing
    from policy.served.policy import Served
    from selfplay.pool import Pool
    from selfplay.settings import Settings
    from selfplay.store import Store

_UNTRAINABLE = "improve needs a policy with weights; allowed: policy=shipped, policy=transformer, policy=openai"


@dataclass(frozen=True)
class Pupil:
    """The policy to be improved.

    Attributes:
        base: folder of the weights that are trained.
        start: of the adapter (or whole model) that they wear at first.
        writing: how problems and thoughts are written for them, when they play too.
        version: of the policy that wears an adapter, as it calls itself when it plays.
        server: where it plays, if not here.
        ledger: what servers were asked for by all who play; the curves, which come later, count for themselves.
    """

    base: Path
    start: Path | None
    writing: Writing
    version: Callable[[Path | None], str]
    server: Served | None = None
    ledger: Ledger = field(default_factory=Ledger)

    def close(self) -> None:
        """Leave the server."""
        if self.server is not None:
            close(self.server)


def pupil(cfg: DictConfig) -> Pupil:
    """Raises BadInput or BadPolicy for a policy that cannot be improved, before anything is played."""
    config, whole = cfg.policy, cfg.training.adapter == "full"
    if "adapter" not in config:
        raise BadInput(_UNTRAINABLE)
    if "path" not in config:
        return _elsewhere(cfg, whole)
    from policy.weights import naming

    if cfg.training.base is not None:
        raise BadInput("training.base is for a policy without weights of its own; policy.path are those that are "
                       "trained")
    if without_experts(config)[1]:
        raise BadInput("improve makes one adapter; policy.adapters must be null, policy.adapter is where it begins")
    if config.value_head is not None:
        raise BadInput("improve learns the value head beside the adapter; policy.value_head must be null")
    base, start = _weights(str(config.path), config.adapter, whole)
    said = {name: config[name] for name in _writing_fields() if name in config}
    return Pupil(base, start, _writing(said), naming(base))


def _elsewhere(cfg: DictConfig, whole: bool) -> Pupil:
    """One that a server lets play: it has the weights, and its generations are loaded into it."""
    config = cfg.policy
    if cfg.training.base is None:
        raise BadInput("the policy that plays has no weights here to be trained; allowed: training.base=FOLDER, a copy "
                       "of those that its server has loaded")
    if cfg.selfplay.get("layout") == "shared":
        raise BadInput("a server's model is shared by all who play; allowed: selfplay=replica, selfplay=local")
    if whole:
        raise BadInput("a server loads LoRA adapters only; allowed: training=lora")
    base, start = _weights(str(cfg.training.base), config.adapter, whole)
    server = cast("Served", make("policy", {**config, "adapter": None}))
    try:
        if not hasattr(server, "check_adapters"):
            raise BadInput(_UNTRAINABLE)
        if make("objective", cfg.objective).on_policy and not server.dialect.logprobs:
            raise BadInput("this objective needs the log-probabilities of what was drawn, which the server does not "
                           "tell; allowed: objective=expert_iteration, or dpo")
        writing = _writing(_served(config, server))
        server.check_adapters()
        return Pupil(base, start, writing, server.named, server)
    except BaseException:
        close(server)
        raise


def _served(config: DictConfig, server: Served) -> Mapping[str, Any]:
    """The options of Writing by which training reads what the server was given. Raises BadInput where none do."""
    from policy.served.requests import text_of

    system, chat = text_of(config.system, "system"), config.api == "chat"
    if chat and not server.dialect.prefix:
        raise BadInput("training reads lines that follow one another, and this server takes each as a turn; allowed: "
                       "policy.api=completions, or a server that continues the assistant's message")
    if system and not chat:
        raise BadInput("training begins with the problem, not with policy.system; allowed: policy.system=null, or "
                       "policy.api=chat")
    return {"chat": chat, "system": system or None}


def _weights(path: str, adapter: Any, whole: bool) -> tuple[Path, Path | None]:
    from policy.weights import Naming, existing
    from selfplay.trainee import check_start

    base = existing(path, "policy").resolve()
    if adapter is None:
        return base, None
    start = existing(str(adapter), "adapter").resolve()
    check_start(start, whole)
    Naming(base, "").check(start)
    return base, start


def _writing_fields() -> list[str]:
    from policy.layout import Writing

    return [one.name for one in fields(Writing)]


def _writing(said: Mapping[str, Any]) -> Writing:
    from policy.layout import Writing

    return cast("Writing", make("policy", {"_target_": f"{Writing.__module__}.{Writing.__name__}", **said}))


def players(
    cfg: DictConfig, settings: Settings, ladder: Mapping[str, tuple[DictConfig, Domain]],
    budgets: tuple[Budget, Budget], store: Store, taught: Pupil,
) -> Pool:  # fmt: skip
    """Those who play. Raises BadInput, BadPolicy, PoolBroken."""
    factory = ConfigFactory(
        json.dumps(_travelling(cfg.policy)), as_json(cfg.search), as_json(cfg.tools),
        {domain.name: as_json(config) for config, domain in ladder.values()}, str(budgets[0]), str(budgets[1]),
        settings.lines, settings.concurrent, settings.states, as_json(cfg.generator), as_json(cfg["values"]),
    )  # fmt: skip
    pool = _pool(cfg, settings, factory, store)
    if taught.server is None:
        return pool
    from selfplay.served_pool import ServedPool

    taught.ledger.note("loads adapters", taught.server.usages)
    return ServedPool(pool, taught.server)


def _pool(cfg: DictConfig, settings: Settings, factory: ConfigFactory, store: Store) -> Pool:
    if settings.pool == "local":
        from selfplay.pool import LocalPool

        return LocalPool(factory.player(factory.policy()), store)
    try:
        from selfplay.ray_pool import RayPool

        return RayPool(factory, store, settings.crew(), address=_address(cfg.ray.address), chunk=settings.chunk,
                       in_flight=settings.in_flight, stall_seconds=settings.stall_seconds,
                       start_seconds=settings.start_seconds)
    except ImportError as error:
        raise BadInput(f"Ray is not installed ({error}); pip install ray, or choose selfplay.pool=local") from error


def _travelling(config: DictConfig) -> dict[str, Any]:
    """A policy's config as each player makes it: bare, and of what no other player takes away."""
    policy: dict[str, Any] = json.loads(as_json(config)) | {"adapter": None}
    if "path" in policy:
        return policy | {"path": _path_everywhere(str(config.path))}
    return policy | {"unload_adapters": False}


def _address(address: Any) -> str | None:
    if address is not None and not isinstance(address, str):
        raise BadInput(f"ray.address={shorten(str(address))} cannot be; allowed: auto, or HOST:PORT of a cluster")
    return address


def _path_everywhere(path: str) -> str:
    """A policy's path as workers in other folders find it: absolute, unless it travels to them with the code."""
    from policy.weights import existing
    from selfplay.cluster import travels

    folder = existing(path, "policy").resolve()
    return path if travels(folder) else str(folder)
