"""Trajectories come back from Parquet as they were."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfplay import schema
from selfplay.trajectory import Example, Line, Move, Trajectory
from tests.selfplay.trajectories import ANY, as_version, replaced, same, trajectory


def stored(*trajectories: Trajectory) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(schema.to_parquet(schema.to_table(trajectories))))


def older(version: str, *trajectories: Trajectory) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(as_version(version, trajectories)))


def read_back(file: pq.ParquetFile) -> list[Trajectory]:
    return [schema.from_row(schema.unescaped(row)) for row in schema.rows(file)]


@given(st.lists(ANY, max_size=3))
def test_any_trajectory_comes_back_exactly(trajectories: list[Trajectory]) -> None:
    file = stored(*trajectories)
    schema.check(file.schema_arrow)
    restored = read_back(file)
    assert len(restored) == len(trajectories)
    assert all(map(same, restored, trajectories))


@pytest.mark.parametrize("text", ["\ud83d\ude00", f"\udfff{schema.MARK}00d800", f"{schema.MARK}00d800", "\ud800"])
def test_text_that_is_no_utf8_is_escaped_where_it_stands_and_said_to_be(text: str) -> None:
    one, other = trajectory(1, text=text), trajectory(2)
    file = stored(one, other)
    assert all(map(same, read_back(file), [one, other]))
    rows = list(schema.rows(file))
    assert [row["escaped"] for row in rows] == [any("\ud800" <= c <= "\udfff" for c in text), False]
    assert rows[1]["answer_thoughts"] == list(other.answer_thoughts)


def test_every_field_has_its_column() -> None:
    def fields(kind: type) -> set[str]:
        return {field.name for field in dataclasses.fields(kind)}

    def members(kind: pa.DataType) -> set[str]:
        return {kind.field(i).name for i in range(kind.num_fields)}

    examples = schema.SCHEMA.field("examples").type.value_type
    assert members(examples) == fields(Example)
    assert members(examples.field("moves").type.value_type) == fields(Move)
    assert members(schema.SCHEMA.field("lines").type.value_type) == fields(Line)
    assert fields(Trajectory) - set(schema.SCHEMA.names) == {"problem", "verdict"}


@pytest.mark.parametrize("facts", [{"a": Fraction(1, 2)}, {"a": float("nan")}])
def test_facts_that_are_no_json_are_refused(facts: dict[str, object]) -> None:
    one = trajectory(1)
    with pytest.raises((TypeError, ValueError), match="JSON"):
        schema.to_row(replaced(one, problem=dataclasses.replace(one.problem, facts=facts)))


@pytest.mark.parametrize("version", ["4", "0", "1.0", "newest"])
def test_another_version_is_refused_by_name(version: str) -> None:
    with pytest.raises(schema.UnknownSchema, match=f"version '{version}'; this program reads versions 1, 2, 3"):
        schema.check(schema.SCHEMA.with_metadata({schema.VERSION_KEY: version}))


def test_other_columns_are_no_trajectories() -> None:
    with pytest.raises(ValueError, match="names no version"):
        schema.check(schema.SCHEMA.remove_metadata())
    with pytest.raises(ValueError, match="columns are not those of version 3"):
        schema.check(schema.SCHEMA.remove(3))
    for version in ("1", "2"):
        with pytest.raises(ValueError, match=f"columns are not those of version {version}"):
            schema.check(schema.SCHEMA.with_metadata({schema.VERSION_KEY: version}))


def test_a_file_of_version_1_is_read_as_one_in_which_no_end_of_the_text_is_known() -> None:
    ended = trajectory(1)
    ended = replaced(ended, lines=tuple(dataclasses.replace(line, lasts=(True,) * len(line.thoughts))
                                        for line in ended.lines))
    old, strange = older("1", ended), older("1", trajectory(2, text="\ud800"))
    for one in (old, strange):
        schema.check(one.schema_arrow)
    assert same(read_back(old)[0], trajectory(1)) and same(read_back(strange)[0], trajectory(2, text="\ud800"))
    [row] = schema.rows(old, ["lines", "tokens"])
    assert [line["lasts"] for line in row["lines"]] == [None, None]  # not known, which is not `no`
    assert [line["lasts"] for line in next(schema.rows(stored(ended)))["lines"]] == [[True, True], [True]]


def test_a_file_of_version_2_is_read_as_one_in_which_no_tokens_are_known() -> None:
    ended = trajectory(1)
    ended = replaced(ended, lines=tuple(dataclasses.replace(line, lasts=(True,) * len(line.thoughts))
                                        for line in ended.lines))
    drawn = replaced(ended, lines=tuple(dataclasses.replace(line, ids=((7, 70_000), ())[: len(line.thoughts)])
                                        for line in ended.lines))
    old, new = older("2", drawn), stored(drawn)
    for one in (old, new):
        schema.check(one.schema_arrow)
    assert same(read_back(old)[0], ended) and same(read_back(new)[0], drawn)
    assert [line["ids"] for line in next(schema.rows(old, ["lines"]))["lines"]] == [None, None]
    assert [line["ids"] for line in next(schema.rows(new, ["lines"]))["lines"]] == [[[7, 70_000], []], [[7, 70_000]]]


def test_large_files_have_row_groups_that_columns_can_be_read_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "GROUP_BYTES", 10_000)
    trajectories = [trajectory(number) for number in range(200)]
    file = stored(*trajectories)
    assert 10 < file.num_row_groups < 100
    assert [row["tokens"] for row in schema.rows(file, ["tokens"])] == [one.tokens for one in trajectories]
    assert list(next(schema.rows(file, ["tokens", "status"]))) == ["tokens", "status"]
