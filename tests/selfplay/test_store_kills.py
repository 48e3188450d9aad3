"""Killed at any moment, out of space, many at once: nothing that was appended is lost or doubled."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from selfplay import schema, store
from selfplay.files import StoreFull
from selfplay.store import Store
from tests.selfplay.trajectories import batch, ids, same, trajectory

FORK = multiprocessing.get_context("fork")
CALLS = ("open", "fsync", "replace", "rename", "unlink", "remove", "mkdir")  # by which a store changes a disk
SIZE = 3  # of the batches here


def start(work: Callable[..., None], *arguments: object) -> multiprocessing.process.BaseProcess:
    process = FORK.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def read_ids(place: Path, generation: int = 0) -> list[str]:
    """The ids that reading gives, in order: not a set, so that doubles show. Nothing may be damaged."""
    opened = Store(str(place))
    found = sorted(one.episode_id for one in opened.trajectories(generation))
    assert opened.damaged == []
    assert opened.ids(generation) == set(found)
    return found


def leftovers(place: Path) -> list[str]:
    return [path.name for path in place.rglob("*") if path.is_file() and path.suffix != ".parquet"]


def append_batches(place: Path, numbers: range, told: Connection) -> None:
    opened = Store(str(place))
    for number in numbers:
        opened.append(0, batch(number * SIZE, SIZE))
        told.send(number)


def test_every_append_that_returned_survives_kills(tmp_path: Path) -> None:
    draw, done = random.Random(3), 0
    while done < 40:
        listen, told = FORK.Pipe(duplex=False)
        writer = start(append_batches, tmp_path, range(done, 10_000), told)
        told.close()
        for _ in range(draw.randrange(1, 8)):
            done = listen.recv() + 1
        time.sleep(draw.random() * 0.02)
        writer.kill()
        writer.join()
        while listen.poll():
            try:
                done = listen.recv() + 1
            except EOFError:
                break
        found = read_ids(tmp_path)
        # The batch that was under way is there as a whole or not at all.
        assert found in (sorted(ids(batch(0, done * SIZE))), sorted(ids(batch(0, (done + 1) * SIZE))))
        assert leftovers(tmp_path) == []
        if draw.random() < 0.3:
            Store(str(tmp_path)).compact(0)


def killed_before(call: int, work: Callable[[], None]) -> bool:
    """Do the work in a process that dies of SIGKILL just before its n-th change of the disk; was it killed?"""
    def mortal() -> None:
        numbers = itertools.count()

        def counted(function: Callable[..., object]) -> Callable[..., object]:
            def called(*arguments: object, **options: object) -> object:
                if next(numbers) == call:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)
            return called

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        work()
        os._exit(0)

    process = start(mortal)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.parametrize("compacted", [False, True], ids=["a first time", "again"])
def test_a_compaction_killed_between_any_two_operations(
    compacted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PART_BYTES", schema.to_table(batch(0, 2 * SIZE)).nbytes - 1)
    before, place = tmp_path / "before", tmp_path / "store"
    if compacted:
        Store(str(before)).append(0, batch(0, 2 * SIZE))
        Store(str(before)).compact(0)
    for number in range(3):
        Store(str(before)).append(0, batch(number * SIZE, SIZE + 1))
    expected = sorted(ids(batch(0, 3 * SIZE + 1)))
    calls = 0
    while True:
        shutil.copytree(before, place)
        killed = killed_before(calls, lambda: Store(str(place)).compact(0))
        assert read_ids(place) == expected
        assert leftovers(place) == []
        Store(str(place)).compact(0)
        assert read_ids(place) == expected
        assert list((place / "journal").rglob("*.parquet")) == []
        shutil.rmtree(place)
        if not killed:
            break
        calls += 1
    assert calls > 10


def test_an_append_killed_between_any_two_operations(tmp_path: Path) -> None:
    for calls in itertools.count():
        place = tmp_path / str(calls)
        killed = killed_before(calls, lambda place=place: Store(str(place)).append(0, batch(0, 4)))  # type: ignore[misc]
        assert read_ids(place) in ([], sorted(ids(batch(0, 4))))
        assert leftovers(place) == []
        Store(str(place)).append(0, batch(0, 4))
        assert read_ids(place) == sorted(ids(batch(0, 4)))
        if not killed:
            break
    assert calls > 8


def test_nothing_leaves_the_journal_before_its_part_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Store(str(tmp_path / "store"))
    happened: list[str] = []

    def kind(path: str) -> str:
        return "file" if path.endswith((".parquet", ".part")) else "folder"

    def recorded(name: str, real: Callable[..., None]) -> Callable[..., None]:
        def called(target: int | str, *more: str) -> None:
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else str(target)
            happened.append(f"{name} {kind(path)}")
            real(target, *more)
        return called

    for name in ("fsync", "replace", "remove", "unlink"):
        monkeypatch.setattr(os, name, recorded(name, getattr(os, name)))
    opened.append(0, batch(0, 2))
    assert happened == ["fsync folder"] * 3 + ["fsync file", "replace file", "fsync folder"]
    happened.clear()
    opened.compact(0)
    assert happened == ["fsync folder", "fsync file", "replace file", "fsync folder", "remove file"]


def test_writers_readers_and_a_compaction_at_once(tmp_path: Path) -> None:
    each, writers = 12, []
    for number in range(3):
        listen, told = FORK.Pipe(duplex=False)
        writers.append((start(append_batches, tmp_path, range(number * each, (number + 1) * each), told), listen))
        told.close()
    done: set[int] = set()
    ended: set[int] = set()
    rounds = 0
    while len(ended) < len(writers):
        for number, (_, listen) in enumerate(writers):
            while number not in ended and listen.poll():
                try:
                    done.add(listen.recv())
                except EOFError:
                    ended.add(number)
        found = read_ids_once(tmp_path)
        assert len(found) == len(set(found))
        assert set(found) >= {one for number in done for one in ids(batch(number * SIZE, SIZE))}
        rounds += 1
        if rounds == 2:
            compaction = start(compact_often, tmp_path)
    assert done == set(range(3 * each)) and all(writer.exitcode in (0, None) for writer, _ in writers)
    compaction.kill()
    compaction.join()
    assert read_ids(tmp_path) == sorted(ids(batch(0, 3 * each * SIZE)))


def read_ids_once(place: Path) -> list[str]:
    opened = Store(str(place))
    found = [row["episode_id"] for row in opened.read(0, ["episode_id"])]
    assert opened.damaged == []
    return found


def compact_often(place: Path) -> None:
    opened = Store(str(place))
    while True:
        opened.compact(0)


def test_opening_leaves_alone_what_is_being_written(tmp_path: Path) -> None:
    listen, told = FORK.Pipe(duplex=False)
    go, gone = FORK.Pipe(duplex=False)

    def slow() -> None:
        flush = os.fsync

        def waiting(handle: int) -> None:
            if os.readlink(f"/proc/self/fd/{handle}").endswith(".part"):
                told.send("writing")
                go.recv()
            flush(handle)

        os.fsync = waiting
        Store(str(tmp_path)).append(0, batch(0, 4))
        told.send("done")

    writer = start(slow)
    assert listen.recv() == "writing"
    assert read_ids(tmp_path) == []
    assert len(leftovers(tmp_path)) == 1
    gone.send("on")
    assert listen.recv() == "done"
    writer.join()
    assert read_ids(tmp_path) == sorted(ids(batch(0, 4))) and leftovers(tmp_path) == []


def test_space_that_runs_out_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """The kernel cuts the write short, as a full disk does."""
    Store(str(tmp_path)).append(0, batch(0, 4))
    large = [trajectory(number, text=random.Random(number).randbytes(2000).hex()) for number in range(4, 12)]
    listen, told = FORK.Pipe(duplex=False)

    def cramped() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        opened = Store(str(tmp_path))
        try:
            opened.append(0, large)
        except StoreFull as error:
            told.send(str(error))
        opened.append(0, batch(12, 1))

    writer = start(cramped)
    assert listen.poll(60)
    message = listen.recv()
    writer.join()
    assert message.startswith(f"cannot write {tmp_path}/journal/0/") and message.endswith("File too large")
    assert leftovers(tmp_path) == []
    assert read_ids(tmp_path) == sorted(ids([*batch(0, 4), *batch(12, 1)]))
    Store(str(tmp_path)).append(0, large)
    assert {one.episode_id: one for one in Store(str(tmp_path)).trajectories(0)}.keys() == set(ids(batch(0, 13)))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_at_every_step_of_a_compaction(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PART_BYTES", 1)
    opened = Store(str(tmp_path))
    for number in range(4):
        opened.append(0, batch(number * SIZE, SIZE))
    played = {one.episode_id: one for one in batch(0, 4 * SIZE)}
    real, refused = getattr(os, call), 0
    while True:
        numbers = itertools.count()

        def full(*arguments: object, numbers: itertools.count[int] = numbers, at: int = refused % 3) -> object:
            if next(numbers) == at:
                raise OSError(28, "No space left on device")
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            try:
                Store(str(tmp_path)).compact(0)
                break
            except StoreFull as error:
                assert str(error).startswith(f"cannot write {tmp_path}/generation-0/part-")
        refused += 1
        restored = list(opened.trajectories(0))
        assert len(restored) == len(played) and all(same(one, played[one.episode_id]) for one in restored)
        assert leftovers(tmp_path) == []
    assert refused >= 3
    assert read_ids(tmp_path) == sorted(played)
