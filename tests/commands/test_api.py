"""The three lines with which a program thinks: in a script, in a loop that runs (as in a notebook), in threads."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import pytest

from commands import engine as module
from commands.engine import kept, think, think_async
from commands.errors import BadInput
from policy.budget import BadBudget

ROOT = Path(__file__).resolve().parents[2]
UNIFORM = ("policy=uniform", "domain=game24")


@pytest.fixture(autouse=True, scope="module")
def closed() -> Iterator[None]:
    yield
    for engine in module._kept.values():
        engine.close()
    module._kept.clear()


def script(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", dedent(text)], cwd=ROOT, capture_output=True, text=True, check=False,
                          timeout=100)


def test_three_lines_are_a_script_that_ends() -> None:
    done = script("""
        from commands.engine import think
        result = think("4 9 10 13", budget="10s+5500tok")
        print(result.answer, result.verified)
    """)
    assert done.returncode == 0 and done.stderr == "", done
    answer, _, verified = done.stdout.rpartition(" ")
    assert verified == "True\n" and sorted(filter(str.isdigit, answer)) == sorted("491013")


def test_a_refusal_is_raised_and_the_script_ends() -> None:
    done = script("""
        from commands.engine import think
        think("1 2 3 4", "policy=uniform", budget="300tok")
        think("what is love", "policy=uniform")
    """)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("commands.errors.BadInput: no domain can")


def test_an_engine_is_loaded_once_for_each_set_of_options() -> None:
    with ThreadPoolExecutor(4) as threads:
        engines = list(threads.map(lambda _: kept(*UNIFORM), range(8)))
    assert len(set(map(id, engines))) == 1 and kept("policy=uniform", "seed=1") is not engines[0]
    first = think("1 2 3 4", *UNIFORM, budget="600tok", seed=3)
    again = think("1 2 3 4", *UNIFORM, budget="600tok", seed=3)
    assert (first.answer, first.tokens) == (again.answer, again.tokens) and first.policy == "uniform"


def test_a_forked_pool_thinks_too() -> None:
    """The threads of an engine stay with the process that made it."""
    done = script("""
        import multiprocessing
        from commands.engine import think

        def verified(problem):
            return think(problem, "policy=uniform", "domain=game24", budget="3000tok").verified

        if __name__ == "__main__":
            print(verified("1 2 3 4"))
            with multiprocessing.get_context("fork").Pool(1) as pool:
                print(pool.map_async(verified, ["1 2 3 4", "1 2 3 4"]).get(30))
    """)
    assert (done.returncode, done.stdout.split("\n")[:2]) == (0, ["True", "[True, True]"]), done


def test_an_engine_of_the_parent_says_so_in_a_forked_process() -> None:
    done = script("""
        import asyncio, os, signal
        from commands.engine import load

        async def answers(engine, task):
            return [answer async for answer in engine.answers(task)]

        engine = load("policy=uniform", "domain=game24")
        print(engine.think("1 2 3 4", budget="3000tok").verified, flush=True)
        posed = engine.task("1 2 3 4", budget="300tok")
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # a process that hangs ends by it
            for call in (lambda: engine.think("1 2 3 4"), lambda: asyncio.run(engine.think_async("1 2 3 4")),
                         lambda: asyncio.run(engine.run(posed)), lambda: asyncio.run(answers(engine, posed))):
                try:
                    call()
                except RuntimeError as error:
                    print(error, flush=True)
            engine.close()
            with load("policy=uniform", "domain=game24") as own:
                print(own.think("1 2 3 4", budget="3000tok").verified, flush=True)
            os._exit(0)
        print(os.waitpid(child, 0)[1], engine.think("1 2 3 4", budget="3000tok").verified)
    """)
    said = "this engine belongs to the process that loaded it; load one in this process"
    assert (done.returncode, done.stdout.splitlines()) == (0, ["True", *[said] * 4, "True", "0 True"]), done


async def test_a_notebook_may_wait_either_way() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick())
    found = await asyncio.gather(*(think_async(f"{n} 2 3 4", *UNIFORM, budget="3000tok") for n in (1, 4)))
    ticking.cancel()
    assert ticks and [result.problem for result in found] == ["1 2 3 4", "4 2 3 4"]
    assert think("1 2 3 4", *UNIFORM, budget="300tok").tokens <= 300  # as a cell does that knows no await


async def test_cancelling_ends_the_thinking() -> None:
    engine = kept("policy=uniform", "search=best_of_n")
    thinking = asyncio.create_task(think_async("What is 1717 * 2424?", "policy=uniform",
                                               "search=best_of_n", budget="1h"))
    await asyncio.sleep(0.3)
    assert not thinking.done()  # nothing is proved in arithmetic
    thinking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await thinking
    assert len(asyncio.all_tasks()) == 1 and engine.think("1 2 3 4", budget="300tok").domain == "game24"


def test_refusals() -> None:
    with pytest.raises(BadInput, match="policyy"):
        think("1 2 3 4", "policyy=uniform")
    with pytest.raises(BadBudget):
        think("1 2 3 4", *UNIFORM, budget="soon")
    with pytest.raises(TypeError, match="budgett"):
        think("1 2 3 4", *UNIFORM, budgett="1s")


def test_loops_of_several_threads_share_an_engine() -> None:
    found = []

    def work(number: int) -> None:
        found.append(asyncio.run(think_async(f"{number} 2 3 4", *UNIFORM, budget="600tok")).problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["1 2 3 4", "2 2 3 4", "3 2 3 4"]
