"""Rows of data sets: local files (JSONL, gzipped or not, CSV, Parquet), or what the `datasets` library loads."""

from __future__ import annotations

import csv
import gzip
import importlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verifiers.base import BadProblem

PREFIX = "datasets:"
ALLOWED = "allowed: a .jsonl, .jsonl.gz, .csv or .parquet file, or datasets:NAME:SPLIT, or datasets:NAME:CONFIG:SPLIT"
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        name: its source and number, from 1; for people.
        fields: what it holds.
        fault: why it holds nothing that can be read, or empty.
    """

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""


class BadRow(ValueError):
    """A row that no problem can be made of, with one line that names it."""


def beside(path: str) -> Path:
    """A relative path as seen from here, or else from the project's folder."""
    here = Path(path).expanduser()
    return here if here.exists() else _ROOT / here


def text_field(row: Row, name: str) -> str:
    """A field as text; whole numbers and decimals are written out. Raises BadRow."""
    if row.fault:
        raise BadRow(f"{row.name}: {row.fault}")
    value = row.fields.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadRow(f"{row.name} has no text in its field {name!r}")
    text = str(value)
    if not text.strip():
        raise BadRow(f"{row.name} has nothing in its field {name!r}")
    if not encodable(text):
        raise BadRow(f"{row.name} has half a character (a lone surrogate) in its field {name!r}")
    return text


def encodable(text: str) -> bool:
    """Can this be written to a file? Not a lone surrogate, which JSON lets through."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def read_rows(source: str) -> Iterator[Row]:
    """The rows of a file or data set, in order; a broken line of JSON is a row with a fault.

    Args:
        source: a path (seen from here, or else from the project's folder), or `datasets:NAME[:CONFIG]:SPLIT`.

    Raises BadProblem where there is no such source, or where it cannot be read as a whole.
    """
    if source.startswith(PREFIX):
        return _numbered(source, _of_library(source))
    path = beside(source)
    if not path.is_file():
        raise BadProblem(f"there is no file {source!r}; {ALLOWED}")
    reader = next((read for ending, read in _READERS.items() if path.name.lower().endswith(ending)), None)
    if reader is None:
        raise BadProblem(f"cannot tell what {source!r} holds; {ALLOWED}")
    return _numbered(path.name, _guarded(source, reader(path)))


def _numbered(name: str, rows: Iterator[Mapping[str, Any] | str]) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        where = f"{name}, row {number}"
        yield Row(where, fault=row) if isinstance(row, str) else Row(where, row)


def _guarded(source: str, rows: Iterator[Mapping[str, Any] | str]) -> Iterator[Mapping[str, Any] | str]:
    try:
        yield from rows
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, ValueError) as error:
        said = str(error).splitlines()
        raise BadProblem(f"cannot read {source!r}: {said[0] if said else type(error).__name__}") from error


def _json_lines(path: Path) -> Iterator[Mapping[str, Any] | str]:
    """Objects, or what is wrong with a line. Only a line feed ends a line: JSON may hold what else could."""
    with (gzip.open if path.name.lower().endswith(".gz") else open)(
        path, "rt", encoding="utf-8-sig", newline="\n"
    ) as lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                yield "not JSON"
                continue
            yield row if isinstance(row, dict) else "not a JSON object"


def _comma_separated(path: Path) -> Iterator[Mapping[str, Any] | str]:
    with open(path, encoding="utf-8-sig", newline="") as lines:
        for row in csv.DictReader(lines):
            yield {name: value for name, value in row.items() if name is not None}


def _parquet(path: Path) -> Iterator[Mapping[str, Any] | str]:
    from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped]

    for batch in ParquetFile(path).iter_batches():
        yield from batch.to_pylist()


_READERS = {".jsonl": _json_lines, ".jsonl.gz": _json_lines, ".csv": _comma_separated, ".parquet": _parquet}


def _of_library(source: str) -> Iterator[Mapping[str, Any] | str]:
    parts = source.removeprefix(PREFIX).split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise BadProblem(f"cannot read {source!r}; {ALLOWED}")
    try:
        library = importlib.import_module("datasets")  # optional, so that no type checker has to find it
    except ModuleNotFoundError as error:
        raise BadProblem(f"{source!r} needs the package datasets, which is not installed; {ALLOWED}") from error
    try:
        loaded = library.load_dataset(*parts[:-1], split=parts[-1])
    except Exception as error:  # the library raises whatever went wrong underneath: network, files, scripts
        said = str(error).splitlines()
        raise BadProblem(f"cannot load {source!r}: {said[0] if said else type(error).__name__}") from error
    return iter(loaded)
