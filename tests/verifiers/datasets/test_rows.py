"""Files and libraries give rows, broken ones among them."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from types import ModuleType

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.base import BadProblem
from verifiers.datasets.rows import BadRow, Row, read_rows, text_field

ROWS = [{"question": "one, or\u2028two?", "answer": "1"}, {"question": "and \"this\"", "answer": "2"}]
LINES = '{"question": "one, or\u2028two?", "answer": "1"}\r\n\n{"question": "and \\"this\\"", "answer": "2"}'


def written(folder: Path, name: str) -> Path:
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_bytes(b"\xef\xbb\xbf" + LINES.encode())
    elif name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(LINES.encode()))
    elif name.endswith(".csv"):
        path.write_text('question,answer\n"one, or\u2028two?",1\n"and ""this""",2\n', encoding="utf-8")
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.JSONL", "a.jsonl.gz", "a.csv", "a.parquet"])
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, name.lower()).rename(tmp_path / name)
    rows = list(read_rows(str(path)))
    assert [dict(row.fields) for row in rows] == ROWS
    assert [row.name for row in rows] == [f"{name}, row 1", f"{name}, row 2"]


@pytest.mark.parametrize(("line", "fault"), [
    ("{", "not JSON"), ("[1]", "not a JSON object"), ("7", "not a JSON object"), ("[" * 100_000, "not JSON"),
    ("1" * 5000, "not JSON"), ("\x00", "not JSON"),
])
def test_a_broken_line_is_a_row_with_a_fault(line: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"question": "a"}}\n{line}\n{{"question": "b"}}\n')
    rows = list(read_rows(str(path)))
    assert [row.fault for row in rows] == ["", fault, ""]
    with pytest.raises(BadRow, match=f"^rows.jsonl, row 2: {fault}$"):
        text_field(rows[1], "question")


@pytest.mark.parametrize("fields", [{}, {"q": None}, {"q": ["a"]}, {"q": True}, {"q": ""}, {"q": " \n"}, {"Q": "a"}])
def test_a_row_without_its_field_is_named(fields: dict[str, object]) -> None:
    with pytest.raises(BadRow, match=r"^f, row 7 has .* field 'q'$"):
        text_field(Row("f, row 7", fields), "q")


def test_numbers_are_text_too() -> None:
    assert [text_field(Row("r", {"q": value}), "q") for value in (204, -0.5, "x")] == ["204", "-0.5", "x"]


@pytest.mark.parametrize(("name", "content"), [
    ("a.jsonl", b"\xff\xfe\x00"), ("a.jsonl.gz", b"not gzip"),
    ("a.jsonl.gz", gzip.compress(b"{}\n" * 99, mtime=0)[:-9]), ("a.parquet", b"PAR1 no"),
    ("a.csv", b"\xff,\n1,2"), ("a.csv", b'a\n"' + b"x" * 200_000), ("a.txt", b"{}"), ("a", b"{}"),
])
def test_a_file_that_cannot_be_read_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadProblem) as refusal:
        list(read_rows(str(path)))
    assert "\n" not in str(refusal.value) and name in str(refusal.value)


@pytest.mark.parametrize("source", [
    "missing.jsonl", "", ".", "/", "datasets:", "datasets:a", "datasets::b", "datasets:a:b:c:d", "a\x00.jsonl",
])
def test_a_source_that_is_none_is_refused(source: str) -> None:
    with pytest.raises(BadProblem, match=r"allowed"):
        list(read_rows(source))


def library(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """A stand-in for the package `datasets`."""
    calls: list[tuple[object, ...]] = []

    def load_dataset(*names: str, split: str) -> list[dict[str, str]]:
        calls.append((*names, split))
        if names[0] == "missing":
            raise ConnectionError("nobody there\nat all")
        return ROWS

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return calls


def test_names_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = library(monkeypatch)
    assert [dict(row.fields) for row in read_rows("datasets:openai/gsm8k:main:test")] == ROWS
    assert [row.name for row in read_rows("datasets:mbpp:test")] == [f"datasets:mbpp:test, row {n}" for n in (1, 2)]
    assert calls == [("openai/gsm8k", "main", "test"), ("mbpp", "test")]
    with pytest.raises(BadProblem, match=r"^cannot load 'datasets:missing:test': nobody there$"):
        read_rows("datasets:missing:test")


def test_the_library_is_not_needed_for_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadProblem, match="needs the package datasets"):
        read_rows("datasets:mbpp:test")


@given(st.binary(max_size=300))
def test_any_bytes_are_rows_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    for name in ("any.jsonl", "any.csv"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(content)
        try:
            for row in read_rows(str(path)):
                assert row.fault or isinstance(row.fields, dict)
        except BadProblem:
            pass
