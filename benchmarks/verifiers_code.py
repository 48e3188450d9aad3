"""How fast are programs checked behind all walls, and does a storm of hanging ones hold honest ones up?

    python benchmarks/verifiers_code.py [--checks 1000] [--storm 1000]

Prints JSON lines: checks per second from eight threads, warm (a check is a program with four small tests, thus four
fresh processes); the time that one check takes alone; honest checks during a storm of programs that never end against
the same without it, from threads of their own and submitted to one event loop after the storm; processes left over.
Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from verifiers.sandbox import Limits, Sandbox
from verifiers.unit_tests import CallTest, Suite, acheck, check

THREADS = 8
ADD = Suite(tuple(CallTest((a, b), a + b) for a, b in ((1, 2), (10, -4), (0, 0), (123456, 654321))), "add")
HANGING = "def add(a, b):\n    while True: pass"
STORM_LIMITS = Limits(cpu_seconds=0.2, wall_seconds=5.0)


def honest(number: int) -> str:
    """A right program, each time another one."""
    return f"def add(a, b):\n    total = {number}\n    for part in (a, b): total += part\n    return total - {number}\n"


def per_second(sandbox: Sandbox, checks: int) -> float:
    with ThreadPoolExecutor(THREADS) as pool:
        start = time.perf_counter()
        good = sum(pool.map(lambda number: check(honest(number), ADD, sandbox).ok, range(checks)))
        seconds = time.perf_counter() - start
    if good != checks:
        raise RuntimeError(f"{checks - good} right programs were not found right")
    return checks / seconds


def alone_ms(sandbox: Sandbox) -> float:
    times = []
    for number in range(50):
        start = time.perf_counter()
        check(honest(number), ADD, sandbox)
        times.append(time.perf_counter() - start)
    return 1000 * sorted(times)[len(times) // 2]


def during_storm(sandbox: Sandbox, checks: int, storm: int) -> float:
    """Honest checks per second from eight threads, while as many hanging programs as are in the storm wait beside."""
    stop = threading.Event()

    def hang(_: int) -> None:
        while not stop.is_set():
            check(HANGING, ADD, sandbox, limits=STORM_LIMITS)

    with ThreadPoolExecutor(storm) as pool:
        waiting = [pool.submit(hang, number) for number in range(storm)]
        time.sleep(0.5)
        rate = per_second(sandbox, checks)
        stop.set()
        started = time.perf_counter()
        for job in waiting:
            job.result()
    print(json.dumps({"name": "storm_drain_seconds", "value": round(time.perf_counter() - started, 1)}))
    return rate


async def event_loop_seconds(sandbox: Sandbox, checks: int, storm: int) -> float:
    """From the first honest check submitted to the last one answered, all of them submitted after the storm."""
    hanging = [asyncio.create_task(acheck(HANGING, ADD, sandbox, limits=STORM_LIMITS)) for _ in range(storm)]
    await asyncio.sleep(0.5 if storm else 0)
    start = time.perf_counter()
    gate = asyncio.Semaphore(THREADS)

    async def one(number: int) -> bool:
        async with gate:
            return (await acheck(honest(number), ADD, sandbox)).ok

    if not all(await asyncio.gather(*map(one, range(checks)))):
        raise RuntimeError("right programs were not found right")
    seconds = time.perf_counter() - start
    await asyncio.gather(*hanging)
    return seconds


def descendants() -> int:
    """Processes below this one."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # ended meanwhile
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return len(family) - 1


def report(name: str, value: float, target: float, *, most: bool) -> bool:
    met = value <= target if most else value >= target
    print(json.dumps({"name": name, "value": round(value, 3), "target": target, "met": met}), flush=True)
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=1000)
    parser.add_argument("--storm", type=int, default=1000)
    options = parser.parse_args()
    met = True
    with Sandbox() as sandbox:
        idle = descendants()
        per_second(sandbox, 100)
        calm = per_second(sandbox, options.checks)
        met &= report("checks_per_second", calm, 150, most=False)
        print(json.dumps({"name": "one_check_alone_ms", "value": round(alone_ms(sandbox), 2), "tests": 4}))
        stormy = during_storm(sandbox, options.checks, options.storm)
        met &= report("slowed_by_storm_ratio", calm / stormy, 2, most=True)
        quiet = asyncio.run(event_loop_seconds(sandbox, options.checks, 0))
        busy = asyncio.run(event_loop_seconds(sandbox, options.checks, options.storm))
        met &= report("slowed_by_storm_ratio_event_loop", busy / quiet, 2, most=True)
        time.sleep(1)
        met &= report("processes_left", descendants() - idle, 0, most=True)
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
