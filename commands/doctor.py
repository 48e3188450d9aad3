"""Check this machine: torch, cores, memory, GPU, sandbox, disk, Ray, and a puzzle for the shipped policy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict

from omegaconf import DictConfig

from commands import checks
from commands.checks import Finding, Status
from commands.compose import folder_option
from commands.errors import BadInput, one_line, shorten
from commands.host import Host
from policy.budget import Budget

__all__ = ["run"]

Checks = Mapping[str, Callable[[], Finding]]


def run(cfg: DictConfig) -> int:
    if cfg.output not in ("text", "json"):
        raise BadInput(f"output={shorten(str(cfg.output))} cannot be; allowed: text, json")
    if not isinstance(cfg.ray, bool):
        raise BadInput(f"ray={shorten(str(cfg.ray))} cannot be; allowed: true or false")
    host, folder, budget = Host(), folder_option("folder", cfg.folder), Budget.parse(cfg.budget)
    return examine({
        "packages": lambda: checks.packages(),
        "torch": lambda: checks.torch(),
        "cores": lambda: checks.cores(host),
        "memory": lambda: checks.memory(host),
        "gpu": lambda: checks.gpu(),
        "sandbox": lambda: checks.sandbox(),
        "disk": lambda: checks.disk(folder),
        "ray": lambda: checks.ray(cfg.ray),
        "policy": lambda: checks.policy(budget),
        "compiler": lambda: checks.program(("cc", "gcc", "clang"), "building what `make heavy` and `make bench` use"),
        "browser": lambda: checks.program(("chromium", "chromium-browser", "google-chrome"), "tests of web pages"),
    }, cfg.output)


def examine(every: Checks, output: str) -> int:
    """Make each check in turn and say what it found, at once. 1 if any failed.

    The one boundary where what a check raises becomes data: the checks after it are made as well.
    """
    worst = 0
    for name, check in every.items():
        try:
            finding = check()
        except Exception as error:
            what = one_line(f"{type(error).__name__}: {error}")
            finding = Finding(Status.FAILED, what, "this should work everywhere; say so in an issue")
        worst = max(worst, finding.status is Status.FAILED)
        print(told(name, finding, output), flush=True)
    return int(worst)


def told(name: str, finding: Finding, output: str) -> str:
    """A finding for people, or as JSON."""
    if output == "json":
        return json.dumps({"check": name, **asdict(finding)})
    line = f"{finding.status.value:8} {name:9} {finding.found}"
    return f"{line}\n{'':19}{finding.advice}" if finding.advice else line
