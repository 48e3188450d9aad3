"""Let the policy teach itself: improve domain=game24 selfplay.generations=6 selfplay.workers=2

Every generation plays a search over training problems, learns from what the verifier confirms, and meets the champion
on held-out problems; it takes over only if it is better. The same command again goes on where the last one stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from omegaconf import DictConfig, OmegaConf

from commands.batch import as_json
from commands.compose import (
    domain_config,
    folder_option,
    load_domain,
    load_searcher,
    make,
    torch_device,
    without_experts,
    wrapping,
)
from commands.crew import ConfigFactory
from commands.curves import check_curves, draw_curves
from commands.errors import REFUSALS, BadInput, no_more_interrupts, one_line, shorten, whole
from commands.manifest import alone, binding, reopen
from commands.narrator import Narrator
from policy.budget import Budget
from verifiers.base import BadProblem, Domain

if TYPE_CHECKING:
    from policy.layout import Writing
    from selfplay.followers import Followers
    from selfplay.generations import Generations
    from selfplay.pool import Pool
    from selfplay.settings import Settings
    from selfplay.state import Phase
    from selfplay.store import Store

# What may change between an interruption and the resumption: who works, and how far, not what comes of it.
FREE = ("run", "threads", "ray", "curves", "scalars", "policy.threads", "policy.max_batch", "policy.cache_mb",
        "policy.speculate",
        *(f"selfplay.{name}" for name in ("generations", "pool", "layout", "workers", "cpus", "gpus", "policies",
                                          "policy_cpus", "concurrent", "chunk", "in_flight", "stall_seconds",
                                          "start_seconds")))


def run(cfg: DictConfig) -> int:
    """See the module. Returns 0 when the last generation has been played, 130 when interrupted."""
    budgets, seed = _budgets(cfg), whole("seed", cfg.seed, 0)
    from policy.weights import naming
    from selfplay.proposing import cue

    settings: Settings = make("selfplay", cfg.selfplay)
    load_searcher(cfg.search)
    check_curves(cfg)
    ladder = _ladder(cfg)
    base, start = _base(cfg.policy, whole=cfg.training.adapter == "full")
    parts = {name: make(name, cfg[name]) for name in ("curriculum", "proposals", "replay", "objective", "training")}
    if parts["proposals"].share:
        cue(list(ladder.values())[-1][1])  # refused where a domain takes none
    if cfg.threads is not None:
        whole("threads", cfg.threads)
    folder = folder_option("run", cfg.run)
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    identity = json.dumps([binding(config, FREE), naming(base)(start)], sort_keys=True)
    run_id = hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
    if int(os.environ.get("RANK", "0")):  # beside the first process, by accelerate launch: to train with it, no more
        with ExitStack() as ends, _refusals():
            loop = _loop(cfg, settings, ladder, base, start, budgets, parts, folder, run_id, seed, None, ends)
            cast("Followers", loop.parts.followers).follow(loop.train)
        return 0
    with alone(folder), ExitStack() as ends:
        attempt = reopen(folder, config, seed, FREE, hours="GPU" if settings.gpus else "CPU")
        try:
            narrator = ends.enter_context(Narrator(_scalars(cfg.scalars, folder, run_id)))
            with _refusals():
                loop = _loop(cfg, settings, ladder, base, start, budgets, parts, folder, run_id, seed, narrator, ends)
                signal.signal(signal.SIGTERM, signal.default_int_handler)  # after Ray, which would end it otherwise
                worked = loop.state.generation <= settings.generations
                loop.run()
            ends.close()  # the workers leave the cores to the evaluations
            worked |= draw_curves(cfg, folder, _shown(loop, str(cfg.curves.of)))
        except KeyboardInterrupt:
            no_more_interrupts()
            attempt.end("interrupted")
            print(f"stopped; the same command goes on from {folder}", file=sys.stderr)
            return 130
        except Exception as error:
            attempt.end("refused" if isinstance(error, REFUSALS) else "failed", one_line(str(error) or repr(error)))
            raise
        attempt.finish(worked)
        print(_sentence(loop))
        print(f"run: {folder}", flush=True)
    return 0


def _loop(
    cfg: DictConfig, settings: Settings, ladder: dict[str, tuple[DictConfig, Domain]], base: Path, start: Path | None,
    budgets: tuple[Budget, Budget], parts: dict[str, Any], folder: Path, run_id: str, seed: int,
    narrator: Narrator | None, ends: ExitStack,
) -> Generations:  # fmt: skip
    """The loop with all its parts, which `ends` ends again; without a narrator, one that only trains."""
    from selfplay.followers import Followers, Idle

    if narrator is not None:
        _sweep(folder)
    store = _store(settings, folder, run_id)
    pool = Idle() if narrator is None else ends.enter_context(closing(_pool(cfg, settings, ladder, budgets, store)))
    import torch

    from policy.weights import naming
    from selfplay.generations import Generations, Parts
    from selfplay.learner import Learner

    torch.set_num_threads(len(os.sched_getaffinity(0)) if cfg.threads is None else cfg.threads)
    name = naming(base)
    around = wrapping(cfg.tools, cfg.generator, cfg["values"])  # cfg.values is a method
    domains = [domain for _, domain in ladder.values()]
    learner = Learner(base, parts["objective"], parts["training"], torch_device(str(cfg.device)), _writing(cfg.policy))
    followers = Followers(learner.processes)
    if narrator is not None:
        ends.callback(followers.end)
    return Generations(folder, settings, Parts(
        pool, store, domains, parts["curriculum"], parts["replay"], learner,
        version=lambda adapter: name(adapter) + around, tokens=cast(int, budgets[1].tokens),
        cores=_cores(settings, torch.get_num_threads()), lines=settings.lines, start=start,
        proposals=parts["proposals"],
        demonstrating=[domain for domain in domains if _demonstrates(domain)], followers=followers,
    ), run=run_id, seed=seed, tell=(lambda event: None) if narrator is None else narrator.tell)  # fmt: skip


def _pool(
    cfg: DictConfig, settings: Settings, ladder: dict[str, tuple[DictConfig, Domain]], budgets: tuple[Budget, Budget],
    store: Store,
) -> Pool:  # fmt: skip
    policy = json.loads(as_json(cfg.policy)) | {"adapter": None, "path": _path_everywhere(str(cfg.policy.path))}
    factory = ConfigFactory(
        json.dumps(policy), as_json(cfg.search), as_json(cfg.tools),
        {domain.name: as_json(config) for config, domain in ladder.values()}, str(budgets[0]), str(budgets[1]),
        settings.lines, settings.concurrent, settings.states, as_json(cfg.generator), as_json(cfg["values"]),
    )  # fmt: skip
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


def _store(settings: Settings, folder: Path, run_id: str) -> Store:
    """In the run's directory; or at the URL, in a folder of this run: others may share that."""
    from selfplay.store import Store

    if settings.store is None:
        return Store(str(folder / "store"))
    if settings.pool == "ray" and settings.store.startswith("memory:"):
        raise BadInput(f"selfplay.store={shorten(settings.store)} cannot be seen by other processes; allowed: a "
                       "path or URL that all workers share, or selfplay.pool=local")
    return Store(f"{settings.store.rstrip('/')}/{run_id}")


