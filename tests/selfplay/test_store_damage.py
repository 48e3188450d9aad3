"""Damaged files are reported once, moved aside and missing; a file system in trouble is another matter."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfplay import schema
from selfplay.files import LocalFolder, Source, StoreError
from selfplay.store import Store
from tests.selfplay.trajectories import batch, ids, same


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store whose generation 0 has a part (0 to 3), a batch that is to be damaged (4 to 7) and a good one (8, 9)."""
    opened = Store(str(tmp_path))
    opened.append(0, batch(0, 4))
    opened.compact(0)
    opened.append(0, batch(4, 4))
    opened.append(0, batch(8, 2))
    return tmp_path


def file_of(place: Path, first: int, size: int) -> Path:
    """The file that holds just these trajectories."""
    wanted = set(ids(batch(first, size)))
    [path] = [path for path in place.rglob("*.parquet") if set(pq.read_table(path)["episode_id"].to_pylist()) == wanted]
    return path


def rewritten(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


TABLE = schema.to_table(batch(4, 4))
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "truncated": lambda content: content[:len(content) // 2],
    "without its end": lambda content: content[:-1],
    "garbage": lambda content: random.Random(1).randbytes(len(content)),
    "text": lambda _: b"PAR1 and nothing more PAR1",
    "no version": lambda _: rewritten(TABLE.replace_schema_metadata(None)),
    "a column short": lambda _: rewritten(TABLE.drop_columns("tokens")),
    "a row short": lambda _: rewritten(TABLE.slice(1)),
    "no id": lambda _: rewritten(TABLE.set_column(0, "episode_id", pa.array([None] * 4, pa.string()))),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_batch_is_reported_once_and_missing(place: Path, damage: Callable[[bytes], bytes]) -> None:
    path = file_of(place, 4, 4)
    content = damage(path.read_bytes())
    path.write_bytes(content)
    opened = Store(str(place))
    left = set(ids(batch(0, 4) + batch(8, 2)))
    for _ in range(2):
        assert {one.episode_id for one in opened.trajectories(0)} == opened.ids(0) == left
    [found] = opened.damaged
    assert found.path == str(path) and found.reason and "\n" not in found.reason
    assert found.moved is not None and Path(found.moved).read_bytes() == content and found.moved.endswith(".damaged")
    again = Store(str(place))
    assert again.ids(0) == left and again.damaged == []
    again.append(0, batch(4, 4))  # played again
    again.compact(0)
    assert again.ids(0) == set(ids(batch(0, 10))) and again.damaged == []


def test_a_damaged_part_is_contained_too(place: Path) -> None:
    path = file_of(place, 0, 4)
    path.write_bytes(path.read_bytes()[:100])
    opened = Store(str(place))
    opened.compact(0)
    assert [found.path for found in opened.damaged] == [str(path)]
    assert opened.ids(0) == set(ids(batch(4, 6)))


def test_an_append_replaces_what_was_damaged(place: Path) -> None:
    path = file_of(place, 4, 4)
    path.write_bytes(b"PAR1")
    opened = Store(str(place))
    opened.append(0, batch(4, 4))
    assert opened.ids(0) == set(ids(batch(0, 10)))
    assert [found.path for found in opened.damaged] == [str(path)]


def test_no_flipped_bit_gives_a_wrong_trajectory(place: Path) -> None:
    path, draw = file_of(place, 4, 4), random.Random(5)
    whole, played = path.read_bytes(), {one.episode_id: one for one in batch(0, 10)}
    damaged = 0
    for _ in range(60):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        opened = Store(str(place))
        try:
            restored = list(opened.trajectories(0))
        except schema.UnknownSchema:  # the bit was in the number of the version
            continue
        assert all(same(one, played[one.episode_id]) for one in restored)
        assert len(restored) == len({one.episode_id for one in restored})
        assert bool(opened.damaged) or len(restored) == 10
        damaged += len(opened.damaged)
    assert damaged > 30


def test_files_of_a_newer_version_are_refused_and_stay(place: Path) -> None:
    path = file_of(place, 4, 4)
    path.write_bytes(rewritten(TABLE.replace_schema_metadata({schema.VERSION_KEY: b"4"})))
    opened = Store(str(place))
    for use in (opened.ids, opened.compact, lambda generation: list(opened.read(generation))):
        with pytest.raises(schema.UnknownSchema, match=f"cannot read {path}: .* version '4'; this program reads"):
            use(0)
    assert path.exists() and opened.damaged == []


class Failing:
    """A file of a thousand bytes that cannot be read."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def seek(self, position: int, whence: int = 0) -> int:
        return position + (1000 if whence == 2 else 0)

    def read(self, _: int) -> bytes:
        raise self.error

    def close(self) -> None: ...


@pytest.mark.parametrize("error", [OSError(5, "the disk is tired"), RuntimeError("the disk is tired")])
def test_a_disk_that_cannot_be_read_is_no_damage(
    place: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    opened = Store(str(place))
    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "open", lambda folder, name: Source(Failing(error)))
        with pytest.raises(StoreError, match=rf"cannot read {place}/journal/0/\w+\.parquet: .*the disk is tired"):
            opened.ids(0)
    assert opened.damaged == [] and opened.ids(0) == set(ids(batch(0, 10)))


def test_a_file_that_vanishes_while_it_is_read_is_passed_over(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Store(str(place))
    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "open", lambda folder, name: Source(Failing(FileNotFoundError(2, "gone"))))
        assert opened.ids(0) == set()
    assert opened.damaged == [] and opened.ids(0) == set(ids(batch(0, 10)))


def test_damage_that_cannot_be_moved_is_passed_over(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file_of(place, 4, 4)
    path.write_bytes(b"")
    (place / "_damaged").write_text("a file where the folder would be")
    opened = Store(str(place))
    for _ in range(2):
        assert opened.ids(0) == set(ids(batch(0, 4) + batch(8, 2)))
    [found] = opened.damaged
    assert (found.path, found.moved) == (str(path), None) and path.exists()
