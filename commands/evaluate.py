"""Solve the problems of a split and grade the answers; the trace of every answer over time is kept.

Writes manifest.json, results.parquet (a row a problem), trace.parquet (a row an answer) and summary.json into the run's
directory. Grading happens here, after a search has ended: no searcher or worker process ever holds a reference.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from commands.batch import Plan, as_json, run_here, run_in_workers
from commands.compose import load_domain, load_searcher
from commands.errors import REFUSALS, BadInput, no_more_interrupts, plain, shorten, whole
from commands.manifest import claim, describe, now, write_json
from commands.statistics import expected_calibration_error, wilson
from commands.think import Attempt
from commands.traces import RESULTS, TRACE, write_table
from commands.usage import Ledger, as_usage, usage_in_words
from policy.budget import Budget
from search.base import Answer
from verifiers.base import Domain, Problem, Status, Verdict

CONCURRENT = 32
ENDLESS = 10_000


def run(cfg: DictConfig) -> int:
    """See the module. Returns 0, or 130 when interrupted (what was done by then is written)."""
    budget = Budget.parse(cfg.budget)
    workers, concurrent = whole("workers", cfg.workers), _concurrent(cfg.concurrent, budget)
    if cfg.output not in ("text", "json"):
        raise BadInput(f"there is no output {shorten(str(cfg.output))}; allowed: text, json")
    domain = load_domain(cfg.domain)
    load_searcher(cfg.search)  # a bad option is refused before any problem is drawn
    problems = draw(domain, str(cfg.split), cfg.limit, whole("split_seed", cfg.split_seed, 0))
    if not problems:
        raise BadInput(f"the split {shorten(str(cfg.split))} of {domain.name} holds no problem")
    choices = HydraConfig.get().runtime.choices
    names = {"domain": choices["domain"], "split": cfg.split, "search": choices["search"], "policy": choices["policy"],
             "budget": str(budget)}
    seed = whole("seed", cfg.seed, 0)
    configs = as_json(cfg.domain), as_json(cfg.policy), as_json(cfg.search), as_json(cfg.tools)
    plan = Plan(*configs, str(budget), seed, concurrent, as_json(cfg.generator), as_json(cfg["values"]))
    folder = Path(HydraConfig.get().runtime.output_dir)
    claim(folder)
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    manifest = describe({str(key): value for key, value in config.items()},
                        {"seed": seed, "split_seed": cfg.split_seed}, **names, label=cfg.label, problems=len(problems),
                        workers=workers, concurrent=concurrent)
    write_json(folder / "manifest.json", manifest)
    return Evaluation(domain, problems, names, cfg.output == "json", folder, manifest).run(plan, workers)


class Evaluation:
    """One evaluation under way."""

    def __init__(self, domain: Domain, problems: list[Problem], names: Mapping[str, str], as_json: bool, folder: Path,
                 manifest: dict[str, Any]) -> None:
        self.domain = domain
        self.problems = problems
        self.names = dict(names)
        self.as_json = as_json
        self.folder = folder
        self.manifest = manifest
        self.rows: list[dict[str, Any]] = []
        self.trace: list[dict[str, Any]] = []
        self.ledger = Ledger()

    def run(self, plan: Plan, workers: int) -> int:
        code, status = 0, "finished"
        with _Progress(len(self.problems)) as progress:
            def done(index: int, attempt: Attempt) -> None:
                self.grade(index, attempt)
                progress.advance(self.rows)

            try:
                if workers == 1:
                    self.manifest["policy_version"] = run_here(plan, self.problems, done, self.ledger.note)
                else:
                    self.manifest["policy_version"] = run_in_workers(plan, self.problems, workers, done,
                                                                     self.ledger.note)
            except KeyboardInterrupt:
                no_more_interrupts()
                code, status = 130, "interrupted"
            except OSError as error:  # nobody takes our output: the figures are kept all the same
                self.write(summarise(self.rows, self.names), f"stopped: {error.strerror}")
                raise
            except REFUSALS:  # the policy cannot be loaded: there was no run
                (self.folder / "manifest.json").unlink()
                raise
            except BrokenProcessPool:
                code, status = 2, "a worker process died"
        if code and not self.rows:
            (self.folder / "manifest.json").unlink()
            print(f"{status} before any problem was done: there is no run", file=sys.stderr)
            return code
        self.finish(status)
        if code:
            print(f"{status}: {len(self.rows)} of {len(self.problems)} problems are in {self.folder}", file=sys.stderr)
        return code

    def grade(self, index: int, attempt: Attempt) -> None:
        """Check every answer of one problem, once for each distinct text, and keep the rows."""
        problem = self.problems[index]
        verdicts: dict[str, Verdict] = {}
        for answer in attempt.answers:
            if answer.text not in verdicts:
                verdicts[answer.text] = _check(self.domain, problem, answer.text)
        final, greedy = attempt.final, attempt.greedy
        for number, answer in enumerate(attempt.answers):
            verdict = verdicts[answer.text]
            self.trace.append({
                "problem_id": problem.id, "index": index, "answer_number": number, "seconds": answer.seconds,
                "tokens": answer.tokens, "simulations": answer.simulations, "answer": answer.text,
                "confidence": answer.confidence, "verified": answer.verified, "correct": verdict.ok,
                "status": verdict.status.value, "greedy": answer is greedy, "prompt_tokens": answer.prompt_tokens,
            })
        row = _row(problem, index, attempt, None if final is None else verdicts[final.text])
        row["greedy_correct"] = greedy is not None and verdicts[greedy.text].ok
        self.rows.append(row)
        if self.as_json:
            self.say({"problem": problem.prompt, "domain": self.names["domain"], **{key: row[key] for key in (
                "answer", "verified", "correct", "status", "confidence", "seconds", "tokens", "simulations", "thoughts",
                "greedy_correct", "error")}})

    def finish(self, status: str) -> None:
        """Write everything, then say the summary; where the disk refuses, say the summary all the same."""
        used = self.ledger.total()
        summary = {**summarise(self.rows, self.names), **as_usage(used)}
        try:
            self.write(summary, status)
        finally:
            if self.as_json:
                self.say(summary)
            else:
                print(_sentence(summary))
                if used is not None:
                    print(f"asked of the server: {usage_in_words(used)}")
                print(f"run: {self.folder}", flush=True)

    def write(self, summary: Mapping[str, Any], status: str) -> None:
        """All of the run's files, or none but a manifest that says so."""
        self.rows.sort(key=lambda row: row["index"])
        self.trace.sort(key=lambda row: (row["index"], row["answer_number"]))
        manifest = {**self.manifest, **as_usage(self.ledger.total()), "status": status, "ended": now(),
                    "partial": len(self.rows) < len(self.problems)}
        try:
            write_table(self.folder / "results.parquet", self.rows, RESULTS)
            write_table(self.folder / "trace.parquet", self.trace, TRACE)
            write_json(self.folder / "summary.json", summary)
            write_json(self.folder / "manifest.json", manifest)
        except BadInput as error:
            for name in ("results.parquet", "trace.parquet", "summary.json"):
                (self.folder / name).unlink(missing_ok=True)
            with suppress(BadInput):
                write_json(self.folder / "manifest.json", {**manifest, "status": f"not written: {error}"})
            raise

    def say(self, what: Mapping[str, Any]) -> None:
        print(json.dumps(what), flush=True)


