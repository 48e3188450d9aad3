"""The command line of the race; see the package."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from benchmarks.race.arms import ARMS, Kind
from benchmarks.race.contest import Race
from benchmarks.race.measuring import GREEDY, MEASURES
from benchmarks.race.results import Refused, Results, bind, choose
from benchmarks.race.tables import picture, table
from benchmarks.race.training import DOMAIN, ROOT, Track
from policy.base import BadPolicy
from policy.weights import naming
from verifiers.domains.countdown import Countdown

SPLITS = {"validation": "validation", "test": "tot100"}  # the paper's 100 puzzles are the test
TUNED_ON = "validation"
"""Configurations are chosen on these problems, whatever the race is measured on."""
EVERY = 2.0
"""Minutes between two marks."""


def main(words: Sequence[str] | None = None) -> int:
    options = parser().parse_args(words)
    try:
        if options.command in ("table", "plot"):
            show(options)
        else:
            race(options)
    except (Refused, BadPolicy) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m benchmarks.race", description="Arms at equal time; see the package.")
    commands = top.add_subparsers(dest="command", required=True)
    for name, about in (("tune", "try all configurations for fewer minutes"), ("run", "the race of the chosen ones")):
        sub = commands.add_parser(name, help=about)
        sub.add_argument("--minutes", type=float, default=2.0 if name == "tune" else 6.0, help="on the clock of an arm")
        sub.add_argument("--seeds", type=int, nargs="+", default=[100] if name == "tune" else [0, 1, 2])
        sub.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
        sub.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
        sub.add_argument("--limit", type=int, default=200, help="problems to measure on, at most")
        sub.add_argument("--trl-python", default=os.environ.get("TRL_PYTHON"))
        if name == "run":
            sub.add_argument("--split", choices=list(SPLITS), default="validation")
            sub.add_argument("--config", action="append", default=[], metavar="ARM=NAME",
                             help="instead of the chosen one")
    for name in ("table", "plot"):
        commands.add_parser(name).add_argument("--split", choices=list(SPLITS), default="validation")
    for sub in commands.choices.values():
        sub.add_argument("folder", type=Path, help="where everything is kept")
    commands.choices["plot"].add_argument("--out", type=Path, help="without suffix; default: FOLDER/race")
    return top


def show(options: argparse.Namespace) -> None:
    rows, split = Results(options.folder).rows, SPLITS[options.split]
    if options.command == "table":
        print(table(rows, split), end="")
        return
    out = options.out or options.folder / "race"
    for suffix in ("png", "svg"):
        path = out.with_name(f"{out.name}.{suffix}")
        path.write_bytes(picture(rows, split, suffix))
        print(path)


def race(options: argparse.Namespace) -> None:
    if options.threads < 1 or options.limit < 1 or options.minutes <= 0:
        raise Refused("threads, limit and minutes must be above 0")
    tuning = options.command == "tune"
    python = trl(options.trl_python) if any(ARMS[arm].kind is Kind.GRPO for arm in options.arms) else None
    folder = options.folder.resolve()
    stage = "tune" if tuning else "race"
    bind(folder, stage, {"minutes": options.minutes, "threads": options.threads, "limit": options.limit,
                         "base": naming("policy/shipped")(None)})
    results = Results(folder)
    chosen = {} if tuning else chosen_configs(results, options)
    arguments = domain_arguments()
    domain = Countdown(**arguments)
    split = SPLITS[TUNED_ON if tuning else options.split]
    marks = [options.minutes] if tuning else marks_of(options.minutes)
    track = Track(arguments, prompts(folder, domain), options.threads, marks, python)
    problems = list(itertools.islice(domain.problems(split, 0), options.limit))
    contest = Race(folder, stage, track, results, domain, split, problems, [GREEDY] if tuning else MEASURES)
    contest.begin()
    for seed in options.seeds:
        for arm in options.arms:
            for config in ARMS[arm].configs if tuning else [chosen[arm]]:
                contest.go(arm, config, seed)


def chosen_configs(results: Results, options: argparse.Namespace) -> dict[str, str]:
    """By arm. Raises Refused where one is neither tuned nor given."""
    given = dict(word.partition("=")[::2] for word in options.config)
    for arm, config in given.items():
        if arm not in ARMS or config not in ARMS[arm].configs:
            known = ", ".join(f"{one}={name}" for one in ARMS for name in ARMS[one].configs)
            raise Refused(f"there is no configuration {arm}={config}; allowed: {known}")
    return {arm: given[arm] if arm in given else choose(
        results, arm, [(name, ARMS[arm].options(name)) for name in ARMS[arm].configs], SPLITS[TUNED_ON],
    ) for arm in options.arms}


def marks_of(minutes: float) -> list[float]:
    """Every two minutes, and the end."""
    return [EVERY * number for number in range(1, int(minutes / EVERY) + 1) if EVERY * number < minutes] + [minutes]


def trl(python: str | None) -> str:
    """The Python that TRL is in. Raises Refused, in one line."""
    if python is None:
        raise Refused("the arm trl_grpo needs a Python with TRL: --trl-python PATH or TRL_PYTHON; or leave it out with "
                      "--arms")
    try:
        done = subprocess.run([python, "-c", "import trl, torch, sympy, numpy; print(trl.__version__)"],
                              text=True, capture_output=True, check=False)
    except OSError as error:
        raise Refused(f"cannot run {python}: {error.strerror}") from error
    if done.returncode:
        raise Refused(f"{python} cannot import trl: {done.stderr.strip().splitlines()[-1][:200]}")
    return python


def domain_arguments() -> dict[str, Any]:
    plain = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "domain" / f"{DOMAIN}.yaml"))
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items() if name != "_target_"}


def prompts(folder: Path, domain: Countdown) -> list[str]:
    """Of all training problems; kept, since finding the last ones takes long."""
    path = folder / "prompts.json"
    if not path.exists():
        part = path.with_suffix(".part")
        part.write_text(json.dumps([problem.prompt for problem in domain.problems("train", 0)]))
        os.replace(part, path)
    found: list[str] = json.loads(path.read_text())
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends this ends the arm that runs
    sys.exit(main())
