"""The table of a comparison: accuracies with intervals, what was spent, what went wrong, differences to a baseline."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from omegaconf import DictConfig

from commands.errors import BadInput, plain, shorten, whole
from commands.grid import Cell
from commands.manifest import write_atomically, write_json
from commands.prices import Price
from commands.statistics import Floats, bootstrap_weights, paired, wilson
from commands.traces import MARKS, Run, read_run
from policy.budget import Budget
from verifiers.base import Status

OUTPUTS = ("text", "json", "markdown")
SPENT = ("tokens", "seconds", "simulations", "prompt_tokens")


@dataclass(frozen=True)
class Settings:
    """How a comparison is told.

    Attributes:
        baseline: POLICY, or POLICY/SEARCH, that all others are compared with; None: the control, else the first policy.
        samples: bootstrap resamples of the problems.
        output: what is printed; see OUTPUTS.
        title: of the picture.
    """

    baseline: str | None
    samples: int
    output: str
    title: str | None

    @classmethod
    def of(cls, cfg: DictConfig) -> Settings:
        """Raises BadInput."""
        if cfg.output not in OUTPUTS:
            raise BadInput(f"there is no output {shorten(str(cfg.output))}; allowed: {', '.join(OUTPUTS)}")
        baseline, title = (None if value is None else str(value) for value in (cfg.baseline, cfg.title))
        return cls(baseline, whole("samples", cfg.samples), cfg.output, title)

    def check(self, cells: Sequence[Cell]) -> None:
        """Raises BadInput for a baseline that is not compared."""
        names = {name for cell in cells for name in (cell.policy.label, f"{cell.policy.label}/{cell.search.label}")}
        if self.baseline is not None and self.baseline not in names:
            raise BadInput(f"there is no baseline {shorten(self.baseline)}; allowed: {', '.join(sorted(names))}")

    def baseline_of(self, cells: Sequence[Cell]) -> tuple[str, str | None]:
        """Labels of the policy, and of the searcher where one was named."""
        if self.baseline is None:
            return next((cell for cell in cells if cell.policy.control), cells[0]).policy.label, None
        policy, _, search = self.baseline.partition("/")
        return policy, search or None


@dataclass(frozen=True, eq=False)
class Standing:
    """What stood when a budget was spent, [problems] each.

    Attributes:
        correct, verified: 0 or 1.
        statuses: of the answers; `none` without one, `error` where the search had failed by then.
        spent: tokens, seconds, simulations and prompt tokens; these are nan where nobody counted them.
    """

    correct: Floats
    verified: Floats
    statuses: tuple[str, ...]
    spent: Mapping[str, Floats]


def standing(run: Run, cell: Cell, budget: Budget, marks: Mapping[tuple[int, str], Mapping[str, Any]]) -> Standing:
    """What stood at one of a cell's budgets.

    Of a budget that is read off, a search that had ended before has spent what it spent in all; another one just that
    budget, and of other currencies what it had spent when that was first seen.

    Args:
        marks: by the place of the problem and the budget.
    """
    rows = run.results
    total = {name: np.array([_number(row.get(name)) for row in rows]) for name in SPENT}
    if budget == cell.budget:
        return Standing(run.correct, np.array([float(row["verified"]) for row in rows]),
                        tuple(row["status"] for row in rows), total)
    assert cell.axis is not None
    limit = cell.limit(budget)
    answers = run.standing_at(cell.axis, limit)
    statuses = ["none" if answer is None else str(answer["status"]) for answer in answers]
    for index, row in enumerate(rows):
        if row["error"] is not None and row[cell.axis] <= limit:
            statuses[index] = Status.ERROR.value
    then = {name: np.array([min(_number(row.get(name)), _number(marks.get((index, str(budget)), row).get(name)))
                            for index, row in enumerate(rows)]) for name in SPENT}
    then[cell.axis] = np.minimum(total[cell.axis], limit)
    return Standing(np.array([float(answer is not None and answer["correct"]) for answer in answers]),
                    np.array([float(answer is not None and answer["verified"]) for answer in answers]),
                    tuple(statuses), then)


def _number(told: float | None) -> float:
    return float("nan") if told is None else float(told)


class Report:
    """What is told of a comparison that is over.

    Args:
        folder: the run's directory.
        names: the domain and the split.
    """

    def __init__(
        self, folder: Path, cells: Sequence[Cell], prices: Mapping[str, Price], settings: Settings,
        names: Mapping[str, str], seed: int,
    ) -> None:  # fmt: skip
        self.folder, self.cells, self.prices = folder, cells, prices
        self.settings, self.names, self.seed = settings, names, seed
        self.runs = {cell.number: read_run(folder / "cells" / cell.folder) for cell in cells}

    def write(self) -> None:
        """All files; then print the one that was asked for, and where the picture is."""
        from commands.comparison_picture import draw
        from commands.plot import save

        found = self.content()
        texts = {"text": _text(found), "markdown": markdown(found), "json": json.dumps(found)}
        write_json(self.folder / "comparison.json", found)
        for name, text in (("txt", texts["text"]), ("md", texts["markdown"])):
            write_atomically(self.folder / f"comparison.{name}", lambda file, text=text: file.write(  # type: ignore[misc]
                f"{text}\n".encode()))
        figure = draw(self)
        for suffix in ("png", "svg"):
            write_atomically(self.folder / f"comparison.{suffix}",
                             lambda file, suffix=suffix: save(figure, file, suffix))  # type: ignore[misc]
        print(texts[self.settings.output], flush=True)
        if self.settings.output == "text":
            print(f"\nrun: {self.folder}", flush=True)

    def content(self) -> dict[str, Any]:
        """Everything the tables hold; rates are in [0, 1], intervals 95 %, what was spent is a mean over problems."""
        weights = bootstrap_weights(len(self.runs[0].ids), self.settings.samples, self.seed)
        stood = {(cell.number, budget): each for cell in self.cells for budget, each in self._standing(cell)}
        policy, search = self.settings.baseline_of(self.cells)
        rows = []
        for cell in self.cells:
            other = next((each for each in self.cells if each.policy.label == policy and each.budgets == cell.budgets
                          and each.search.label == (search or cell.search.label)), cell)
            for budget in cell.budgets:
                row = self._row(cell, budget, stood[cell.number, budget])
                if other is not cell:
                    row["difference"] = _difference(stood[cell.number, budget], stood[other.number, budget], weights)
                rows.append(row)
        return {**self.names, "problems": len(self.runs[0].ids), "seed": self.seed, "samples": self.settings.samples,
                "baseline": policy if search is None else f"{policy}/{search}", "rows": rows}

    def _standing(self, cell: Cell) -> list[tuple[Budget, Standing]]:
        table = pq.read_table(self.folder / "cells" / cell.folder / "marks.parquet", schema=MARKS).to_pylist()
        marks = {(row["index"], row["budget"]): row for row in table}
        return [(budget, standing(self.runs[cell.number], cell, budget, marks)) for budget in cell.budgets]

    def _row(self, cell: Cell, budget: Budget, stood: Standing) -> dict[str, Any]:
        problems, solved = len(stood.correct), int(stood.correct.sum())
        counts = Counter(stood.statuses)
        price = self.prices.get(cell.policy.label)
        tokens, seconds, simulations, read = (float(stood.spent[name].mean()) for name in SPENT)
        prompt_tokens = None if np.isnan(read) else read
        return {
            "policy": cell.policy.label, "search": cell.search.label, "budget": str(budget),
            "control": cell.policy.control, "read_off": None if budget == cell.budget else str(cell.budget),
            "at_once": cell.concurrent, "problems": problems, "solved": solved, "accuracy": solved / problems,
            "ci95": list(wilson(solved, problems)),
            "greedy_accuracy": float(self.runs[cell.number].greedy_correct.mean()),
            "verified": float(stood.verified.mean()),
            "tokens": tokens, "seconds": seconds, "simulations": simulations,
            "prompt_tokens": prompt_tokens,
            "dollars": None if price is None else price.of(tokens, seconds, prompt_tokens),
            "unparsable": counts[Status.UNPARSABLE.value], "timeouts": counts[Status.TIMEOUT.value],
            "errors": counts[Status.ERROR.value], "no_answer": counts["none"], "difference": None,
        }  # fmt: skip


def _difference(ours: Standing, theirs: Standing, weights: Floats) -> dict[str, Any]:
    mean, low, high = paired(ours.correct, theirs.correct, weights)
    apart = ours.correct - theirs.correct
    return {"mean": mean, "ci95": [low, high], "only_this": int((apart > 0).sum()),
            "only_baseline": int((apart < 0).sum()), "excludes_zero": low > 0 or high < 0}


def priced(run: Run, price: Price | None) -> Run:
    """A run with a third currency beside tokens and seconds: `dollars`, what 1,000 such problems would have cost."""
    if price is None:
        return run

    def with_dollars(row: Mapping[str, Any]) -> dict[str, Any]:
        cost = price.of(row["tokens"], row["seconds"], row["prompt_tokens"])
        return {**row, "dollars": 0.0 if cost is None else 1000 * cost}  # what costs nothing is not drawn

    return replace(run, results=[with_dollars(row) for row in run.results],
                   trace={problem: [with_dollars(row) for row in given] for problem, given in run.trace.items()})


def table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The heads and the cells, as texts."""
    money = _money(content)
    read = _read(content)
    heads = ["policy", "search", "budget", "solved [%]", "tokens", *["prompt tokens"] * read,
             "seconds", "simulations", "verified [%]",
             "unparsable", "no answer", "timeouts", "errors", *["$ per 1,000"] * money,
             f"minus {content['baseline']} [points]"]
    rows = []
    for row in content["rows"]:
        low, high = (100 * bound for bound in row["ci95"])
        apart = row["difference"]
        rows.append([
            row["policy"], row["search"], row["budget"] + ("" if row["read_off"] is None else "*"),
            f"{100 * row['accuracy']:.1f} [{low:.1f}, {high:.1f}]", f"{row['tokens']:,.0f}",
            *([f"{row['prompt_tokens']:,.0f}" if row["prompt_tokens"] is not None else "-"] if read else []),
            f"{row['seconds']:.3g}", f"{row['simulations']:,.0f}", f"{100 * row['verified']:.1f}",
            *(str(row[name]) for name in ("unparsable", "no_answer", "timeouts", "errors")),
            *(["-" if row["dollars"] is None else f"{1000 * row['dollars']:.3g}"] if money else []),
            "-" if apart is None else f"{100 * apart['mean']:+.1f} "
            f"[{100 * apart['ci95'][0]:+.1f}, {100 * apart['ci95'][1]:+.1f}]",
        ])  # fmt: skip
    return heads, rows


