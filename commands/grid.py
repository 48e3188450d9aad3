"""What a comparison is of: policies x searchers x budgets, and which evaluations that takes.

Budgets in seconds are nested: no search knows how many it has until they are over, so the evaluation at the longest is
read off at the shorter ones. Of tokens it knows what is left, and some work in waves as wide as fits: each budget gets
an evaluation of its own, unless nested=all says that the longest is to be read off, as a curve is. So do a mix such as
10s+5500tok and every budget of simulations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from commands.compose import group_config
from commands.errors import BadInput, one_line, shorten
from policy.budget import Budget

AXES = ("tokens", "seconds")
NESTED = {"seconds": ("seconds",), "all": AXES, "none": ()}  # the currencies whose budgets are read off
CONTROL = "uniform"
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}", re.ASCII)
_FORMS = "NAME, {LABEL: NAME} or {LABEL: {%s: NAME, option: value}}, or a list of these"


@dataclass(frozen=True)
class Entry:
    """A policy or a searcher with its options.

    Attributes:
        label: what the tables call it.
        name: of its YAML.
        config: of its constructor, resolved; plain data.
    """

    label: str
    name: str
    config: Mapping[str, Any]

    @property
    def control(self) -> bool:
        return self.name == CONTROL


@dataclass(frozen=True)
class Cell:
    """One evaluation, which gives a row of the table for each of its budgets.

    Attributes:
        number: its place among all, from 0.
        budgets: ascending; the last is the one that is thought with, the others are read off.
        axis: the currency, `tokens` or `seconds`; None for simulations and mixes.
        read_off: see nested.
        concurrent: problems at once in one process.
    """

    number: int
    policy: Entry
    search: Entry
    budgets: tuple[Budget, ...]
    axis: str | None
    concurrent: int

    @property
    def budget(self) -> Budget:
        return self.budgets[-1]

    @property
    def label(self) -> str:
        return f"{self.policy.label} / {self.search.label}"

    @property
    def folder(self) -> str:
        return f"{self.number:03}_{self.policy.label}_{self.search.label}_{self.budget}"

    def limit(self, budget: Budget) -> float:
        """A nested budget, as a number of its currency."""
        assert self.axis is not None
        return float(getattr(budget, self.axis))


def entries(group: str, asked: Any, option: str) -> list[Entry]:
    """The policies or searchers that a person named, in that order. Raises BadInput.

    Args:
        group: `policy` or `search`.
        asked: a name; a mapping of labels to names or to options with the name among them; or a list of these.
        option: where it was said, for messages.
    """
    forms = _FORMS % group
    plain = OmegaConf.to_container(asked, resolve=True) if isinstance(asked, DictConfig | ListConfig) else asked
    found: dict[str, Entry] = {}
    for item in plain if isinstance(plain, list) else [plain]:
        pairs = item.items() if isinstance(item, dict) else [(item, item)]
        for label, said in pairs:
            if not isinstance(label, str) or not _LABEL.fullmatch(label):
                raise BadInput(f"{option} cannot hold {shorten(str(label))}; allowed: {forms}; "
                               "labels are up to 40 letters, digits and _ . + -")
            if label in found:
                raise BadInput(f"{option} names {shorten(label)} twice; labels tell them apart: {forms}")
            found[label] = _entry(group, label, said, f"{option}.{label}", forms)
    if not found:
        raise BadInput(f"{option} is empty; allowed: {forms}")
    return list(found.values())


def _entry(group: str, label: str, said: Any, where: str, forms: str) -> Entry:
    name, options = (said, {}) if isinstance(said, str) else (None, said)
    if isinstance(options, dict) and name is None:
        options = dict(options)
        name = options.pop(group, None)
    if not isinstance(name, str) or not isinstance(options, dict):
        raise BadInput(f"{where}={shorten(str(said))} cannot be; allowed: {forms}")
    base = group_config(group, name)
    OmegaConf.set_struct(base, True)
    try:
        merged = OmegaConf.merge(base, options)
        config = OmegaConf.to_container(merged, resolve=True)
    except ConfigKeyError as error:
        known = ", ".join(str(key) for key in base if key != "_target_")
        raise BadInput(f"{where} has no option {shorten(str(error.key))}; those of {name}: {known}") from error
    except OmegaConfBaseException as error:
        raise BadInput(f"{where}: {one_line(str(error).splitlines()[0])}") from error
    made = cast(dict[str, Any], config)
    if missing := [key for key, value in made.items() if value == "???" and key != "domain"]:
        raise BadInput(f"{where}.{missing[0]} is missing; it must be given: "
                       f"{{{label}: {{{group}: {name}, {missing[0]}: ...}}}}")
    return Entry(label, name, made)


def budgets(asked: Any) -> list[Budget]:
    """Raises BadInput or BadBudget."""
    plain = OmegaConf.to_container(asked) if isinstance(asked, ListConfig) else asked
    texts = plain if isinstance(plain, list) else [plain]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise BadInput(f"budgets={shorten(str(plain))} cannot be; allowed: a list such as [1s,5s] or [1000tok,5500tok]")
    return list({str(budget): budget for budget in map(Budget.parse, texts)}.values())


def nested(asked: Sequence[Budget], read_off: Sequence[str]) -> list[tuple[str | None, tuple[Budget, ...]]]:
    """Budgets by the evaluation that they come from: (currency, ascending budgets), as the module says.

    Args:
        read_off: currencies whose budgets come from the longest one.
    """
    groups: list[tuple[str | None, tuple[Budget, ...]]] = []
    for axis in AXES:
        same = tuple(sorted((budget for budget in asked if currency(budget) == axis),
                            key=lambda budget: float(getattr(budget, axis))))
        groups += [(axis, same)] if same and axis in read_off else [(axis, (budget,)) for budget in same]
    return groups + [(None, (budget,)) for budget in asked if currency(budget) is None]


def currency(budget: Budget) -> str | None:
    """`tokens` or `seconds` for a budget of that alone; else None."""
    if budget.simulations is not None or (budget.tokens is None) == (budget.seconds is None):
        return None
    return "tokens" if budget.tokens is not None else "seconds"


def cells(
    policies: Sequence[Entry], searches: Sequence[Entry], asked: Sequence[Budget], read_off: Sequence[str],
    concurrent: int | None, at_once: int,
) -> list[Cell]:
    """The evaluations.

    Args:
        read_off: see nested.
        concurrent: problems at once in one process; None: one where seconds are counted, else `at_once`.
    """
    found: list[Cell] = []
    for policy in policies:
        for search in searches:
            for axis, group in nested(asked, read_off):
                width = concurrent or (1 if group[-1].seconds is not None else at_once)
                found.append(Cell(len(found), policy, search, group, axis, width))
    return found
