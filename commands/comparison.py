"""Policies x searchers x budgets on the same problems and seeds: played, graded, and told as a table and a picture.

    RUN/manifest.json      what is compared; another comparison is refused there
    RUN/journal/3/ID.json  problems of cell 3 that are over, each durable as soon as it is
    RUN/cells/003_...      a cell that is over, as `evaluate` leaves it; `plot` and `compare` read these too
    RUN/comparison.*       the table (txt, md, json) and the picture (png, svg)

Whatever ends it, the same command goes on, with the loss of the problems that were under way.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from commands.batch import as_json
from commands.comparison_table import Report, Settings
from commands.compose import folder_option, load_domain, load_searcher
from commands.errors import REFUSALS, BadInput, no_more_interrupts, one_line, shorten, whole
from commands.evaluate import CONCURRENT, Evaluation, draw, summarise
from commands.grid import CONTROL, NESTED, Cell, Entry, budgets, cells, entries
from commands.manifest import alone, describe, reopen, write_json
from commands.prices import own_price, read_prices
from commands.records import Record, Records
from commands.shards import Assignment, Crew, cluster, pool
from commands.traces import MARKS, write_table
from commands.usage import Counted, Ledger
from policy.base import PolicyStopped
from selfplay.files import StoreError
from selfplay.pool import PoolBroken
from selfplay.trajectory import Job, Purpose
from verifiers.base import Problem

# Who computes and for how much, not what comes of it.
FREE_OF_A_POLICY = ("threads", "max_batch", "cache_mb", "speculate", "price_in", "price_out")


def run(cfg: DictConfig) -> int:
    """See the module. Returns 0, or 130 when interrupted."""
    comparison = Comparison(cfg)
    with alone(comparison.folder):
        attempt = reopen(comparison.folder, comparison.config, comparison.seed, comparison.free, **comparison.facts)
        attempt.counting = comparison.ledger.total
        try:
            with _refusals(comparison.folder):
                worked = comparison.play()
                comparison.report()
        except KeyboardInterrupt:
            no_more_interrupts()
            attempt.end("interrupted")
            print(f"stopped; the same command goes on from {comparison.folder}", file=sys.stderr)
            return 130
        except Exception as error:
            attempt.end("refused" if isinstance(error, REFUSALS) else "failed", one_line(str(error) or repr(error)))
            raise
        attempt.finish(worked)
    return 0


class Comparison:
    """One comparison, as its options say. Raises BadInput and the like for what cannot be.

    Attributes:
        folder: the run's directory.
        config: all that decides what comes of it.
        facts: for the manifest, besides.
        free: of `config`, what may change when it is resumed.
        ledger: what servers were asked for.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.folder, self.seed = folder_option("run", cfg.run), whole("seed", cfg.seed, 0)
        self.workers, self.settings = whole("workers", cfg.workers, 0), Settings.of(cfg)
        policies = entries("policy", "shipped" if cfg.policies is None else cfg.policies, "policies")
        searches = entries("search", "mcts" if cfg.searches is None else cfg.searches, "searches")
        self.policies = _with_control(policies, cfg.control)
        for search in searches:
            load_searcher(search.config)  # a bad option is refused before anything is thought about
        asked_prices = read_prices(cfg.prices, [entry.label for entry in self.policies])
        told_prices = {entry.label: own_price(entry.config) for entry in self.policies}
        self.prices = {label: price for label, price in told_prices.items() if price is not None} | asked_prices
        hourly = any(price.per_hour for price in self.prices.values())
        width = None if cfg.concurrent == "auto" else whole("concurrent", cfg.concurrent, also="auto")
        asked = budgets("5500tok" if cfg.budgets is None else cfg.budgets)
        if cfg.nested not in NESTED:
            raise BadInput(f"nested={shorten(str(cfg.nested))} cannot be; allowed: {', '.join(NESTED)}")
        self.cells = cells(self.policies, searches, asked, NESTED[cfg.nested], width, 1 if hourly else CONCURRENT)
        if hourly and any(cell.concurrent > 1 for cell in self.cells):
            raise BadInput("a price per hour needs the seconds of each problem alone; allowed: concurrent=1, or auto")
        _enough_cores(self.workers, self.cells, hourly)
        self.settings.check(self.cells)
        self.domain_config, self.domain = as_json(cfg.domain), load_domain(cfg.domain)
        self.around = {name: json.loads(as_json(cfg[name])) for name in ("tools", "generator", "values")}
        self.names = {"domain": HydraConfig.get().runtime.choices["domain"], "split": str(cfg.split)}
        count = None if cfg.count is None else whole("count", cfg.count)
        self.problems = draw(self.domain, str(cfg.split), count, whole("split_seed", cfg.split_seed, 0))
        if not self.problems:
            raise BadInput(f"the split {cfg.split} of {self.domain.name} holds no problem")
        self.config = self._config(cfg, searches, asked)
        self.free = [f"policies.{entry.label}.{name}" for entry in self.policies for name in FREE_OF_A_POLICY]
        self.facts = {**self.names, "workers": self.workers, "prices": {
            label: vars(price) for label, price in self.prices.items()}}
        identity = json.dumps([self.config["problems"], self.domain.name, self.seed])
        self._run_id = hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
        self._versions: dict[str, str] = {}
        self.ledger = Ledger()

    def _config(self, cfg: DictConfig, searches: Sequence[Entry], asked: Sequence[Any]) -> dict[str, Any]:
        ids = "\n".join(problem.id for problem in self.problems)
        return {
            "domain": json.loads(self.domain_config), **self.around, **{
                name: OmegaConf.to_container(cfg)[name]  # type: ignore[index,call-overload]
                for name in ("split", "count", "split_seed", "seed", "nested")},
            "problems": hashlib.blake2b(ids.encode(), digest_size=8).hexdigest(),
            "policies": {entry.label: dict(entry.config) for entry in self.policies},
            "searches": {entry.label: dict(entry.config) for entry in searches},
            "budgets": [str(budget) for budget in asked],
            "concurrent": [cell.concurrent for cell in self.cells],
        }  # fmt: skip

    def play(self) -> bool:
        """Think about whatever has not been thought about. Returns whether anything had been missing."""
        left = [cell for cell in self.cells if not self._is_over(cell)]
        if left:
            records = Records(str((self.folder / "journal").resolve()))
            jobs = {cell.number: self._jobs(cell, records) for cell in left}
            for cell in left:
                for kept in records.read(cell.number).values():
                    self._is_the_same(cell.policy, kept.policy_version)
            with cluster(self.workers if any(jobs.values()) else 0):
                for _, group in groupby(left, key=lambda cell: (cell.policy.label, cell.concurrent)):
                    self._play_group(list(group), jobs, records)
        shutil.rmtree(self.folder / "journal", ignore_errors=True)
        return bool(left)

    def report(self) -> None:
        """Write the tables and the picture, and print the table that was asked for."""
        Report(self.folder, self.cells, self.prices, self.settings, self.names, self.seed).write()

    def _play_group(self, group: Sequence[Cell], jobs: Mapping[int, Sequence[Job]], records: Records) -> None:
        """Cells of one policy, one after the other, by the same pool."""
        if not any(jobs[cell.number] for cell in group):  # all had been played, and were not settled any more
            for cell in group:
                self._settle(cell, records)
            return
        crew = Crew(self.domain_config, json.dumps(group[0].policy.config), json.dumps(self.around), {
            cell.number: Assignment(json.dumps(cell.search.config), tuple(map(str, cell.budgets))) for cell in group
        }, group[0].concurrent)  # fmt: skip
        with pool(crew, records, self.workers) as made:
            players = Counted(made, self.ledger, group[0].folder)
            for cell in group:
                for done in players.play(jobs[cell.number], None):
                    self._is_the_same(cell.policy, done.policy_version)
                self._settle(cell, records)

    def _jobs(self, cell: Cell, records: Records) -> list[Job]:
        """Those of a cell that are not in the journal. References stay here."""
        there = records.ids(cell.number)
        every = (self._job(cell, problem) for problem in self.problems)
        return [job for job in every if job.episode_id not in there]

    def _job(self, cell: Cell, problem: Problem) -> Job:
        return Job(self._run_id, Purpose.MATCH, cell.number, problem.sealed(), 0, self.seed)

    def _settle(self, cell: Cell, records: Records) -> None:
        """Grade a cell that is over, and write it as an evaluation."""
        found = records.read(cell.number)
        place = self.folder / "cells" / cell.folder
        shutil.rmtree(place, ignore_errors=True)
        names = {**self.names, "search": cell.search.name, "policy": cell.policy.name, "budget": str(cell.budget)}
        manifest = describe({"policy": dict(cell.policy.config), "search": dict(cell.search.config)},
                            {"seed": self.seed}, **names, label=cell.label, problems=len(self.problems),
                            workers=self.workers, concurrent=cell.concurrent, policy_version=self._version(cell.policy))
        evaluation = Evaluation(self.domain, self.problems, names, False, place, manifest)
        marks: list[dict[str, Any]] = []
        for index, problem in enumerate(self.problems):
            kept = found[self._job(cell, problem).episode_id]
            evaluation.grade(index, kept.attempt)
            marks += _marks(cell, index, kept)
        summary = summarise(evaluation.rows, names)
        write_json(place / "manifest.json", manifest)
        write_table(place / "marks.parquet", marks, MARKS)
        evaluation.write(summary, "finished")
        records.forget(cell.number)
        print(f"{cell.label}, {cell.budget}: {summary['solved']} of {summary['problems']} solved", file=sys.stderr)

    def _is_over(self, cell: Cell) -> bool:
        try:
            manifest = json.loads((self.folder / "cells" / cell.folder / "manifest.json").read_text())
        except (FileNotFoundError, ValueError):
            return False
        if manifest["status"] != "finished":
            return False
        self._is_the_same(cell.policy, manifest["policy_version"])
        return True

    def _is_the_same(self, policy: Entry, version: str) -> None:
        """Raises BadInput for a policy that is not what it was. One that could not even be asked has no version."""
        if version and self._versions.setdefault(policy.label, version) != version:
            raise BadInput(f"{self.folder} holds answers of the policy {policy.label} in its version "
                           f"{self._versions[policy.label]}, and now it is {version}; choose another run=")

    def _version(self, policy: Entry) -> str:
        return self._versions.get(policy.label, "")


