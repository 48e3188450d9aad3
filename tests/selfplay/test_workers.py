"""Workers without anything around them: both kinds play the same, in chunks at once, with the adapter they are told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from policy.base import BadPolicy, Policy, PolicyStopped
from policy.uniform import Uniform
from selfplay.adapters import Parcel, content_key, pack
from selfplay.player import Player
from selfplay.remote_policy import Call, Card, Reply
from selfplay.trajectory import Job, Trajectory
from selfplay.workers import Layout, PlayingWorker, PolicyServer, ReplicaWorker, SharingWorker
from tests.selfplay.fakes import DOMAIN, Factory, Memory, jobs, timeless

JOBS = jobs(12)


class Named(Uniform):
    """Random steps, under the name of the adapter's only file."""

    def load_adapter(self, folder: str | Path | None) -> None:
        self.version = "bare" if folder is None else next(Path(folder).iterdir()).name
        if self.version == "bad":
            raise BadPolicy("it does not fit")


class Dressing(Factory):
    def policy(self) -> Policy:
        return Named(DOMAIN)


class Direct:
    """A wire to a server in the same process."""

    def __init__(self, server: PolicyServer) -> None:
        self.server = server

    async def wear(self, parcel: Parcel | None) -> Card:
        return await self.server.wear(parcel)

    def ask(self, calls: Sequence[Call], parcel: Parcel | None) -> AsyncIterator[Sequence[Reply]]:
        return self.server.ask(calls, parcel)

    async def back(self) -> None:
        raise AssertionError("it was never away")

    def forget(self, ids: Sequence[str]) -> None:
        self.forgetting = asyncio.ensure_future(self.server.forget(ids))


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The threads and the cache of this process are nobody else's business."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("selfplay.workers.node_cache", lambda: tmp_path / "cache")


def workers(store: Memory, factory: Factory) -> list[PlayingWorker]:
    server = PolicyServer(factory, 1)
    return [ReplicaWorker(factory, store, 1), *(SharingWorker(factory, store, 1, Direct(server)) for _ in range(2))]


def parcel(folder: Path, name: str) -> Parcel:
    folder.mkdir(exist_ok=True)
    (folder / name).mkdir()
    (folder / name / name).write_bytes(name.encode())
    packed = pack(folder / name)

    async def box() -> bytes:
        return packed

    class Box:
        def __await__(self):  # type: ignore[no-untyped-def]
            return box().__await__()

    return Parcel(content_key(packed), (Box(),))


async def chunks(worker: PlayingWorker, work: Sequence[Job], worn: Parcel | None) -> list[str]:
    await worker.hello(worn)
    told = await asyncio.gather(*(worker.play(work[i : i + 3], worn) for i in range(0, len(work), 3)))
    return [done.policy_version for chunk in told for done in chunk]


async def test_both_kinds_play_the_same() -> None:
    stores: list[set[Trajectory]] = []
    for index in range(3):
        store = Memory()
        worker = workers(store, Factory())[index]
        assert (await worker.hello(None)).version == "uniform"
        assert await chunks(worker, JOBS, None) == ["uniform"] * 12
        assert sorted(len(batch) for _, batch in store.batches) == [3] * 4
        assert not (await worker.pulse()).busy and (await worker.pulse()).progress > 12
        stores.append({timeless(t) for t in store.trajectories(0)})
    assert stores[0] == stores[1] == stores[2] and len(stores[0]) == 12


async def test_jobs_that_come_before_any_greeting_are_played() -> None:
    """They waited for a worker that died, and reach the one in its place first."""
    for worker in workers(Memory(), Factory()):
        done = await worker.play(JOBS[:3], None)
        assert [one.status == "error" for one in done] == [False] * 3


async def test_each_plays_with_what_it_is_told_to_wear(tmp_path: Path) -> None:
    a, b, bad = (parcel(tmp_path / "adapters", name) for name in ("a", "b", "bad"))
    replica, one, two = workers(Memory(), Dressing())
    for worker in (replica, one):
        assert await chunks(worker, JOBS, a) == ["a"] * 12
        assert await chunks(worker, JOBS[:3], b) == ["b"] * 3
        with pytest.raises(BadPolicy, match="it does not fit"):
            await worker.hello(bad)
        assert await chunks(worker, JOBS[:3], None) == ["bare"] * 3
    # The shared policy changes when nobody asks any more: whoever comes with another adapter waits.
    assert await asyncio.gather(chunks(one, JOBS, a), chunks(two, JOBS, a)) == [["a"] * 12] * 2


async def test_who_comes_late_does_not_wait_until_the_others_undress(tmp_path: Path) -> None:
    server, store = PolicyServer(Dressing(), 1), Memory()
    dressed = parcel(tmp_path / "adapters", "first")
    late = SharingWorker(Dressing(), store, 1, Direct(server))
    async with server._wardrobe.wearing(dressed):  # somebody plays on and on
        greeted = await asyncio.wait_for(late.hello(dressed), 10)
    assert greeted.version == "first"


async def test_a_worker_that_is_given_up_is_free_again() -> None:
    replica, sharing, _ = workers(Memory(), Factory())
    for worker in (replica, sharing):
        await worker.hello(None)
        playing = asyncio.ensure_future(worker.play(JOBS, None))
        while not (await worker.pulse()).progress:
            await asyncio.sleep(0)
        assert (await worker.pulse()).busy
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing
        assert not (await worker.pulse()).busy
        assert len(await chunks(worker, JOBS[:3], None)) == 3


class Ended(Exception):
    """Stands for the end of the process."""


async def test_a_policy_that_stops_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        raise Ended(code)

    class Stopping(Factory):
        def policy(self) -> Policy:
            class Stopped(Uniform):
                async def propose(self, *_: object, **__: object):  # type: ignore[no-untyped-def, override]
                    raise PolicyStopped("out of memory")

            return Stopped(DOMAIN)

    monkeypatch.setattr(os, "_exit", end)
    store = Memory()
    for worker in workers(store, Stopping())[:2]:
        await worker.hello(None)
        with pytest.raises((Ended, PolicyStopped)):
            await worker.play(JOBS[:2], None)
    assert not store.batches


async def test_what_a_factory_raises_is_raised() -> None:
    class Broken(Factory):
        def player(self, policy: Policy) -> Player:
            raise BadPolicy("no such folder")

    with pytest.raises(BadPolicy, match="no such folder"):
        await ReplicaWorker(Broken(), Memory(), 1).hello(None)


@pytest.mark.parametrize("options", [{"kind": "many"}, {"workers": 0}, {"policies": 0}, {"cpus": 0.0}, {"gpus": -1.0}])
def test_a_layout_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Layout(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("gpus", "fits"), [(0.25, True), (1, True), (2, True), (1.5, False), (-1, False)])
def test_the_gpus_of_a_layout(gpus: float, fits: bool) -> None:
    if fits:
        assert Layout(gpus=gpus).gpus == gpus
    else:
        with pytest.raises(ValueError, match="gpus"):
            Layout(gpus=gpus)


def test_the_cpus_of_a_layout() -> None:
    assert Layout(workers=3, cpus=0.5).all_cpus == 1.5
    assert Layout("shared", workers=3, cpus=0.5, policies=2, policy_cpus=2).all_cpus == 5.5