def draw(domain: Domain, split: str, limit: int | None, seed: int) -> list[Problem]:
    """The first problems of a split. Raises BadProblem for an unknown split, BadInput for a limit that cannot be."""
    if limit is not None:
        return list(itertools.islice(domain.problems(split, seed), whole("limit", limit)))
    problems = list(itertools.islice(domain.problems(split, seed), ENDLESS + 1))
    if len(problems) > ENDLESS:
        raise BadInput(f"the split {shorten(split)} has no end; set limit=N")
    return problems


def summarise(rows: list[dict[str, Any]], names: Mapping[str, str]) -> dict[str, Any]:
    """The figures of an evaluation; intervals are 95 %, rates in [0, 1]."""
    count = len(rows)
    solved = sum(row["correct"] for row in rows)
    answered = [row for row in rows if row["answer"] is not None]
    low, high = wilson(solved, count)

    def mean(key: str) -> float:
        return round(sum(row[key] for row in rows) / count, 6) if count else 0.0

    def having(status: Status) -> int:
        return sum(row["status"] == status.value for row in rows)

    return {
        **names,
        "problems": count,
        "solved": solved,
        "accuracy": mean("correct"),
        "ci95": [round(low, 6), round(high, 6)],
        "greedy_accuracy": mean("greedy_correct"),
        "ece": round(expected_calibration_error(np.array([row["confidence"] for row in answered]),
                                                np.array([float(row["correct"]) for row in answered])), 6),
        "mean_seconds": mean("seconds"),
        "max_seconds": round(max((row["seconds"] for row in rows), default=0.0), 6),
        "mean_tokens": mean("tokens"),
        "unparsable": having(Status.UNPARSABLE),
        "timeouts": having(Status.TIMEOUT),
        "errors": having(Status.ERROR),
    }


