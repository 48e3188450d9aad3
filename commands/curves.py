"""Accuracy against thinking time of the policies of a run: an evaluation each, in RUN/curves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from commands.batch import Plan, as_json
from commands.compose import load_domain
from commands.errors import BadInput, shorten, whole
from commands.evaluate import Evaluation, draw
from commands.launch import INTERRUPTED
from commands.manifest import describe, write_json
from policy.budget import Budget

OF = ("none", "ends", "all")


def check_curves(cfg: DictConfig) -> None:
    """Before anything is played: can the evaluations be made that are asked for? Raises BadInput, BadProblem."""
    how = cfg.curves
    if how.of not in OF:
        raise BadInput(f"curves.of={shorten(str(how.of))} cannot be; allowed: {', '.join(OF)}")
    if how.of != "none":
        Budget.parse(how.budget)
        whole("curves.workers", how.workers)
        if how.limit is not None:
            whole("curves.limit", how.limit)
        first = None if how.limit is None else 1  # to draw all of a split may take seconds, here for nothing
        if not draw(load_domain(cfg.domain), str(how.split), first, 0):
            raise BadInput(f"the split {shorten(str(how.split))} holds no problem to draw curves of")


def draw_curves(cfg: DictConfig, folder: Path, adapters: Mapping[int, Path | None]) -> bool:
    """Evaluate each generation's policy as `cfg.curves` says, one problem at a time in each worker, so that the seconds
    are those of somebody who waits for one answer. What is there already stays. Returns whether anything was missing.

    Raises: BadInput where an evaluation does not end, KeyboardInterrupt where one is interrupted.
    """
    if not adapters:
        return False
    missing = False
    how = cfg.curves
    budget, workers = str(Budget.parse(how.budget)), whole("curves.workers", how.workers)
    domain = load_domain(cfg.domain)
    problems = draw(domain, str(how.split), how.limit, 0)
    choices = HydraConfig.get().runtime.choices
    for number, adapter in adapters.items():
        policy = json.dumps(json.loads(as_json(cfg.policy)) | {"adapter": None if adapter is None else str(adapter)})
        plan = Plan(as_json(cfg.domain), policy, as_json(cfg.search), as_json(cfg.tools), budget, cfg.seed, 1,
                    as_json(cfg.generator), as_json(cfg["values"]))
        place = folder / "curves" / f"generation-{number}"
        names = {"domain": choices["domain"], "split": str(how.split), "search": choices["search"],
                 "policy": choices["policy"], "budget": budget}
        asked = {"plan": vars(plan), "limit": how.limit}
        if _is_there(place, asked):
            continue
        missing = True
        shutil.rmtree(place, ignore_errors=True)
        manifest = describe(asked, {"seed": cfg.seed}, **names, label=f"generation {number}", problems=len(problems),
                            workers=workers, concurrent=1)
        write_json(place / "manifest.json", manifest)
        code = Evaluation(domain, problems, names, False, place, manifest).run(plan, workers)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            raise BadInput(f"the evaluation in {place} did not end; the same command begins it again")
    return missing


def _is_there(place: Path, asked: Mapping[str, Any]) -> bool:
    try:
        manifest = json.loads((place / "manifest.json").read_text())
    except (FileNotFoundError, ValueError):
        return False
    return manifest["status"] == "finished" and not manifest["partial"] and manifest["config"] == asked
