"""Every figure of the README, measured anew: python -m benchmarks.figures [GROUP | GROUP/NAME ...]

Runs the evaluations one after another (nothing else should run beside them), keeps what runs/figures already holds of
this very policy, and prints a line each; then the paired differences, and the picture in docs/. Groups: tokens (Game of
24, countdown-6, integrals and programs at equal tokens), seconds (accuracy against time), same (do the answers depend
on what runs beside?). Only evaluations whose GROUP/NAME begins with one of the arguments are run: seconds/game24.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs" / "figures"
CONTROLS = ("best_of_n", "tot_dfs", "tot_bfs", "beam", "levin", "mcts")
CURVES = ("mcts", "tot_bfs", "best_of_n", "self_consistency")
EQUAL_TOKENS = (("game24", "tot100", "1000tok"), ("countdown6", "test", "5500tok"), ("integrals", "test", "2000tok"),
                ("programs", "test", "2000tok"))
TIMED = (("game24", "tot100", "10s"), ("countdown6", "test", "2s"), ("arithmetic", "test", "2s"),
         ("equations", "test", "2s"))
SAME = ("countdown", "arithmetic")


def tokens() -> Iterator[tuple[str, list[str]]]:
    """Equal tokens: the shipped policy beside every uniform searcher."""
    for domain, split, budget in EQUAL_TOKENS:
        where = [f"domain={domain}", f"split={split}", "limit=200", f"budget={budget}", "workers=2"]
        for search in CONTROLS:
            yield f"{domain}_{budget}_uniform_{search}", [*where, "policy=uniform", f"search={search}"]
        for search in ("mcts", "greedy"):
            yield f"{domain}_{budget}_shipped_{search}", [*where, "policy=shipped", f"search={search}"]
        yield (f"{domain}_{budget}_shipped_mcts_unchecked",
               [*where, "policy=shipped", "search=mcts", "search.check_thoughts=false", "label=mcts/unchecked"])


def seconds() -> Iterator[tuple[str, list[str]]]:
    """Accuracy against seconds, two problems at once, one thread each."""
    for domain, split, budget in TIMED:
        where = [f"domain={domain}", f"split={split}", "limit=200", f"budget={budget}", "workers=2"]
        for search in CURVES:
            yield f"{domain}_{budget}_shipped_{search}", [*where, "policy=shipped", f"search={search}"]
        yield f"{domain}_{budget}_uniform_tot_dfs", [*where, "policy=uniform", "search=tot_dfs"]


def same() -> Iterator[tuple[str, list[str]]]:
    """The same seed and tokens, fifty problems at once, one by one, and fifty at once again."""
    for domain in SAME:
        where = [f"domain={domain}", "split=validation", "limit=200", "budget=600tok", "policy=shipped", "search=mcts"]
        for name, concurrent in (("fifty", 50), ("alone", 1), ("fifty_again", 50)):
            yield f"{domain}_{name}", [*where, f"concurrent={concurrent}"]


GROUPS = {"tokens": tokens, "seconds": seconds, "same": same}


def main(prefixes: list[str]) -> int:
    known = {f"{group}/{name}": options for group, runs in GROUPS.items() for name, options in runs()}
    chosen = {name: options for name, options in known.items() if name.startswith(tuple(prefixes or GROUPS))}
    if not chosen:
        print(f"nothing begins with {' or '.join(prefixes)}; allowed: {', '.join(known)}", file=sys.stderr)
        return 2
    for name, options in chosen.items():
        if not measured(name):
            shutil.rmtree(RUNS / name, ignore_errors=True)
            command("evaluate", *options, f"hydra.run.dir={RUNS / name}")
        summary = json.loads((RUNS / name / "summary.json").read_text())
        low, high = summary["ci95"]
        print(f"{name:48} solved {summary['solved']:3}/{summary['problems']} "
              f"[{low:.2f}, {high:.2f}] greedy {summary['greedy_accuracy']:.2f} "
              f"seconds {summary['mean_seconds']:6.2f} max {summary['max_seconds']:6.2f} "
              f"tokens {summary['mean_tokens']:7.0f} ece {summary['ece']:.2f}", flush=True)
    differences()
    timed = [f"seconds/{name}" for name, _ in seconds()]
    if all(map(measured, timed)):
        print(command("plot", *(str(RUNS / name) for name in timed), "out=docs/accuracy_vs_time"), end="")
    return 0


def differences() -> None:
    """Paired differences of the runs there are: the policy's searches minus the best control, and `same` in pairs."""
    for domain, _, budget in EQUAL_TOKENS:
        stem = f"tokens/{domain}_{budget}"
        controls = [name for search in CONTROLS if measured(name := f"{stem}_uniform_{search}")]
        for ours in filter(measured, (f"{stem}_shipped_mcts", f"{stem}_shipped_mcts_unchecked")):
            if controls:
                compare(ours, max(controls, key=lambda name: json.loads(
                    (RUNS / name / "summary.json").read_text())["solved"]))
    for fifty in filter(measured, (f"same/{domain}_fifty" for domain in SAME)):
        for other in filter(measured, (fifty.replace("fifty", "alone"), f"{fifty}_again")):
            compare(fifty, other)


def compare(a: str, b: str) -> None:
    found = json.loads(command("compare", str(RUNS / a), str(RUNS / b), "output=json"))
    low, high = (100 * bound for bound in found["ci95"])
    print(f"{a} minus {b}: {100 * found['difference']:+.1f} points [{low:.1f}, {high:.1f}], "
          f"{found['answers_differ']} of {found['problems']} answers differ", flush=True)


def measured(name: str) -> bool:
    """Does the folder hold a whole run, of the policy that is shipped now?"""
    try:
        manifest = json.loads((RUNS / name / "manifest.json").read_text())
    except FileNotFoundError:
        return False
    whole: bool = manifest["status"] == "finished" and not manifest["partial"]
    return whole and (manifest["policy"] == "uniform" or manifest["policy_version"] == shipped_version())


@cache
def shipped_version() -> Any:
    from policy.transformer import Transformer

    policy = Transformer("policy/shipped")
    policy.close()
    return policy.version


def command(*words: str) -> str:
    """Run a command of the project with one thread a process; what it prints."""
    return subprocess.run([sys.executable, "run_experiment.py", *words], cwd=ROOT, check=True, text=True,
                          stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
