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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from omegaconf import DictConfig, OmegaConf

from commands.compose import (
    domain_config,
    folder_option,
    load_domain,
    load_searcher,
    make,
    torch_device,
    wrapping,
)
from commands.curves import check_curves, draw_curves
from commands.errors import REFUSALS, BadInput, no_more_interrupts, one_line, shorten, whole
from commands.manifest import alone, binding, reopen
from commands.narrator import Narrator
from commands.players import Pupil, players, pupil
from commands.usage import Counted, Ledger
from policy.budget import Budget
from verifiers.base import BadProblem, Domain

if TYPE_CHECKING:
    from selfplay.followers import Followers
    from selfplay.generations import Generations
    from selfplay.pool import Pool
    from selfplay.settings import Settings
    from selfplay.state import Phase
    from selfplay.store import Store

# What may change between an interruption and the resumption: who works, and how far, not what comes of it.
FREE = ("run", "threads", "ray", "curves", "scalars", "policy.threads", "policy.max_batch", "policy.cache_mb",
        "policy.speculate", "policy.api_key_env", "policy.timeout", "policy.retries", "policy.concurrency",
        "policy.price_in", "policy.price_out", "policy.unload_adapters",
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
    parts = {name: make(name, cfg[name]) for name in ("curriculum", "proposals", "replay", "objective", "training")}
    if parts["proposals"].share:
        cue(list(ladder.values())[-1][1])  # refused where a domain takes none
    if cfg.threads is not None:
        whole("threads", cfg.threads)
    folder = folder_option("run", cfg.run)
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    with closing(pupil(cfg)) as taught:
        identity = json.dumps([binding(config, FREE), naming(taught.base)(taught.start)], sort_keys=True)
        run_id = hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
        loop = partial(_loop, cfg, settings, ladder, taught, budgets, parts, folder, run_id, seed)
        if int(os.environ.get("RANK", "0")):  # beside the first process, by accelerate launch: only to train with it
            with ExitStack() as ends, _refusals():
                following = loop(None, ends)
                cast("Followers", following.parts.followers).follow(following.train)
            return 0
        return _attempt(cfg, settings, folder, config, run_id, loop, taught.ledger)


def _attempt(
    cfg: DictConfig, settings: Settings, folder: Path, config: dict[str, Any], run_id: str,
    make_loop: Callable[[Narrator, ExitStack], Generations], ledger: Ledger,
) -> int:  # fmt: skip
    """Go on with the run in a folder; see `run`."""
    with alone(folder), ExitStack() as ends:
        attempt = reopen(folder, config, cfg.seed, FREE, hours="GPU" if settings.gpus else "CPU")
        attempt.counting = ledger.total
        try:
            narrator = ends.enter_context(Narrator(_scalars(cfg.scalars, folder, run_id)))
            with _refusals():
                loop = make_loop(narrator, ends)
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
    cfg: DictConfig, settings: Settings, ladder: dict[str, tuple[DictConfig, Domain]], taught: Pupil,
    budgets: tuple[Budget, Budget], parts: dict[str, Any], folder: Path, run_id: str, seed: int,
    narrator: Narrator | None, ends: ExitStack,
) -> Generations:  # fmt: skip
    """The loop with all its parts, which `ends` ends again; without a narrator, one that only trains."""
    from selfplay.followers import Followers, Idle

    if narrator is not None:
        _sweep(folder)
    store = _store(settings, folder, run_id)
    pool: Pool = Idle() if narrator is None else Counted(ends.enter_context(
        closing(players(cfg, settings, ladder, budgets, store, taught))), taught.ledger)
    import torch

    from selfplay.generations import Generations, Parts
    from selfplay.learner import Learner

    torch.set_num_threads(len(os.sched_getaffinity(0)) if cfg.threads is None else cfg.threads)
    around = wrapping(cfg.tools, cfg.generator, cfg["values"])  # cfg.values is a method
    domains = [domain for _, domain in ladder.values()]
    learner = Learner(taught.base, parts["objective"], parts["training"], torch_device(str(cfg.device)),
                      taught.writing)
    followers = Followers(learner.processes)
    if narrator is not None:
        ends.callback(followers.end)
    return Generations(folder, settings, Parts(
        pool, store, domains, parts["curriculum"], parts["replay"], learner,
        version=lambda adapter: taught.version(adapter) + around, tokens=cast(int, budgets[1].tokens),
        cores=_cores(settings, torch.get_num_threads()), lines=settings.lines, start=taught.start,
        proposals=parts["proposals"],
        demonstrating=[domain for domain in domains if _demonstrates(domain)], followers=followers,
    ), run=run_id, seed=seed, tell=(lambda event: None) if narrator is None else narrator.tell)  # fmt: skip


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
