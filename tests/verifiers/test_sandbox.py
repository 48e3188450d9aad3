"""The sandbox: outcomes, limits, life and death of its processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.verifiers import traces
from verifiers.jail import values
from verifiers.sandbox import Call, Kind, Limits, Outcome, Sandbox, Script
from verifiers.unit_tests import AssertTest, CallTest, Suite, acheck
from verifiers.warden.outer_wall import outer_wall

ROOT = Path(__file__).resolve().parent.parent.parent
ADD = "def add(a, b): return a + b"
HANG = "def f():\n    while True: pass"
QUICK = Limits(cpu_seconds=0.2, wall_seconds=0.6)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    before = traces.snapshot()
    with Sandbox() as made:
        assert made.missing == {} and made.note == ""
        yield made
    assert traces.difference(before) == {}


def call(sandbox: Sandbox, body: str, limits: Limits | None = None) -> Outcome:
    return sandbox.run(Call.of("def f():\n" + "\n".join(f"    {line}" for line in body.splitlines()), "f"), limits)


def value(outcome: Outcome) -> object:
    assert outcome.kind is Kind.VALUE, outcome
    return values.decode(outcome.value)


def test_a_call_returns_its_value(sandbox: Sandbox) -> None:
    outcome = sandbox.run(Call.of(ADD, "add", [1], [2.5, {"a": (None,)}]))
    assert value(outcome) == [1, 2.5, {"a": (None,)}]
    assert 0 < outcome.cpu_seconds < 1 and 0 < outcome.wall_seconds < 5 and 1 < outcome.peak_mb < 200
    assert value(sandbox.run(Call.of("def f(*, x): return x", "f", x="\ud800\0"))) == "\ud800\0"


@pytest.mark.parametrize(("body", "kind", "detail"), [
    ("return 1 / 0", Kind.RAISED, "ZeroDivisionError: division by zero"),
    ("raise SystemExit(0)", Kind.RAISED, "SystemExit"),
    ("raise type('Own', (BaseException,), {'__str__': lambda s: 1 / 0})", Kind.RAISED, "Own"),
    ("import os\nos._exit(0)", Kind.DIED, "exited, 0"),
    ("import ctypes\nctypes.string_at(0)", Kind.DIED, "signaled, -11"),
    ("return 'x' * 10 ** 7", Kind.TOO_LARGE, "too many characters"),
    ("import os\nos.write(3, b'\\xff' * 8)", Kind.TOO_LARGE, "4294967295 bytes"),
    ("import os\nos.write(3, b'\\0\\0\\0\\1x')", Kind.DIED, "no JSON"),
    ("while True: pass", Kind.TIMEOUT, "out of time"),
    ("import time\ntime.sleep(100)", Kind.TIMEOUT, "out of time"),
    ("return )", Kind.UNPARSABLE, "line 2: unmatched"),
])
def test_what_goes_wrong_has_a_kind(sandbox: Sandbox, body: str, kind: Kind, detail: str) -> None:
    outcome = call(sandbox, body, QUICK)
    assert outcome.kind is kind and detail in outcome.detail and "\n" not in outcome.detail


@pytest.mark.parametrize(("program", "reason"), [
    ("", "no function f"), ("f = 3", "no function f"), ("def __getattr__(name): return len", "no function f"),
    ("def f(): pass\0", "null bytes"), ("#\ud800", "compiling"), ("x = " + "-" * 50_000 + "1", "compiling"),
    ("x" * 2_000_000, "2000000 characters"), ("def f(:", "line 1"),
])
def test_what_is_no_program(sandbox: Sandbox, program: str, reason: str) -> None:
    outcome = sandbox.run(Call.of(program, "f"), QUICK)
    assert outcome.kind is Kind.UNPARSABLE and reason in outcome.detail


def test_a_script_prints(sandbox: Sandbox) -> None:
    def run(program: str, stdin: str = "") -> Outcome:
        return sandbox.run(Script(program, stdin), QUICK)

    echo = run("import sys\nif __name__ == '__main__': sys.stdout.write(sys.stdin.read()[::-1])", "h\u00e9\n" * 50_000)
    assert echo.kind is Kind.DONE and echo.stdout == "\n\u00e9h" * 50_000
    late = run("import threading, time\nthreading.Thread(target=lambda: (time.sleep(.05), print('late'))).start()")
    assert late.kind is Kind.DONE and late.stdout == "late\n"
    assert run("print(1)\nraise SystemExit").stdout == "1\n"
    assert run("import os\nos.write(1, b'1')\nos._exit(0)").kind is Kind.DONE
    assert run("import os\nos.write(1, b'1')\nos._exit(1)").kind is Kind.DIED
    ended = run("print(1)\nraise SystemExit(1)")
    assert ended.kind is Kind.RAISED and ended.stdout == "1\n"
    broken = run("print(1)\n[][0]")
    assert broken.kind is Kind.RAISED and broken.stdout == "1\n" and "IndexError: list index" in broken.detail
    assert run("while True: print('x' * 1000)").kind is Kind.TOO_LARGE
    assert run("while True: pass").kind is Kind.TIMEOUT
    assert run("print(").kind is Kind.UNPARSABLE
    assert run("", "x" * 1_000_000).kind is Kind.DONE


@pytest.mark.parametrize(("body", "expected"), [
    ("import os\nreturn sorted(os.environ)", []),
    ("import os\nreturn [os.getpid(), os.getppid(), os.getsid(0), os.getcwd(), os.listdir()]", [1, 0, 1, "/tmp", []]),
    ("import os, stat\nreturn [stat.S_ISSOCK(os.fstat(3).st_mode), [n for n in range(4, 900) if stat and not _(n)]]\n",
     [True, []]),
    ("import sys\nreturn [sys.argv[1:], [p for p in sys.path if 'lib/python' not in p and not p.endswith('.zip')]]",
     [[], []]),
    ("import sys, threading\nreturn [threading.active_count(), sys.gettrace()]", [1, None]),
])
def test_a_job_finds_nothing(sandbox: Sandbox, body: str, expected: object) -> None:
    helper = "def _(n):\n    import os\n    try: os.fstat(n)\n    except OSError: return True\n"
    program = helper + "def f():\n" + "\n".join(f"    {line}" for line in body.splitlines())
    found = value(sandbox.run(Call.of(program, "f")))
    assert found == expected or (body.startswith("import sys\n") and found[1] == [])  # type: ignore[index]


def test_memory_ends_where_the_limit_says(sandbox: Sandbox) -> None:
    small, large = Limits(memory_bytes=200 << 20), Limits(memory_bytes=800 << 20)
    assert call(sandbox, "return len(bytearray(300 << 20))", small).detail == "MemoryError"
    assert value(call(sandbox, "return len(bytearray(300 << 20))", large)) == 300 << 20


def test_no_state_passes_from_job_to_job(sandbox: Sandbox) -> None:
    body = ("import math, os\nmath.seen = getattr(math, 'seen', 0) + 1\nopen('f', 'a').write('x')\n"
            "return [math.seen, os.path.getsize('f'), len(os.listdir('/tmp'))]")
    assert [value(call(sandbox, body)) for _ in range(4)] == [[1, 1, 1]] * 4


def test_randomness_differs_from_job_to_job(sandbox: Sandbox) -> None:
    assert len({value(call(sandbox, "import random\nreturn random.random()")) for _ in range(4)}) == 4


def test_limits_are_those_of_the_job_and_not_of_a_queue(sandbox: Sandbox) -> None:
    """More hanging jobs than places: each still gets all its time, and no more."""
    jobs = 6 * len(os.sched_getaffinity(0))  # of two lanes each has two places for a core
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(lambda _: sandbox.run(Call.of(HANG, "f"), Limits(cpu_seconds=0.1)), range(jobs)))
    assert {outcome.kind for outcome in outcomes} == {Kind.TIMEOUT}
    assert all(0.1 <= outcome.cpu_seconds < 0.5 for outcome in outcomes)


def test_many_threads_at_once(sandbox: Sandbox) -> None:
    def work(number: int) -> bool:
        return value(sandbox.run(Call.of(ADD, "add", number, number))) == 2 * number

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))


async def test_an_event_loop_is_not_held_up(sandbox: Sandbox) -> None:
    hanging = [asyncio.create_task(sandbox.arun(Call.of(HANG, "f"), QUICK)) for _ in range(4)]
    honest = await asyncio.gather(*(sandbox.arun(Call.of(ADD, "add", n, 1)) for n in range(50)))
    assert [value(outcome) for outcome in honest] == list(range(1, 51))
    assert {outcome.kind for outcome in await asyncio.gather(*hanging)} == {Kind.TIMEOUT}


SLEEP = Limits(cpu_seconds=100, wall_seconds=100)
CANCELLED = {
    "call": lambda sandbox: sandbox.arun(Call.of("import time\ndef f(): time.sleep(100)", "f"), SLEEP),
    "busy": lambda sandbox: sandbox.arun(Call.of(HANG, "f"), SLEEP),
    "script": lambda sandbox: sandbox.arun(Script("import time\ntime.sleep(100)"), SLEEP),
    "check": lambda sandbox: acheck(HANG, Suite((AssertTest("f()"),), "f"), sandbox, limits=SLEEP),
    "suite": lambda sandbox: acheck(HANG, Suite((CallTest((), 1), CallTest((), 2)), "f"), sandbox, limits=SLEEP,
                                    stop_early=False),
}


@pytest.mark.parametrize("start", CANCELLED.values(), ids=CANCELLED)
async def test_a_cancelled_job_is_killed_at_once_and_leaves_its_lane(
    sandbox: Sandbox, start: Callable[[Sandbox], Coroutine[Any, Any, object]]
) -> None:
    """Far more of them than lanes have places: those that wait give up too."""
    zygote = traces.zygote_of(sandbox._zygote.pid)
    tasks = [asyncio.create_task(start(sandbox)) for _ in range(40)]
    await asyncio.sleep(0.5)
    assert traces.children(zygote)
    for task in tasks:
        task.cancel()
    gone = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in gone} == {asyncio.CancelledError}
    started = time.monotonic()
    while traces.children(zygote):
        assert time.monotonic() - started < 5
        await asyncio.sleep(0.01)
    assert value(await sandbox.arun(Call.of(ADD, "add", 1, 2))) == 3
    assert time.monotonic() - started < 10


def test_a_sandbox_survives_the_thread_that_made_it() -> None:
    made: list[Sandbox] = []
    thread = threading.Thread(target=lambda: made.append(Sandbox()))
    thread.start()
    thread.join()
    time.sleep(0.05)
    with made[0]:
        assert value(made[0].run(Call.of(ADD, "add", 1, 2))) == 3


def test_a_lost_zygote_is_an_error_once_and_replaced() -> None:
    with Sandbox() as sandbox:
        threading.Timer(0.3, lambda: os.kill(sandbox._zygote.pid, signal.SIGKILL)).start()
        lost = sandbox.run(Call.of("import time\ndef f(): time.sleep(100)", "f"))
        assert lost.kind is Kind.ERROR and "zygote" in lost.detail
        assert value(sandbox.run(Call.of(ADD, "add", 1, 2))) == 3


@pytest.mark.parametrize("path", ["", os.environ["PATH"]], ids=["without bubblewrap", "with what is installed"])
def test_bubblewrap_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("PATH", path)
    outer_wall.cache_clear()
    with Sandbox() as sandbox:
        assert sandbox.outer == (shutil.which("bwrap") is not None) and sandbox.missing == {}
        assert value(sandbox.run(Call.of(ADD, "add", 1, 2))) == 3
    outer_wall.cache_clear()


def test_closing_ends_what_runs() -> None:
    before = traces.snapshot()
    sandbox = Sandbox()
    at_once = 2  # on any machine
    with ThreadPoolExecutor(at_once) as pool:
        asleep = Call.of("import time\ndef f(): time.sleep(100)", "f")
        running = [pool.submit(sandbox.run, asleep) for _ in range(at_once)]
        time.sleep(0.3)
        sandbox.close()
        assert {job.result(10).kind for job in running} == {Kind.ERROR}
    assert traces.difference(before) == {}
    with pytest.raises(RuntimeError, match="closed"):
        sandbox.run(Call.of(ADD, "add", 1, 2))


def test_a_forked_process_needs_its_own(sandbox: Sandbox) -> None:
    child = os.fork()
    if child == 0:
        try:
            sandbox.run(Call.of(ADD, "add", 1, 2))
        except RuntimeError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("victim", ["parent", "outermost", "zygote"])
def test_whatever_is_killed_takes_all_with_it(victim: str) -> None:
    code = ("import threading, time\nfrom verifiers.sandbox import Call, Sandbox\ns = Sandbox()\n"
            "job = Call.of('import time\\ndef f(): time.sleep(100)', 'f')\n"
            "for _ in range(2): threading.Thread(target=s.run, args=(job,), daemon=True).start()\n"
            "time.sleep(.3)\nprint(s._zygote.pid, flush=True)\ntime.sleep(100)")
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        outermost = int(parent.stdout.readline())
        zygote, family = traces.zygote_of(outermost), [outermost, *traces.children(outermost)]
        assert len(traces.children(zygote)) == 2
        os.kill({"parent": parent.pid, "outermost": outermost, "zygote": zygote}[victim], signal.SIGKILL)
        deadline = time.monotonic() + 10
        while any(is_alive(pid) for pid in family):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        parent.kill()