def _marks(cell: Cell, index: int, kept: Record) -> Iterator[dict[str, Any]]:
    for budget, mark in zip(cell.budgets, kept.marks, strict=False):
        yield {"index": index, "budget": str(budget), **vars(mark)}


def _with_control(policies: Sequence[Entry], wanted: Any) -> list[Entry]:
    """The policies, and the control unless it is there or not wanted."""
    if not isinstance(wanted, bool):
        raise BadInput(f"control={wanted} cannot be; allowed: true or false")
    if not wanted or any(entry.control for entry in policies):
        return list(policies)
    if any(entry.label == CONTROL for entry in policies):
        raise BadInput(f"policies names another one {CONTROL!r}, as the control is called; choose another label")
    return [*policies, *entries("policy", CONTROL, "policies")]


def _enough_cores(workers: int, compared: Sequence[Cell], hourly: bool) -> None:
    """Raises BadInput where seconds count and workers would wait for each other's cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers > cores and (hourly or any(cell.budget.seconds is not None for cell in compared)):
        raise BadInput(f"workers={workers} cannot be where seconds count: each needs a core, and this process may use "
                       f"{cores}; allowed: at most {cores}, or budgets in tokens alone")


@contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    """What stops a comparison for a reason that a person can do something about becomes one line."""
    try:
        yield
    except (PoolBroken, StoreError) as error:
        raise BadInput(str(error)) from error
    except PolicyStopped as error:
        raise BadInput(f"the policy does no more ({error}); the same command goes on from {folder}") from error
    except ImportError as error:
        if error.name != "ray":
            raise
        raise BadInput(f"Ray is not installed ({error}); pip install ray, or choose workers=0") from error