def _money(content: Mapping[str, Any]) -> bool:
    return any(row["dollars"] is not None for row in content["rows"])


def _read(content: Mapping[str, Any]) -> bool:
    return any(row["prompt_tokens"] for row in content["rows"])


def notes(content: Mapping[str, Any]) -> list[str]:
    """What a reader of the table must know, a sentence each."""
    told = ["Intervals are 95 %: Wilson's of what is solved, the bootstrap's over problems of paired differences.",
            "Tokens, seconds and simulations are means over problems."]
    if _money(content):
        told.append("$ per 1,000 problems: tokens generated, prompt tokens and hours, at the prices given for each. "
                    "Prompt tokens are as a server counts them; its rebate for cached ones is not known.")
    if any(row["read_off"] for row in content["rows"]):
        told.append("* Read off an evaluation at the longest budget of its currency: the answer that stood then.")
    if wide := sorted({row["at_once"] for row in content["rows"]} - {1}):
        told.append(f"Budgets without seconds: up to {' or '.join(map(str, wide))} problems at once in a process, "
                    "which share its time; seconds then are not those of somebody who waits for one answer.")
    if any(row["control"] for row in content["rows"]):
        told.append("The control plays random legal steps; its tokens are characters, and cost no model.")
    return told


def _title(content: Mapping[str, Any]) -> str:
    return plain(f"{content['domain']}, {content['split']}: {content['problems']} problems, seed {content['seed']}")


def _text(content: Mapping[str, Any]) -> str:
    heads, rows = table(content)
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) if i < 3 else cell.rjust(width)
                  for i, (cell, width) in enumerate(zip(cells, widths, strict=True))).rstrip()
        for cells in [heads, *rows]
    ]  # fmt: skip
    return "\n".join([_title(content), "", *lines, "", *notes(content)])


def markdown(content: Mapping[str, Any]) -> str:
    """The table in GitHub's dialect."""
    heads, rows = table(content)
    lines = [f"| {' | '.join(cells)} |" for cells in [heads, ["---"] * 3 + ["---:"] * (len(heads) - 3), *rows]]
    return "\n".join([f"**{_title(content)}**", "", *lines, "", " ".join(notes(content)).replace("*", r"\*")])
