"""Adapters on their way: the same files are the same bytes, caches are not trusted, all who play wear the same."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
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


def test_a_damaged_folder_of_a_cache_is_thrown_away(tmp_path: Path) -> None:
    packed = pack(folder(tmp_path / "one", a=b"1"))
    (unpack(packed, tmp_path / "cache") / "a").write_bytes(b"2")
    assert cached(content_key(packed), tmp_path / "cache") is None
    assert (unpack(packed, tmp_path / "cache") / "a").read_bytes() == b"1"


def test_a_cache_keeps_the_latest(tmp_path: Path) -> None:
    there = []
    for number in range(KEPT + 3):
        there.append(unpack(pack(folder(tmp_path / str(number), a=bytes([number]))), tmp_path / "cache"))
        os.utime(there[-1], (number, number))
    assert [path.is_dir() for path in there] == [False] * 3 + [True] * KEPT


async def test_bytes_are_asked_for_once(tmp_path: Path) -> None:
    packed = pack(folder(tmp_path / "one", a=b"1"))
    asked = 0

    class Box:
        def __await__(self):  # type: ignore[no-untyped-def]
            nonlocal asked
            asked += 1
            yield from asyncio.sleep(0).__await__()
            return packed

    box: Awaitable[bytes] = Box()
    parcel = Parcel(content_key(packed), (box,))
    first = await delivered(parcel, tmp_path / "cache")
    assert await delivered(parcel, tmp_path / "cache") == first and asked == 1


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
