"""The pool of one process: stored before told, each job once, and the adapter that was asked for."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from policy.base import Thought
from policy.uniform import Uniform
from selfplay.pool import Done, LocalPool, Pool
from tests.selfplay.fakes import DOMAIN, Factory, Memory, jobs, timeless


class Dressed(Uniform):
    """Random steps, under the name of what it wears."""

    def __init__(self) -> None:
        super().__init__(DOMAIN)
        self.loaded: list[str | None] = []

    def load_adapter(self, folder: str | Path | None) -> None:
        self.loaded.append(None if folder is None else Path(folder).name)
        self.version = f"wearing {self.loaded[-1]}"


@pytest.fixture
def make() -> Callable[..., tuple[LocalPool, Memory, Dressed]]:
    def making(**options: float) -> tuple[LocalPool, Memory, Dressed]:
        policy, store = Dressed(), Memory()
        return LocalPool(Factory().player(policy), store, **options), store, policy  # type: ignore[arg-type]

    return making


def test_stored_before_told(make: Callable[..., tuple[LocalPool, Memory, Dressed]]) -> None:
    pool, store, _ = make(batch=5)
    assert isinstance(pool, Pool)
    told = []
    for done in pool.play(jobs(23), None):
        told.append(done)
        stored = {t.episode_id: t for t in store.trajectories(0)}
        assert done == Done.of(stored[done.episode_id], "local")
    assert {done.episode_id for done in told} == {job.episode_id for job in jobs(23)} and len(told) == 23
    assert len(list(store.trajectories(0))) == 23 and len(store.batches) >= 5
    played = next(t for t in store.trajectories(0) if t.solve_rate)
    done = next(done for done in told if done.episode_id == played.episode_id)
    assert done.tokens == played.tokens + played.line_tokens and done.solve_rate == played.solve_rate
    assert done.greedy == (played.lines[-1].status == "correct") and done.status == played.verdict.status.value
    pool.close()


def test_generations_are_kept_apart(make: Callable[..., tuple[LocalPool, Memory, Dressed]]) -> None:
    pool, store, _ = make()
    assert len(list(pool.play([*jobs(4), *jobs(3, generation=2)], None))) == 7
    assert [len({t.episode_id for t in store.trajectories(g)}) for g in (0, 1, 2)] == [4, 0, 3]
    assert all(t.generation == generation for generation, batch in store.batches for t in batch)
    pool.close()


def test_a_full_store_is_reported_and_nothing_told(make: Callable[..., tuple[LocalPool, Memory, Dressed]]) -> None:
    pool, store, _ = make(batch=4)
    store.full = True
    with pytest.raises(OSError, match="no space left"):
        next(pool.play(jobs(9), None))
    store.full = False
    assert len(list(pool.play(jobs(9), None))) == 9  # it goes on where there is room again
    pool.close()


def test_what_has_been_played_is_stored_though_nobody_waits(
    make: Callable[..., tuple[LocalPool, Memory, Dressed]],
) -> None:
    pool, store, _ = make(batch=4, patience=1000.0)
    with closing(pool.play(jobs(20), None)) as playing:
        next(playing)  # type: ignore[call-overload]
    first = [timeless(t) for t in store.trajectories(0)]
    assert 4 <= len(first) < 20
    list(pool.play(jobs(20), None))
    assert {timeless(t) for t in store.trajectories(0)} >= set(first)
    pool.close()


class Signalled(Dressed):
    """A policy during whose third step a signal's handler raises, in the event loop."""

    steps = 0

    async def propose(self, *args: Any, **options: Any) -> list[Thought]:
        self.steps += 1
        if self.steps == 3:
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.05)
        return await super().propose(*args, **options)


def test_a_signal_in_the_middle_of_a_step_ends_it_cleanly() -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    policy, store = Signalled(), Memory()
    pool = LocalPool(Factory().player(policy), store)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(pool.play(jobs(9), None))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert policy.steps >= 3 and len(list(pool.play(jobs(9), None))) == 9  # and the loop can be used again
    pool.close()


def test_the_adapter_that_was_asked_for(
    make: Callable[..., tuple[LocalPool, Memory, Dressed]], tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"b" if name == "b" else b"a")  # c holds what a holds
    pool, store, policy = make()
    for generation, name in enumerate([None, "a", "c", "b", None]):
        done = list(pool.play(jobs(2, generation=generation), None if name is None else tmp_path / name))
        assert {d.policy_version for d in done} == {t.policy_version for t in store.trajectories(generation)}
    assert policy.loaded == ["a", "b", None]
    pool.close()