def _cores(settings: Settings, threads: int) -> dict[Phase, float]:
    """Processors at work in each phase; GPUs, where the policies have some."""
    from selfplay.state import Phase

    crew = settings.crew()
    if settings.gpus:
        playing, learning = settings.gpus * (crew.policies if crew.kind == "shared" else crew.workers), 1.0
    else:
        playing, learning = (threads if settings.pool == "local" else crew.all_cpus), threads
    return {Phase.PLAY: playing, Phase.LEARN: learning, Phase.MATCH: playing}


@contextmanager
def _refusals() -> Iterator[None]:
    """What stops a run for a reason that a person can do something about becomes one line."""
    from selfplay.audit import BrokenReward
    from selfplay.collecting import StaleWorker
    from selfplay.files import StoreError
    from selfplay.generations import NothingLearned
    from selfplay.learner import Collapsed
    from selfplay.pool import PoolBroken
    from selfplay.schema import UnknownSchema
    from selfplay.state import BadState

    try:
        yield
    except (BrokenReward, NothingLearned, Collapsed, StaleWorker, PoolBroken, StoreError,
            UnknownSchema, BadState) as error:
        raise BadInput(str(error)) from error


def _sweep(folder: Path) -> None:
    """Remove folders that a killed learner left half-written."""
    for pattern in (".generation-*.part", ".generation-*.old"):
        for left in folder.glob(pattern):
            shutil.rmtree(left, ignore_errors=True)


