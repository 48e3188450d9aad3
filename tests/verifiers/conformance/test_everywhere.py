"""The same adversarial suites, green from eight threads at once, from an event loop, and inside Ray actors."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.verifiers import traces
from verifiers.conformance import code, math
from verifiers.math.workers import close_workers
from verifiers.math_answer import acompare, compare
from verifiers.sandbox import Limits, Sandbox
from verifiers.unit_tests import acheck

SHARED = Path(__file__).resolve().parents[4] / "shared" / "conformance"
MATH = [path for path in (math.OWN, SHARED / "math_adversarial.jsonl") if path.exists()]
CODE = [path for path in (code.OWN_SUITE, SHARED / "code_hostile.jsonl") if path.exists()]
ENDLESS = {"program": "def f():\n    while True: pass", "entry_point": "f", "tests": [[[], 1]]}

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]
every_math_suite = pytest.mark.parametrize("path", MATH, ids=lambda path: path.stem)
every_code_suite = pytest.mark.parametrize("path", CODE, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("VERIFIER_TEST_SECRET", "only the verifier may read this")
    yield
    close_workers()


async def mismatched_answers(path: Path) -> tuple[str, ...]:
    """Ids of rows whose comparison, all of them at once in an event loop, is not what it must be."""
    rows = math.read_rows(path)
    found = await asyncio.gather(*(acompare(row["prediction"], row["gold"]) for row in rows))
    return tuple(row["id"] for row, outcome in zip(rows, found, strict=True) if outcome.ok != row["equivalent"])


async def mismatched_programs(path: Path, sandbox: Sandbox) -> tuple[str, ...]:
    """The same for programs; a broken verifier is a mismatch whatever the row demands."""
    rows = code.read_rows(path)
    found = await asyncio.gather(*(acheck(row["program"], code.suite_of(row), sandbox) for row in rows))
    return tuple(row["id"] for row, verdict in zip(rows, found, strict=True)
                 if verdict.status == "error" or verdict.ok != (row["must"] == "pass"))


@every_math_suite
def test_answers_from_eight_threads(path: Path) -> None:
    report = math.run(path, threads=8)
    assert report.mismatched == () and report.true_accept + report.true_reject == report.cases > 0


@every_math_suite
async def test_answers_from_an_event_loop(path: Path) -> None:
    assert await mismatched_answers(path) == ()


@every_code_suite
def test_programs_from_eight_threads(path: Path) -> None:
    before = traces.snapshot()
    report = code.run(path, threads=8)
    assert report.mismatched == () and report.unknown == 0
    assert report.true_accept + report.true_reject == report.cases > 0
    assert traces.difference(before) == {}


@every_code_suite
async def test_programs_from_an_event_loop(path: Path) -> None:
    with Sandbox() as sandbox:
        assert await mismatched_programs(path, sandbox) == ()


class InThreads:
    """An actor that checks from eight threads of its own."""

    def __init__(self) -> None:
        self.sandbox = Sandbox()

    def answers(self, path: Path) -> tuple[str, ...]:
        return math.run(path, threads=8).mismatched

    def programs(self, path: Path) -> tuple[str, ...]:
        return code.run(path, self.sandbox, threads=8).mismatched


class InEventLoop:
    """An actor whose methods are coroutines."""

    def __init__(self) -> None:
        self.sandbox = Sandbox()

    async def answers(self, path: Path) -> tuple[str, ...]:
        return await mismatched_answers(path)

    async def programs(self, path: Path) -> tuple[str, ...]:
        return await mismatched_programs(path, self.sandbox)


def actors() -> list[Any]:
    return [ray.remote(kind).remote() for kind in (InThreads, InThreads, InEventLoop)]


def test_answers_in_actors(ray_cluster: None) -> None:
    assert ray.get([actor.answers.remote(MATH[-1]) for actor in actors()]) == [()] * 3


def test_programs_in_actors(ray_cluster: None) -> None:
    assert ray.get([actor.programs.remote(CODE[-1]) for actor in actors()]) == [()] * 3


class Busy:
    """An actor with workers for mathematics, a sandbox, and a program that does not end by itself."""

    def __init__(self) -> None:
        assert compare(r"\sqrt8", r"2\sqrt2").ok
        self.sandbox = Sandbox(Limits(cpu_seconds=1000.0, wall_seconds=1000.0))

    def hang(self) -> None:
        code.verdict_of(ENDLESS, self.sandbox)

    def processes(self) -> set[int]:
        return set(traces.children(os.getpid()))


def with_its_job(actor: Any) -> set[int]:
    """The processes of an actor, once the endless program is among them."""
    idle = ray.get(actor.processes.remote())
    assert idle
    actor.hang.remote()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found: set[int] = ray.get(actor.processes.remote())
        if found - idle:
            return found
        time.sleep(0.1)
    raise AssertionError("the program did not start")


def test_an_actor_takes_all_its_processes_along(ray_cluster: None) -> None:
    killed, surviving = (ray.remote(Busy).options(max_concurrency=2).remote() for _ in range(2))
    its, others = with_its_job(killed), with_its_job(surviving)
    ray.kill(killed)
    assert traces.gone(its)
    assert not traces.gone(others, seconds=0.0) and ray.get(surviving.processes.remote()) >= others
    ray.shutdown()
    assert traces.gone(others)
