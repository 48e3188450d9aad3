"""What `doctor` checks. Each check says what it found, and what to do about it."""

from __future__ import annotations

import importlib
import os
import shutil
import time
import tomllib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from commands.errors import REFUSALS, one_line
from commands.host import Host, in_cores
from policy.budget import Budget
from policy.files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
PUZZLE = "4 9 10 13"
GB = 1e9
_PRODUCT = 1024  # rows of the matrices that are multiplied
_SECONDS = 0.3  # of multiplying


class Status(str, Enum):
    """WARNING: works, but slowly or not everything does. FAILED: something that is needed does not work."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One line about what was found, and one about what to do; empty where there is nothing to do."""

    status: Status
    found: str
    advice: str = ""


def packages(pyproject: Path = ROOT / "pyproject.toml") -> Finding:
    """Are the project's dependencies installed, in versions that it allows?"""
    from packaging.requirements import Requirement

    lines = tomllib.loads(pyproject.read_text())["project"]["dependencies"]
    wrong = []
    for requirement in map(Requirement, lines):
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} is {installed}, not {requirement.specifier}")
    if wrong:
        return Finding(Status.FAILED, "; ".join(wrong),
                       "`make demo` installs them into .venv; then: source .venv/bin/activate")
    return Finding(Status.OK, f"all {len(lines)} dependencies are installed")


def torch(load: Callable[[], Any] = lambda: importlib.import_module("torch")) -> Finding:
    """Does torch compute, with how many threads and how fast, and is oneDNN there?"""
    try:
        module = load()
    except (ImportError, OSError) as error:  # a library of it that is missing is an OSError
        return Finding(Status.FAILED, f"torch cannot be imported: {one_line(str(error))}",
                       "install it again: pip install -c constraints.txt --force-reinstall torch")
    threads = module.get_num_threads()
    left = right = module.ones(_PRODUCT, _PRODUCT)
    product, times, start = left @ right, 0, time.perf_counter()  # the first one warms up
    while (spent := time.perf_counter() - start) < _SECONDS or not times:
        product, times = left @ right, times + 1
    if float(product[0, 0]) != _PRODUCT:
        return Finding(Status.FAILED, f"torch {module.__version__} multiplies wrongly", "install another build of it")
    rate = times * 2 * _PRODUCT**3 / spent / 1e9
    found = f"torch {module.__version__}, {threads} threads, {rate:.0f} GFLOP/s in float32"
    if not module.backends.mkldnn.is_available():
        return Finding(Status.WARNING, f"{found}, without oneDNN",
                       "decoding is slower without oneDNN; PyPI's builds for x86-64 have it")
    return Finding(Status.OK, f"{found}, with oneDNN")


def cores(host: Host) -> Finding:
    """Are there as many threads as cores? More of them are very slow."""
    quota, asked = host.quota, host.environment.get("OMP_NUM_THREADS", "")
    granted = min(host.affinity, max(1, int(quota))) if quota is not None else host.affinity
    limit = "no quota" if quota is None else f"a quota of {in_cores(quota)}"
    found = f"{in_cores(host.affinity)} may be used, {limit}, OMP_NUM_THREADS is {asked or 'not set'}"
    advice = f"set OMP_NUM_THREADS={granted}: more threads than cores are very slow"
    if asked and not (asked.isdigit() and int(asked)):
        return Finding(Status.WARNING, found, f"OMP_NUM_THREADS must be a whole number; {advice}")
    threads = int(asked) if asked else host.affinity
    return Finding(Status.WARNING, found, advice) if threads > granted else Finding(Status.OK, found)


def memory(host: Host) -> Finding:
    """Is there room for the policy, and for workers that have one each?"""
    free = host.memory
    if free is None:
        return Finding(Status.WARNING, "nothing here tells how much memory is free",
                       "1 GB is needed to solve, and about as much for each worker of improve")
    found = f"{free / GB:.1f} GB can be had"
    if free < 0.7 * GB:
        return Finding(Status.FAILED, found, "free some memory, or raise the limit of the container to 2 GB or more")
    if free < 3 * GB:
        return Finding(Status.WARNING, found, "enough to solve; for improve use selfplay=local, or few workers")
    return Finding(Status.OK, found)


def gpu(load: Callable[[], Any] = lambda: importlib.import_module("torch"),
        driver: Callable[[str], str | None] = shutil.which) -> Finding:
    """Is there a GPU, can torch use it, and does it compute in bf16?"""
    try:
        cuda = load().cuda
    except (ImportError, OSError):
        return Finding(Status.WARNING, "torch cannot be imported, so no GPU can be used", "see the check of torch")
    if cuda.is_available():
        names = ", ".join(cuda.get_device_name(index) for index in range(cuda.device_count()))
        if cuda.is_bf16_supported():
            return Finding(Status.OK, f"{names}, with bf16", "policy.device=cuda uses it")
        return Finding(Status.WARNING, f"{names}, without bf16", "policy.device=cuda policy.dtype=float32 uses it")
    if driver("nvidia-smi") is not None:
        return Finding(Status.WARNING, "there is an NVIDIA driver, but torch sees no GPU",
                       "install torch with CUDA (PyPI's build for Linux), and see whether nvidia-smi lists a GPU")
    return Finding(Status.OK, "none; the CPU is enough for the shipped policy")