def _row(problem: Problem, index: int, attempt: Attempt, verdict: Verdict | None) -> dict[str, Any]:
    """A row of results; the status is the final answer's verdict, `error` if the search failed, or `none`."""
    final: Answer | None = attempt.final
    status = "none" if verdict is None else verdict.status.value
    return {
        "problem_id": problem.id, "index": index, "problem": problem.prompt,
        "answer": None if final is None else final.text,
        "confidence": 0.0 if final is None else final.confidence,
        "verified": final is not None and final.verified,
        "correct": verdict is not None and verdict.ok,
        "status": Status.ERROR.value if attempt.error is not None else status,
        "detail": "" if verdict is None else verdict.detail,
        "seconds": attempt.seconds, "tokens": attempt.tokens, "simulations": attempt.simulations,
        "answers": len(attempt.answers), "thoughts": [] if final is None else list(final.thoughts),
        "error": attempt.error, "prompt_tokens": attempt.prompt_tokens,
    }


def _check(domain: Domain, problem: Problem, answer: str) -> Verdict:
    try:
        return domain.check(problem, answer)
    except Exception as error:
        return Verdict(Status.ERROR, detail=f"the check failed: {type(error).__name__}: {error}")


def _concurrent(value: Any, budget: Budget) -> int:
    if value != "auto":
        return whole("concurrent", value, also="auto")
    return CONCURRENT if budget.seconds is None else 1


def _sentence(summary: Mapping[str, Any]) -> str:
    low, high = summary["ci95"]
    return plain(
        f"{summary['domain']} {summary['split']}, {summary['search']} with {summary['policy']}, {summary['budget']}: "
        f"{summary['solved']} of {summary['problems']} solved ({100 * summary['accuracy']:.1f} %, "
        f"95 % interval {100 * low:.1f} to {100 * high:.1f}), greedy {100 * summary['greedy_accuracy']:.1f} %, "
        f"{summary['mean_seconds']:.2f} s and {summary['mean_tokens']:.0f} tokens a problem, "
        f"{summary['unparsable']} unparsable, {summary['timeouts']} timeouts, {summary['errors']} errors")


class _Progress:
    """A progress bar on stderr, in a terminal only."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._bar: Any = None

    def __enter__(self) -> _Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("thinking", total=self._total)
        return self

    def advance(self, rows: list[dict[str, Any]]) -> None:
        if self._bar is not None:
            solved = sum(row["correct"] for row in rows)
            self._bar.update(self._task, completed=len(rows), description=f"solved {solved}")

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
