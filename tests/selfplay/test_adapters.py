"""Adapters on their way: the same files are the same bytes, caches are not trusted, all who play wear the same."""

from __future__ import annotations

import asyncio
import fcntl
import multiprocessing
import os
import random
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from policy.base import BadPolicy
from selfplay.adapters import KEPT, Parcel, Wardrobe, cached, content_key, delivered, pack, unpack


def folder(path: Path, **files: bytes) -> Path:
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", model=b"\x00\xff" * 700, config=b"{}")
    two = folder(tmp_path / "two", config=b"{}", model=b"\x00\xff" * 700)
    os.utime(two / "model", (1, 1))
    (two / "config").chmod(0o600)
    folder(two / "checkpoint", optimizer=b"large")
    (two / ".hidden").write_bytes(b"x")
    assert pack(one) == pack(two)
    (two / "config").write_bytes(b"[]")
    assert content_key(pack(one)) != content_key(pack(two))


def test_there_and_back(tmp_path: Path) -> None:
    packed = pack(folder(tmp_path / "one", a=b"1", b=b""))
    there = unpack(packed, tmp_path / "cache")
    assert pack(there) == packed and there.name == content_key(packed)
    assert unpack(packed, tmp_path / "cache") == there == cached(content_key(packed), tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [there.name]


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_no_adapter_at_all(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadPolicy, match="there is no adapter in"):
        pack(tmp_path / name)


class Box:
    """Gives bytes, and counts how often."""

    def __init__(self, packed: bytes) -> None:
        self.asked = 0
        self._packed = packed

    def __await__(self) -> Generator[None, None, bytes]:
        self.asked += 1
        yield from asyncio.sleep(0).__await__()
        return self._packed


def parcel(path: Path, content: bytes) -> Parcel:
    packed = pack(folder(path / content.hex(), a=content))
    return Parcel(content_key(packed), (Box(packed),))


async def through(parcel: Parcel, cache: Path) -> Path:
    async with delivered(parcel, cache) as there:
        assert (there / "a").exists()
        return there


async def test_a_cache_keeps_what_was_asked_for_last(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    parcels = [parcel(tmp_path, bytes([number])) for number in range(KEPT + 1)]
    for number, each in enumerate(parcels[:-1]):
        os.utime(await through(each, cache), (number, number))
    await through(parcels[0], cache)
    await through(parcels[-1], cache)
    assert {path.name for path in cache.iterdir()} == {each.key for each in (parcels[0], *parcels[2:])}


async def test_nothing_is_taken_from_who_loads(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    parcels = [parcel(tmp_path, bytes([number])) for number in range(2 * KEPT)]
    async with delivered(parcels[0], cache) as first:
        os.utime(first, (1, 1))
        for each in parcels[1:]:
            await through(each, cache)
        assert (first / "a").read_bytes() == bytes([0])
    assert len(list(cache.iterdir())) == KEPT


def load_many(folder: Path, seed: int) -> int:
    """A process among others that share a cache: how often it loaded what it asked for."""
    draw = random.Random(seed)

    async def load() -> int:
        loaded = 0
        for _ in range(60):
            packed = pack(folder / f"{draw.randrange(3 * KEPT):02x}")
            async with delivered(Parcel(content_key(packed), (Box(packed),)), folder / "cache") as there:
                loaded += pack(there) == packed
        return loaded

    return asyncio.run(load())


def test_processes_share_a_cache(tmp_path: Path) -> None:
    for number in range(3 * KEPT):
        one = parcel(tmp_path, bytes([number]))
        if number % 2:
            folder(tmp_path / "cache" / one.key, damaged=b"x")
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.starmap(load_many, [(tmp_path, seed) for seed in range(6)]) == [60] * 6
    asyncio.run(through(parcel(tmp_path, b"the last one finds nobody there"), tmp_path / "cache"))
    assert len(list((tmp_path / "cache").iterdir())) == KEPT


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(b"2"), Path.unlink])
async def test_a_damaged_folder_is_replaced_when_nobody_loads(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    cache, one = tmp_path / "cache", parcel(tmp_path, b"1")
    folder(cache / one.key, a=b"1", other=b"2")
    damage(cache / one.key / "a")
    async with delivered(one, cache) as first, delivered(one, cache) as second:
        assert len({first, second, cache / one.key}) == 3
        assert (first / "a").read_bytes() == (second / "a").read_bytes() == b"1"
    assert not list(cache.iterdir())
    assert await through(one, cache) == cache / one.key and list(cache.iterdir()) == [cache / one.key]


async def test_a_lock_is_waited_for_while_others_work(tmp_path: Path) -> None:
    cache, one = tmp_path / "cache", parcel(tmp_path, b"1")
    cache.mkdir()
    handle = os.open(cache, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await through(one, cache)
    os.close(handle)
    assert await through(one, cache) == cache / one.key


async def test_what_cannot_be_forgotten_is_no_trouble_of_who_loads(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder(cache, **{".DS_Store": b"x", "stray": b"x"})
    for number in range(KEPT + 2):
        await through(parcel(tmp_path, bytes([number])), cache)
    assert len([each for each in cache.iterdir() if each.is_dir()]) <= KEPT


@pytest.mark.parametrize("left", ["half", "nothing"])
async def test_what_was_killed_leaves_no_harm(tmp_path: Path, left: str) -> None:
    """Those who unpacked leave a part, those who removed an empty folder or one with a file too few."""
    cache = tmp_path / "cache"
    packed = pack(folder(tmp_path / "one", a=b"1", b=b"2"))
    folder(cache / ".part", a=b"1")
    folder(cache / content_key(packed), **({"a": b"1"} if left == "half" else {}))
    one = Parcel(content_key(packed), (Box(packed),))
    await through(one, cache)
    there = await through(one, cache)
    assert pack(there) == packed and list(cache.iterdir()) == [there]


async def test_bytes_are_asked_for_once(tmp_path: Path) -> None:
    one = parcel(tmp_path, b"1")
    assert await through(one, tmp_path / "cache") == await through(one, tmp_path / "cache")
    assert one.box[0].asked == 1


async def test_all_who_play_wear_the_same() -> None:
    worn: str | None = None
    log: list[str | None] = []

    async def load(parcel: Parcel | None) -> None:
        nonlocal worn
        await asyncio.sleep(0)
        if parcel is not None and parcel.key == "bad":
            raise BadPolicy("bad")
        worn = None if parcel is None else parcel.key
        log.append(worn)

    wardrobe = Wardrobe(load)

    async def play(key: str | None, rounds: int) -> None:
        async with wardrobe.wearing(None if key is None else Parcel(key, (None,))):
            for _ in range(rounds):
                assert worn == key
                await asyncio.sleep(0)

    await asyncio.gather(*(play(None, n) for n in (5, 3)), *(play("a", n) for n in (4, 1)), play("b", 2), play(None, 1))
    assert set(log) >= {"a", "b"}
    assert all(before != after for before, after in zip([None, *log], log, strict=False))  # no change in vain
    before = worn
    with pytest.raises(BadPolicy):
        await play("bad", 1)
    assert wardrobe.guests == 0 and worn == before
    await play(before, 1)
