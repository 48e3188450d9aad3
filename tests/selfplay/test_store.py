"""The store of trajectories: append, read, compact, on a disk, in memory, and where files are copied and moved."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import fsspec
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from selfplay import schema, store
from selfplay.files import Source, StoreError, StoreFull
from selfplay.store import Store
from selfplay.trajectory import Line, Purpose, Trajectory
from tests.selfplay.trajectories import as_version, batch, ids, replaced, same, trajectory
from verifiers.base import Status


class Moving(MemoryFileSystem):  # type: ignore[misc]
    """A file system without atomic uploads: files are written under another name and moved."""

    protocol = "moving"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(str(path).removeprefix("moving://")))


fsspec.register_implementation("moving", Moving, clobber=True)


@pytest.fixture(params=["local", "memory", "moving"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "run" / "store") if request.param == "local" else f"{request.param}://{uuid4().hex}"


def all_ids(opened: Store, generation: int = 0) -> list[str]:
    """The ids that reading gives, in order: not a set, so that doubles show."""
    return sorted(row["episode_id"] for row in opened.read(generation, ["episode_id"]))


def known(one: Trajectory, version: str = schema.VERSION) -> Trajectory:
    """With all that a version of the schema knows of its lines."""
    def more(line: Line) -> Line:
        lasts, ids = (True,) * len(line.thoughts), ((7, 70_000),) * len(line.thoughts)
        return dataclasses.replace(line, lasts=lasts if version > "1" else (), ids=ids if version > "2" else ())

    return replaced(one, lines=tuple(map(more, one.lines)))


def files(opened: Store) -> list[str]:
    folder = opened._folder
    return sorted(str(path).removeprefix(folder.root).lstrip("/") for path in folder.system.find(folder.root))


def test_what_is_appended_is_read_before_and_after_compaction(url: str) -> None:
    opened = Store(url)
    played = [*batch(0, 5), replaced(trajectory(9, text="\ud800"), policy_version="other")]
    opened.append(0, played[:3])
    opened.append(0, played[3:])
    opened.append(2, batch(0, 2, generation=2))
    for _ in range(2):
        again = Store(url)
        assert again.generations() == [0, 2]
        assert again.ids(0) == set(ids(played))
        restored = {one.episode_id: one for one in again.trajectories(0)}
        assert len(restored) == 6 and all(same(restored[one.episode_id], one) for one in played)
        assert sorted(row["generation"] for row in again.read([0, 2], ["generation"])) == [0] * 6 + [2] * 2
        assert again.damaged == []
        opened.compact(0)
    assert [name.partition("/")[0] for name in files(opened)] == ["generation-0", "journal"]


@pytest.mark.parametrize("version", ["1", "2"])
def test_files_of_older_versions_stand_beside_newer_ones(url: str, version: str) -> None:
    opened = Store(url)
    old, new = [known(one, version) for one in batch(0, 3)], [known(trajectory(number)) for number in range(3, 6)]
    for some in (old[:2], old[2:]):
        opened._folder.write(store._batch(0, ids(some)), as_version(version, some))
    opened.append(0, new)
    opened.append(0, old[:2])  # again: it is there
    assert [one.episode_id for one in opened.batch(0, ids(old[:2]))] == ids(old[:2])
    part = Store(url)
    for _ in range(2):
        found = {one.episode_id: one for one in Store(url).trajectories(0)}
        assert len(found) == 6 and all(same(found[one.episode_id], one) for one in [*old, *new])
        part.compact(0)
    assert part.damaged == [] and all("generation-0/" in name for name in files(part))


@pytest.mark.parametrize("version", ["1", "2"])
def test_an_old_part_is_forgotten_from_and_stays_readable(url: str, version: str) -> None:
    opened = Store(url)
    old = [known(one, version) for one in batch(0, 3)]
    opened._folder.write(f"generation-0/part-{store._hash(ids(old))}.parquet", as_version(version, old))
    opened.append(0, [known(trajectory(7))])
    opened.forget(0, ids(old[:1]))
    found = {one.episode_id: one for one in Store(url).trajectories(0)}
    assert found.keys() == {*ids(old[1:]), trajectory(7).episode_id}
    assert same(found[old[1].episode_id], old[1]) and same(found[trajectory(7).episode_id], known(trajectory(7)))


def test_nothing_is_there_before_anything_is_written(url: str) -> None:
    opened = Store(url)
    opened.append(3, [])
    opened.compact(3)
    assert opened.generations() == [] and opened.ids(3) == set() and list(opened.read([0, 3])) == []
    assert opened.counts(3).trajectories == dict.fromkeys(Status, 0)


def test_a_retried_append_counts_once(url: str) -> None:
    opened, played = Store(url), batch(0, 4)
    for _ in range(2):
        opened.append(0, played)
        opened.append(0, played[::-1])
    assert len(files(opened)) == 1
    opened.append(0, [*played[2:], *batch(4, 2), *played[2:]])
    assert all_ids(opened) == sorted(ids(batch(0, 6)))
    opened.compact(0)
    opened.append(0, played)
    assert all_ids(opened) == sorted(ids(batch(0, 6)))
    opened.compact(0)
    assert len(files(opened)) == 1 and all_ids(opened) == sorted(ids(batch(0, 6)))


def test_a_batch_is_found_by_its_ids_alone(url: str) -> None:
    opened, first, second = Store(url), batch(0, 3), batch(3, 2)
    opened.append(0, first)
    opened.append(0, second)
    assert sorted(ids(opened.batch(0, reversed(ids(first))))) == sorted(ids(first))
    assert opened.batch(0, ids(second))[0] in second
    for other in (ids(first)[:2], [*ids(first), *ids(second)], []):
        assert opened.batch(0, other) == []
    assert opened.batch(1, ids(first)) == []
    opened.compact(0)
    assert opened.batch(0, ids(first)) == []


def test_what_comes_late_is_compacted_later(url: str) -> None:
    opened = Store(url)
    for first in (0, 3, 2):  # the last one repeats a row that is in a part by then
        opened.append(0, batch(first, 3))
        opened.compact(0)
    assert [name.rpartition("/")[0] for name in files(opened)] == ["generation-0"] * 2
    assert all_ids(opened) == sorted(ids(batch(0, 6)))


def test_parts_are_bounded_and_hold_each_row_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, draw = Store(url), random.Random(1)
    order = draw.sample(range(40), 40)
    for start in range(0, 40, 4):
        opened.append(0, [trajectory(number) for number in {*order[start:start + 4], *draw.sample(range(40), 2)}])
    size = schema.to_table(batch(0, 40)).nbytes
    monkeypatch.setattr(store, "PART_BYTES", size // 8)
    opened.compact(0)
    parts = files(opened)
    assert 5 <= len(parts) <= 10 and all(name.startswith("generation-0/part-") for name in parts)
    tables = [pq.read_table(opened._folder.open(name), columns=["episode_id"]) for name in parts]
    assert sum(map(len, tables)) == 40
    assert max(map(len, tables)) < 40 // 8 + 6
    assert all_ids(opened) == sorted(ids(batch(0, 40)))


def test_counts_are_of_status_and_purpose() -> None:
    opened = Store(f"memory://{uuid4().hex}")
    train, match = batch(0, 7), [replaced(one, purpose=Purpose.MATCH) for one in batch(7, 3)]
    opened.append(0, train)
    opened.append(0, match)
    counts = opened.counts(0)
    assert list(counts.trajectories.values()) == [2] * 5 and list(counts.trajectories) == list(Status)
    assert counts.tokens == sum(one.tokens + one.line_tokens for one in train + match)
    assert list(opened.counts(0, Purpose.MATCH).trajectories.values()) == [0, 0, 1, 1, 1]


def test_bad_requests_are_refused(url: str) -> None:
    opened = Store(url)
    with pytest.raises(ValueError, match="generation 1 do not belong to generation 0"):
        opened.append(0, batch(0, 1, generation=1))
    with pytest.raises(ValueError, match=r"there is no column token; there are: episode_id, .*escaped"):
        next(opened.read(0, ["tokens", "token"]))


@pytest.mark.parametrize("bad", ["nowhere://store", "simplecache::nowhere://store"])
def test_an_unknown_place_is_named(bad: str) -> None:
    with pytest.raises(StoreError, match=f"cannot open {bad}: .*nowhere"):
        Store(bad)


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=f"cannot list {tmp_path}/file/journal: Not a directory"):
        Store(str(tmp_path / "file"))


def test_columns_stream_without_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "GROUP_BYTES", 1_500_000)
    opened = Store(str(tmp_path))
    opened.append(0, [trajectory(number, text=random.Random(number).randbytes(1500).hex()) for number in range(300)])
    opened.compact(0)
    [part] = (tmp_path / "generation-0").iterdir()
    size, taken = part.stat().st_size, 0
    read: Callable[[Source, int], bytes] = Source.read

    def counted(source: Source, wanted: int = -1) -> bytes:
        nonlocal taken
        content = read(source, wanted)
        taken += len(content)
        return content

    monkeypatch.setattr(Source, "read", counted)
    assert len(opened.ids(0)) == len(list(opened.read(0, ["status"]))) == 300
    assert 0 < taken < size / 3
    taken = 0
    rows: Iterator[dict[str, Any]] = opened.read(0)
    next(rows)
    assert 0 < taken < size / 3
    assert len(list(rows)) == 299 and taken > size * 0.9


def test_two_readers_of_one_file_do_not_disturb_each_other(url: str) -> None:
    opened = Store(url)
    opened.append(0, batch(0, 300))
    one, other = opened.read(0), Store(url).read(0)
    assert [a == b for a, b in zip(one, other, strict=True)] == [True] * 300


def test_others_read_the_parts(tmp_path: Path) -> None:
    opened = Store(str(tmp_path))
    for generation in (0, 1):
        opened.append(generation, batch(0, 4, generation))
        opened.append(generation, batch(3, 3, generation))
        opened.compact(generation)
    for table in (pq.read_table(tmp_path), ds.dataset(tmp_path, partitioning="hive").to_table()):
        assert sorted(table.column("episode_id").to_pylist()) == sorted([*opened.ids(0), *opened.ids(1)])
        assert sorted(table.column("generation").to_pylist()) == [0] * 6 + [1] * 6


def test_pandas_duckdb_and_datasets_read_the_parts(tmp_path: Path) -> None:
    import datasets
    import duckdb
    import pandas

    opened = Store(str(tmp_path / "store"))
    opened.append(0, batch(0, 4))
    opened.compact(0)
    assert set(pandas.read_parquet(tmp_path / "store")["episode_id"]) == opened.ids(0)
    query = f"select count(*), sum(len(examples)) from '{tmp_path}/store/generation-*/*.parquet'"
    assert duckdb.sql(query).fetchall() == [(4, 8)]
    files = [str(file) for file in (tmp_path / "store").glob("generation-*/*.parquet")]
    rows = datasets.Dataset.from_parquet(files, cache_dir=str(tmp_path / "cache"))
    assert set(rows["episode_id"]) == opened.ids(0) and rows[0]["examples"][0]["moves"]


@pytest.mark.parametrize("operation", ["pipe_file", "mv"])
def test_space_that_runs_out_elsewhere_leaves_nothing(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, played = Store(f"moving://{uuid4().hex}"), batch(0, 8)
    written = getattr(Moving, operation)
    for first in (0, 4):
        def full(self: Moving, path: str, value: Any, **options: Any) -> None:
            if operation == "pipe_file":
                written(self, path, value[:50], **options)
            raise OSError(28, "No space left on device")

        before = files(opened)
        monkeypatch.setattr(Moving, operation, full)
        with pytest.raises(StoreFull, match=r"cannot write moving://.*: No space left on device"):
            opened.append(0, played[first:first + 4])
        assert files(opened) == before
        monkeypatch.setattr(Moving, operation, written)
        opened.append(0, played[first:first + 4])
    assert all_ids(opened) == sorted(ids(played)) and opened.damaged == []


def test_a_compaction_at_any_step_of_a_reader_hides_nothing(url: str) -> None:
    for step in itertools.count():
        place = f"{url}/{step}"
        writer, reader = Store(place), Store(place)
        writer.append(0, batch(0, 3))
        writer.compact(0)
        for first in (3, 5):
            writer.append(0, batch(first, 3))
        steps = itertools.count()

        def disturbed(
            use: Callable[[str], Any], writer: Store = writer, steps: itertools.count[int] = steps, step: int = step
        ) -> Callable[[str], Any]:
            def used(name: str) -> Any:
                if next(steps) == step:
                    writer.compact(0)
                return use(name)
            return used

        folder = reader._folder
        folder.names, folder.open = disturbed(folder.names), disturbed(folder.open)  # type: ignore[method-assign]
        assert all_ids(reader) == sorted(ids(batch(0, 8)))
        if next(steps) <= step:
            break
    assert step >= 6
