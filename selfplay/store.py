"""The store of trajectories: what is in it survives any kill, and is in it once.

    STORE/journal/3/BATCH.parquet           batches of generation 3 as workers append them
    STORE/generation-3/part-HASH.parquet    the same after `compact`
    STORE/_damaged/...                      files that could not be read, moved aside

A file is named after the hash of the episode ids in it, appears whole (selfplay/files.py says how sure that is) and
is never changed. There is no index and no commit record; what holds instead is that a row leaves the journal only once
it is safe in a part, that a part holds no row of another, and that readers look at the journal first and at the parts
last, and take every id once. So it does not matter where a writer or a compaction is killed.

Any number of processes may append and read at once; one at a time may compact.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from selfplay import schema
from selfplay.files import StoreError, open_folder
from selfplay.trajectory import Purpose, Trajectory
from verifiers.base import Status

PART_BYTES = 64 << 20  # of Arrow memory, before compression; a part is larger by one batch at most
_SUFFIX = ".parquet"
_UNREADABLE = (OSError, ValueError, pa.ArrowException)  # what pyarrow raises on files that are damaged
T = TypeVar("T")


@dataclass(frozen=True)
class Damage:
    """A file that could not be read. Its trajectories are not in the store any more, and may be played again.

    Attributes:
        path: where it was.
        reason: one line.
        moved: where it is now; None if it could not be moved, and is passed over.
    """

    path: str
    reason: str
    moved: str | None


@dataclass(frozen=True)
class Counts:
    """What a generation holds.

    Attributes:
        trajectories: how many there are of each status, every status named.
        tokens: spent by their searches and lines.
    """

    trajectories: Mapping[Status, int]
    tokens: int


class Store:
    """Trajectories at any path or URL that fsspec knows: `runs/a/store`, `memory://a`, `s3://bucket/a`.

    Opening it removes what killed writers left half-written.

    A shard that is truncated, garbage or of other columns is moved aside, recorded in `damaged` by whoever met it, and
    its ids are gone. Trouble with the file system itself is a StoreError that names the path (StoreFull where space is
    missing), files of another version of the schema an UnknownSchema; both leave everything where it is.

    Attributes:
        damaged: what this object found damaged, in the order of finding.
    """

    def __init__(self, url: str) -> None:
        self._folder = open_folder(url)
        self.damaged: list[Damage] = []
        for folder in (*self._folders("journal/", "journal"), *self._folders("generation-")):
            self._folder.sweep(folder)

    def append(self, generation: int, trajectories: Sequence[Trajectory]) -> None:
        """One batch for the journal; when this returns, it is as safe as the file system can make it.

        Appending the same trajectories again changes nothing, and of several with one id the last counts. Raises
        ValueError for another generation's.
        """
        if strange := {t.generation for t in trajectories} - {generation}:
            raise ValueError(f"trajectories of generation {min(strange)} do not belong to generation {generation}")
        if not trajectories:
            return
        distinct = {trajectory.episode_id: trajectory for trajectory in trajectories}
        name = _batch(generation, distinct)
        if any(self._scan([name], lambda _, ids: iter([True]))):
            self._folder.settle(name)  # whoever wrote it may have been killed before it was safe
        else:
            self._folder.write(name, schema.to_parquet(schema.to_table(distinct.values())))

    def batch(self, generation: int, ids: Iterable[str]) -> list[Trajectory]:
        """What was appended together with just these episode ids; empty if that is not in the journal (any more).

        One look at one file, however much the generation holds.
        """
        found = self._scan([_batch(generation, ids)], lambda file, _: schema.rows(file, schema.SCHEMA.names))
        return [schema.from_row(schema.unescaped(row)) for row in found]

    def generations(self) -> list[int]:
        """The generations that hold anything, in order."""
        found = {name.rpartition("/")[2].removeprefix("generation-")
                 for name in (*self._folders("journal/", "journal"), *self._folders("generation-"))}
        return sorted(generation for generation in map(int, found) if self._shards(generation))

    def ids(self, generation: int) -> set[str]:
        """The episode ids of a generation."""
        every: Iterator[list[str]] = self._visit(generation, lambda _, ids: iter([ids]))
        return {episode for ids in every for episode in ids}

    def read(self, generations: int | Iterable[int], columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """The rows of some generations, each episode once, in no promised order; see selfplay/schema.py for columns.

        Streams: of the rows it holds a row group at most, of the ids all of one generation (about 100 bytes each).
        Raises ValueError for a column that there is not.
        """
        wanted = schema.SCHEMA.names if columns is None else list(columns)
        if unknown := [name for name in wanted if name not in schema.SCHEMA.names]:
            raise ValueError(f"there is no column {unknown[0]}; there are: {', '.join(schema.SCHEMA.names)}")
        taken = list({*wanted, "episode_id", "escaped"})
        for generation in [generations] if isinstance(generations, int) else generations:
            seen: set[str] = set()

            def fresh(file: pq.ParquetFile, ids: list[str], seen: set[str] = seen) -> Iterator[dict[str, Any]]:
                if seen.issuperset(ids):
                    return
                for row in schema.rows(file, taken):
                    if row["episode_id"] not in seen:
                        seen.add(row["episode_id"])
                        row = schema.unescaped(row)
                        yield {name: row[name] for name in wanted}

            yield from self._visit(generation, fresh)

    def trajectories(self, generations: int | Iterable[int]) -> Iterator[Trajectory]:
        """As `read`, but whole trajectories."""
        return map(schema.from_row, self.read(generations))

    def counts(self, generation: int, purpose: Purpose | None = None) -> Counts:
        """What a generation holds, of one purpose or of all."""
        statuses, tokens = Counter[str](), 0
        for row in self.read(generation, ["purpose", "status", "tokens", "line_tokens"]):
            if purpose is None or row["purpose"] == purpose.value:
                statuses[row["status"]] += 1
                tokens += row["tokens"] + row["line_tokens"]
        return Counts({status: statuses[status.value] for status in Status}, tokens)

    def compact(self, generation: int) -> None:
        """Move what the journal holds of a generation into parts.

        It reads every byte of the journal, so what was damaged there is known afterwards: compare `ids` with what was
        played. Can be killed at any point and repeated; what is appended meanwhile stays in the journal.
        """
        batches = self._batches(generation)
        read: list[str] = []
        seen = {i for ids in self._scan(self._parts(generation), lambda _, ids: iter([ids])) for i in ids}
        pending: list[pa.Table] = []
        size = 0
        for batch in batches:
            for table in self._scan([batch], lambda file, _: iter([_table(file)])):
                ids = table.column("episode_id").to_pylist()
                pending.append(table.filter(pa.array([episode not in seen for episode in ids], pa.bool_())))
                seen.update(ids)
                size += pending[-1].nbytes
                read.append(batch)
            if size >= PART_BYTES:
                self._write_part(generation, pending)
                size = 0
        self._write_part(generation, pending)
        for batch in read:  # only now, when every row is in a part
            self._folder.remove(batch)

    def forget(self, generation: int, ids: Iterable[str]) -> None:
        """Take episodes out, to be played once more. Compacts; can be killed at any point and repeated, and until it is
        over some of them may still be there."""
        gone = set(ids)
        self.compact(generation)
        for name in self._parts(generation):
            for table in list(self._scan([name], lambda file, _: iter([_table(file)]))):
                stays = [episode not in gone for episode in table.column("episode_id").to_pylist()]
                if not all(stays):
                    self._write_part(generation, [table.filter(pa.array(stays, pa.bool_()))])
                    self._folder.remove(name)  # only now, when what stays is in another part

    def _write_part(self, generation: int, pending: list[pa.Table]) -> None:
        """Write what is pending as one part, and forget it."""
        table = pa.concat_tables(pending) if pending else schema.SCHEMA.empty_table()
        pending.clear()
        if len(table):
            name = f"generation-{generation}/part-{_hash(table.column('episode_id').to_pylist())}{_SUFFIX}"
            self._folder.write(name, schema.to_parquet(table))

    def _folders(self, prefix: str, folder: str = "") -> list[str]:
        """Folders of generations: PREFIX and a number."""
        places = [f"{folder}/{name}" if folder else name for name in self._folder.names(folder)]
        return [place for place in places if place.startswith(prefix) and place.removeprefix(prefix).isdigit()]

    def _batches(self, generation: int) -> list[str]:
        return self._files(f"journal/{generation}")

    def _parts(self, generation: int) -> list[str]:
        return self._files(f"generation-{generation}")

    def _files(self, folder: str) -> list[str]:
        return [f"{folder}/{name}" for name in self._folder.names(folder) if name.endswith(_SUFFIX)]

    def _shards(self, generation: int) -> list[str]:
        """The journal is listed first: what leaves it meanwhile is in a part by then, and so in the second list."""
        return [*self._batches(generation), *self._parts(generation)]

    def _visit(self, generation: int, visit: Callable[[pq.ParquetFile, list[str]], Iterator[T]]) -> Iterator[T]:
        """Scan all shards of a generation. Batches that vanish meanwhile were compacted: look for new parts then."""
        shards = self._shards(generation)
        yield from self._scan(shards, visit)
        yield from self._scan(set(self._parts(generation)).difference(shards), visit)

    def _scan(self, names: Iterable[str], visit: Callable[[pq.ParquetFile, list[str]], Iterator[T]]) -> Iterator[T]:
        """What `visit` makes of each of these files and its episode ids; vanished and damaged files give nothing."""
        passed_over = {damage.path for damage in self.damaged if damage.moved is None}
        for name in names:
            if self._folder.path(name) in passed_over:
                continue
            try:
                source = self._folder.open(name)
            except FileNotFoundError:
                continue
            with source:
                try:
                    with pq.ParquetFile(source, page_checksum_verification=True) as file:
                        schema.check(file.schema_arrow)
                        ids = file.read(["episode_id"], use_threads=False).column(0).to_pylist()
                        if None in ids or not name.endswith(_hash(ids) + _SUFFIX):
                            raise ValueError("its name is not the hash of its episode ids")
                        yield from visit(file, ids)
                except schema.UnknownSchema as error:
                    raise schema.UnknownSchema(f"cannot read {self._folder.path(name)}: {error}") from error
                except _UNREADABLE as error:
                    if isinstance(source.trouble, FileNotFoundError):
                        continue  # it vanished after all: some file systems open a file only when it is read
                    if source.trouble is not None:
                        raise StoreError(f"cannot read {self._folder.path(name)}: {source.trouble}") from error
                    self._contain(name, error)

    def _contain(self, name: str, error: Exception) -> None:
        """Move a damaged file aside, and record it."""
        path, aside = self._folder.path(name), f"_damaged/{name}.damaged"
        moved: str | None = self._folder.path(aside)
        try:
            self._folder.move(name, aside)
        except FileNotFoundError:
            return  # somebody else has moved it, and reports it
        except StoreError:
            moved = None
        reason = str(error).partition("\n")[0] or type(error).__name__
        self.damaged.append(Damage(path, reason, moved))


def _table(file: pq.ParquetFile) -> pa.Table:
    """All of a file, of whichever version."""
    return schema.upgraded(file.read(use_threads=False))


def _batch(generation: int, ids: Iterable[str]) -> str:
    return f"journal/{generation}/{_hash(ids)}{_SUFFIX}"


def _hash(ids: Iterable[str]) -> str:
    """32 hex digits of a set of episode ids."""
    return hashlib.blake2b("\n".join(sorted(set(ids))).encode(), digest_size=16).hexdigest()
