"""Who makes the shipped policy better at Game of 24, at equal processor time: python -m benchmarks.race COMMAND

    tune [ARM ...]    six configurations an arm, one seed, judged by greedy accuracy on validation puzzles
    final [ARM ...]   the best of them, three seeds, measured on the 100 puzzles of the Tree-of-Thoughts paper
    report            the table, with intervals, of what there is in docs/race.jsonl

Every arm starts from the same checkpoint, sees the same training puzzles and has one thread on one core; generation,
verification and matches included. Its clock is the processor time of its process; when MINUTES are used up it is
killed, and the policy as it stood at each full minute is measured: greedy, pass@16, and a search of two seconds. All of
it can be interrupted and begun again: what is in docs/race.jsonl is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.race.arms import ARMS, ROOT, Arm

RESULTS = ROOT / "docs" / "race.jsonl"
RUNS = ROOT / "runs" / "race"
MINUTES = 6
SEEDS = (0, 1, 2)
TICKS = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))


def results() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def run_arm(stage: str, name: str, configuration: str, seed: int, core: int, minutes: Sequence[int]) -> None:
    """Train for MINUTES of processor time, then measure the policy at some of the minutes; append the rows."""
    key = {"stage": stage, "arm": name, "configuration": configuration, "seed": seed}
    if any(key.items() <= row.items() for row in results()):
        return
    place = RUNS / f"{stage}-{name}-{configuration}-{seed}"
    shutil.rmtree(place, ignore_errors=True)
    kept = dict(_train(ARMS[name], ARMS[name].configurations[configuration], place, seed, core))
    rows = []
    for minute in minutes:
        split = "validation" if stage == "tune" else "tot100"
        rows.append({**key, "minute": minute, "split": split, **_measure(kept[minute], split, core)})
    with RESULTS.open("a") as file:  # all of a run at once
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    print(json.dumps(rows[-1]), flush=True)


def _train(arm: Arm, options: Sequence[str], place: Path, seed: int, core: int) -> Iterator[tuple[int, Path | None]]:
    """(minute, copy of the policy as it stood then; None: the one that all begin with)."""
    place.mkdir(parents=True)
    words = arm.command(options, place / "run", seed)
    if not arm.ours:
        words[0] = os.environ["TRL_PYTHON"]
    yield 0, None
    with (place / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *words], cwd=ROOT, stdout=log, stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"})
    minute = 1
    try:
        while minute <= MINUTES:
            if process.poll() is not None:
                raise RuntimeError(f"{place} ended by itself; see log.txt there")
            if _cpu_seconds(process.pid) >= 60 * minute:
                latest = arm.latest(place / "run")
                copy = None if latest is None else Path(shutil.copytree(latest, place / f"minute-{minute}"))
                yield minute, copy
                minute += 1
            time.sleep(0.2)
    finally:
        process.kill()
        process.wait()


def _cpu_seconds(pid: int) -> float:
    """Of a process and the children that it has waited for, and of those that live."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, fields[11:15])) / TICKS
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(_cpu_seconds(int(child)) for child in children)


def _measure(adapter: Path | None, split: str, core: int) -> dict[str, Any]:
    words = [sys.executable, "-m", "benchmarks.race.measure", split, *([] if adapter is None else [str(adapter)])]
    done = subprocess.run(["taskset", "-c", str(core), *words], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def everywhere(tasks: Sequence[tuple[str, str, str, int]], minutes: Sequence[int]) -> None:
    """One task a core at a time."""
    cores = list(CORES)
    with ThreadPoolExecutor(len(cores)) as pool:
        def one(task: tuple[str, str, str, int]) -> None:
            core = cores.pop()
            try:
                run_arm(*task, core=core, minutes=minutes)
            finally:
                cores.append(core)

        for future in [pool.submit(one, task) for task in tasks]:
            future.result()


def best(name: str) -> str:
    """The configuration that was greedily best on validation puzzles."""
    tuned = [row for row in results() if row["stage"] == "tune" and row["arm"] == name]
    return str(max(tuned, key=lambda row: (row["greedy"], row["pass16"]))["configuration"])


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["tune", "final", "report"])
    parser.add_argument("arms", nargs="*", default=[], metavar="ARM", help=", ".join(ARMS))
    asked = parser.parse_args(words)
    names = asked.arms or list(ARMS)
    if asked.command == "tune":
        everywhere([("tune", name, configuration, 0) for i in range(6) for name in names
                    for configuration in islice(ARMS[name].configurations, i, i + 1)], [MINUTES])
    elif asked.command == "final":
        everywhere([("final", name, best(name), seed) for seed in SEEDS for name in names], range(MINUTES + 1))
    else:
        from benchmarks.race.table import table

        print(table(results()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