def sandbox(make: Callable[[Sequence[str]], Any] | None = None) -> Finding:
    """Which walls does the sandbox prove here? Programs of a model run behind them."""
    from verifiers.jail.isolation import MECHANISMS
    from verifiers.sandbox import Sandbox

    try:
        with warnings.catch_warnings():  # what is missing is told below
            warnings.simplefilter("ignore")
            made = make(MECHANISMS) if make is not None else Sandbox(allow_degraded=MECHANISMS)
    except (OSError, RuntimeError) as error:
        return Finding(Status.FAILED, f"it cannot be started: {one_line(str(error))}",
                       "the domains humaneval and mbpp and tools=python need it; see docs/adr/0013-sandbox.md")
    with made:
        if made.missing:
            lacks = "; ".join(f"{name} ({one_line(why)})" for name, why in made.missing.items())
            return Finding(Status.WARNING, f"missing: {lacks}",
                           f"no program is run unless domain.allow_degraded=[{','.join(made.missing)}] names it; "
                           "see docs/adr/0013-sandbox.md")
        around = ", and bubblewrap around all of it" if made.outer else ""
        return Finding(Status.OK, f"all {len(MECHANISMS)} walls withstood an attack{around}")


def disk(folder: Path, usage: Callable[[Path], Any] = shutil.disk_usage) -> Finding:
    """Can a file be made durable where runs are written, and is there room?"""
    there = folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".doctor-", dir=folder) as place:
            start = time.perf_counter()
            write_atomically(Path(place) / "file", lambda file: file.write(bytes(4096)))
            seconds = time.perf_counter() - start
        free = usage(folder).free
    except OSError as error:
        return Finding(Status.FAILED, f"{folder} cannot be written: {error.strerror or error}",
                       "choose another place: run=DIR for improve, run_dir=DIR elsewhere")
    finally:
        if not there and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    found = f"{free / GB:.1f} GB free in {folder}, a file is durable after {seconds * 1e3:.0f} ms"
    if free < 0.2 * GB:
        return Finding(Status.FAILED, found, "free some space: a run would end in the middle")
    if free < 2 * GB or seconds > 1:
        return Finding(Status.WARNING, found,
                       "long runs want more room or a faster disk: run=DIR, or selfplay.store=URL")
    return Finding(Status.OK, found)


def ray(start: bool, join: Callable[[str | None, float], Callable[[], None]] | None = None) -> Finding:
    """Does Ray start, on this machine alone?"""
    try:
        installed = version("ray")
    except PackageNotFoundError:
        return Finding(Status.WARNING, "Ray is not installed",
                       "pip install -c constraints.txt ray; or improve without it: selfplay=local")
    if not start:
        return Finding(Status.OK, f"Ray {installed} is installed", "ray=true starts it for a moment")
    from selfplay.cluster import join as really
    from selfplay.pool import PoolBroken

    since = time.perf_counter()
    try:
        (join or really)(None, 1)()
    except PoolBroken as error:
        return Finding(Status.FAILED, one_line(str(error)), "improve works without it: selfplay=local")
    return Finding(Status.OK, f"Ray {installed} started and ended on 127.0.0.1 in {time.perf_counter() - since:.1f} s")


def policy(budget: Budget, *options: str) -> Finding:
    """Does the shipped policy load, and does it prove an answer?"""
    from commands.engine import SearchFailed, load

    since = time.perf_counter()
    try:
        with load("policy=shipped", "domain=game24", *options) as engine:
            loaded = time.perf_counter() - since
            result = engine.think(PUZZLE, budget=budget)
    except (*REFUSALS, SearchFailed) as error:
        return Finding(Status.FAILED, one_line(str(error)), "policy/shipped belongs to the repository: git checkout it")
    spent = f"{result.seconds:.2f} s and {result.tokens} tokens, after {loaded:.1f} s of loading"
    if not result.verified:
        return Finding(Status.FAILED, f"no proved answer to {PUZZLE} in {spent}",
                       "a busy machine needs more: budget=60s; else policy/shipped is not the one of the repository")
    return Finding(Status.OK, f"{PUZZLE}: {result.answer} = 24, proved in {spent}")


def program(names: Sequence[str], use: str, which: Callable[[str], str | None] = shutil.which) -> Finding:
    """Is one of these programs there? It is optional."""
    found = next(filter(None, map(which, names)), None)
    if found is None:
        return Finding(Status.OK, f"none ({', '.join(names)})", f"optional: needed only for {use}")
    return Finding(Status.OK, os.fspath(found))
