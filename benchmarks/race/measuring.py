"""What a policy is worth on held-out problems: greedy, any of 16 samples, search for seconds."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.race.arms import Kind
from benchmarks.race.results import Refused
from benchmarks.race.training import BASE, DOMAIN, ROOT
from verifiers.base import Domain, Problem, derive_seed

GREEDY, SAMPLED, SEARCHED = "greedy", "pass@16", "search 2 s"
MEASURES = (GREEDY, SAMPLED, SEARCHED)
SAMPLES = 16
SEARCH_BUDGET = "2s"
SEED = 0  # of the samples and searches: the same for all policies


@dataclass(frozen=True)
class Measured:
    """A policy's answers.

    Attributes:
        version: of the policy.
        correct: by measure, a digit for each problem in order, 1 for a right answer.
    """

    version: str
    correct: dict[str, str]


@dataclass(frozen=True)
class Worn:
    """What a trained policy consists of.

    Attributes:
        path: of its weights.
        adapter: on them, or None.
        value_head: that search asks; None: the adapter's, else the one beside the weights.
    """

    path: str
    adapter: str | None = None
    value_head: str | None = None


def worn(kind: Kind, folder: str | None) -> Worn:
    """An arm's policy. TRL knows no value head, so its policies keep the one they began with."""
    if folder is None:
        return Worn(str(BASE))
    if kind is Kind.IMPROVE:
        return Worn(str(BASE), adapter=folder)
    return Worn(folder, value_head=str(BASE) if kind is Kind.GRPO else None)


def measure(
    policy: Worn, domain: Domain, split: str, problems: Sequence[Problem], measures: Sequence[str], threads: int,
    folder: Path,
) -> Measured:  # fmt: skip
    """All that is asked for.

    Args:
        folder: for the search's run; a new one.
    """
    version, correct = _lines(policy, domain, problems, measures, threads)
    if SEARCHED in measures:
        correct[SEARCHED] = _searched(policy, split, len(problems), threads, folder)
    return Measured(version, correct)


def _lines(
    policy: Worn, domain: Domain, problems: Sequence[Problem], measures: Sequence[str], threads: int
) -> tuple[str, dict[str, str]]:
    """The measures without search, and the policy's version."""
    from policy.base import Sampling
    from policy.transformer import Transformer
    from selfplay.rollouts import play

    loaded = Transformer(policy.path, policy.adapter, policy.value_head, threads=threads)
    correct = {}
    with _closing(loaded):
        for name, count, sampling in ((GREEDY, 1, Sampling.GREEDY), (SAMPLED, SAMPLES, Sampling.INDEPENDENT)):
            if name in measures:
                played = asyncio.run(play(loaded, domain, problems, count, derive_seed(SEED, name), sampling=sampling))
                right = [line.verdict.ok for line in played]
                correct[name] = digits(any(right[i : i + count]) for i in range(0, len(right), count))
    return loaded.version, correct


@contextmanager
def _closing(policy: object) -> Iterator[None]:
    try:
        yield
    finally:
        policy.close()  # type: ignore[attr-defined]


def _searched(policy: Worn, split: str, count: int, threads: int, folder: Path) -> str:
    """The command `evaluate`: one problem at a time in each of as many processes as there are threads."""
    import pyarrow.parquet as parquet  # type: ignore[import-untyped]

    shutil.rmtree(folder, ignore_errors=True)
    options = {"policy.path": policy.path, "policy.adapter": policy.adapter, "policy.value_head": policy.value_head}
    command = [
        sys.executable, "run_experiment.py", "evaluate", f"domain={DOMAIN}", f"split={split}", f"limit={count}",
        "search=mcts", f"budget={SEARCH_BUDGET}", f"workers={threads}", f"seed={SEED}", "policy=shipped",
        *(f"{name}={value or 'null'}" for name, value in options.items()), f"hydra.run.dir={folder}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise Refused(f"evaluate ended with {done.returncode}: {(done.stdout.strip().splitlines() or [''])[-1][:300]}")
    rows = parquet.read_table(folder / "results.parquet").to_pylist()
    return digits(row["correct"] for row in sorted(rows, key=lambda row: row["index"]))


def digits(right: Iterator[bool]) -> str:
    return "".join(str(int(one)) for one in right)