def _budgets(cfg: DictConfig) -> tuple[Budget, Budget]:
    """Of a search, and of one in a match."""
    def one(name: str, text: Any) -> Budget:
        budget = Budget.parse(text)
        if budget.seconds is not None or budget.tokens is None:
            raise BadInput(f"{name}={shorten(str(text))} cannot be; self-play needs one that can be repeated, in "
                           "tokens, such as 1000tok or 1000tok+50sims")
        return budget

    budget = one("budget", cfg.budget)
    return budget, budget if cfg.match_budget is None else one("match_budget", cfg.match_budget)


def _ladder(cfg: DictConfig) -> dict[str, tuple[DictConfig, Domain]]:
    """Configs and domains from easy to hard, by their names."""
    easier = cfg.easier
    if isinstance(easier, str) or not all(isinstance(name, str) for name in easier):
        raise BadInput("easier is a list of domains, such as easier=[countdown]")
    configs = [*(domain_config(name) for name in easier), cfg.domain]
    domains = [load_domain(config) for config in configs]
    names = [domain.name for domain in domains]
    if len(set(names)) < len(names):
        raise BadInput(f"a ladder has each domain once, not {', '.join(names)}")
    for domain in domains:
        for split in ("train", "validation"):
            if next(iter(domain.problems(split, 0)), None) is None:
                raise BadInput(f"{domain.name} has no {split} problems")
    return dict(zip(names, zip(configs, domains, strict=True), strict=True))


def _demonstrates(domain: Domain) -> bool:
    try:
        domain.demonstrate(np.random.default_rng(0))
    except BadProblem:
        return False
    return True


def _base(config: DictConfig, whole: bool) -> tuple[Path, Path | None]:
    """The folder of the policy to be improved, and of the adapter (or whole model) that it starts with."""
    from policy.weights import Naming, existing
    from selfplay.trainee import check_start

    if "path" not in config or "adapter" not in config:
        raise BadInput("improve needs a policy with weights; allowed: policy=shipped, policy=transformer")
    if without_experts(config)[1]:
        raise BadInput("improve makes one adapter; policy.adapters must be null, policy.adapter is where it begins")
    if config.value_head is not None:
        raise BadInput("improve learns the value head beside the adapter; policy.value_head must be null")
    base = existing(str(config.path), "policy").resolve()
    if config.adapter is None:
        return base, None
    start = existing(str(config.adapter), "adapter").resolve()
    check_start(start, whole)
    Naming(base, "").check(start)
    return base, start


def _writing(config: DictConfig) -> Writing:
    """How the policy reads and writes, which what is learned follows."""
    from policy.layout import Writing

    said = {field.name: config[field.name] for field in fields(Writing) if field.name in config}
    return cast(Writing, make("policy", {"_target_": f"{Writing.__module__}.{Writing.__name__}", **said}))


def _scalars(config: DictConfig, folder: Path, run_id: str) -> Any:
    """The tracker, whose id names the folder too: two runs of one configuration are two to it."""
    from selfplay.scalars import NoTracker

    tracked = hashlib.blake2b(f"{run_id} {folder.resolve()}".encode(), digest_size=8).hexdigest()
    try:
        return make("scalars", config, folder=str(folder / "scalars"), run_id=tracked)
    except NoTracker as error:
        raise BadInput(str(error)) from error


def _shown(loop: Generations, of: str) -> dict[int, Path | None]:
    """The generations whose curves are drawn, with their adapters."""
    champions = [row["generation"] for row in loop.state.history if row["promoted"]]
    numbers: dict[str, Sequence[int]] = {"none": (), "ends": (0, *champions[-1:]), "all": (0, *champions)}
    return {number: loop.adapter(number) for number in numbers[of]}


def _sentence(loop: Generations) -> str:
    state = loop.state
    played = f"{len(state.history)} generation{'s' * (len(state.history) != 1)}"
    if not state.champion:
        return f"{played}; none was better than the policy that the run began with"
    ratings = "; ".join(f"{mode} Elo {elo:+.0f} [{low:+.0f}, {high:+.0f}]" for mode, table in state.elo().items()
                        for elo, low, high in [table[state.champion]])
    return f"{played}; the champion is generation {state.champion}{'; ' * bool(ratings)}{ratings}"
