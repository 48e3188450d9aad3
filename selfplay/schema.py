"""Trajectories as rows of Parquet: one row a trajectory, flat columns, nested lists only where a tree or a group is.

Model text is untrusted and need not be encodable as UTF-8 (lone surrogates). A row with such text is stored escaped,
without loss: each surrogate, and each mark itself, becomes MARK and its six hex digits, and the column `escaped` says
so. All other rows hold their texts as they are, so that any reader of Parquet can use them.

Version 2 says which thoughts ended the whole text, version 3 in which tokens those of independent lines were drawn.
Older files are read as such in which nobody knows: null there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from selfplay.files import StoreError
from selfplay.trajectory import Example, Line, Move, Purpose, Trajectory
from verifiers.base import Evidence, Problem, Status, Verdict

VERSION = "3"
VERSION_KEY = b"trajectory_schema"
GROUP_BYTES = 4 << 20  # of Arrow memory; what a reader holds at once
MARK = "\U0010ffff"  # no character and never to become one

_TEXTS = pa.list_(pa.string())
_MOVE = [
    ("text", pa.string()), ("logprob", pa.float64()), ("prior", pa.float64()), ("visits", pa.int64()),
    ("value", pa.float64()), ("q", pa.float64()), ("outcome", pa.string()),
]
_LINE = [
    ("thoughts", _TEXTS), ("logprobs", pa.list_(pa.float64())), ("reward", pa.float64()), ("status", pa.string()),
    ("greedy", pa.bool_()),
]
_FLAT = [
    ("episode_id", pa.string()), ("generation", pa.int32()), ("sample", pa.int64()), ("purpose", pa.string()),
    ("problem_id", pa.string()), ("domain", pa.string()), ("prompt", pa.string()), ("facts", pa.string()),
    ("reference", pa.string()), ("fault", pa.string()), ("policy_version", pa.string()), ("seed", pa.int64()),
    ("status", pa.string()), ("reward", pa.float64()), ("evidence", pa.string()), ("detail", pa.string()),
    ("answer", pa.string()), ("answer_thoughts", _TEXTS), ("verified", pa.bool_()), ("temperature", pa.float64()),
    ("tokens", pa.int64()), ("simulations", pa.int64()), ("seconds", pa.float64()), ("line_tokens", pa.int64()),
]


def _schema(version: str, move: list[tuple[str, pa.DataType]], line: list[tuple[str, pa.DataType]]) -> pa.Schema:
    example = [("thoughts", _TEXTS), ("moves", pa.list_(pa.struct(move))), ("visits", pa.int64()),
               ("value", pa.float64()), ("q", pa.float64())]
    nested = [("examples", pa.list_(pa.struct(example))), ("lines", pa.list_(pa.struct(line)))]
    return pa.schema([*_FLAT, *nested, ("escaped", pa.bool_())], metadata={VERSION_KEY: version})


_MOVE_2, _LINE_2 = [*_MOVE, ("last", pa.bool_())], [*_LINE, ("lasts", pa.list_(pa.bool_()))]
SCHEMA = _schema(VERSION, _MOVE_2, [*_LINE_2, ("ids", pa.list_(pa.list_(pa.int32())))])
SCHEMAS = {"1": _schema("1", _MOVE, _LINE), "2": _schema("2", _MOVE_2, _LINE_2), VERSION: SCHEMA}

_SAME = ("episode_id", "generation", "sample", "policy_version", "seed", "answer", "verified", "temperature", "tokens",
         "simulations", "seconds", "line_tokens")  # columns that are called and stored as in Trajectory
_UNSAFE = re.compile(f"[\ud800-\udfff{MARK}]")
_ESCAPED = re.compile(f"{MARK}([0-9a-f]{{6}})")


class UnknownSchema(StoreError):
    """Trajectories written by another version of this program. They are whole, and stay where they are."""


def check(schema: pa.Schema) -> None:
    """Raises UnknownSchema for a version that cannot be read, ValueError for what never was a file of trajectories."""
    found = (schema.metadata or {}).get(VERSION_KEY)
    if found is None:
        raise ValueError("it names no version of the schema of trajectories")
    version = found.decode(errors="replace")
    if version not in SCHEMAS:
        raise UnknownSchema(f"its schema of trajectories has version {version!r}; "
                            f"this program reads versions {', '.join(SCHEMAS)}")
    if not schema.equals(SCHEMAS[version]):
        raise ValueError(f"its columns are not those of version {version} of the schema of trajectories")


def upgraded(table: pa.Table) -> pa.Table:
    """All columns of a file that can be read, or some of them, as the newest version has them."""
    wanted = pa.schema([SCHEMA.field(name) for name in table.column_names], metadata=SCHEMA.metadata)
    if table.schema.equals(wanted):
        return table
    return table.cast(wanted).replace_schema_metadata(SCHEMA.metadata)


def to_row(trajectory: Trajectory) -> dict[str, Any]:
    """The row of a trajectory. Raises TypeError or ValueError where the problem's facts are not JSON."""
    problem, verdict = trajectory.problem, trajectory.verdict
    row = {name: getattr(trajectory, name) for name in _SAME}
    row |= {
        "purpose": trajectory.purpose.value, "answer_thoughts": list(trajectory.answer_thoughts),
        "problem_id": problem.id, "domain": problem.domain, "prompt": problem.prompt, "reference": problem.reference,
        "fault": problem.fault, "facts": json.dumps(dict(problem.facts), ensure_ascii=False, allow_nan=False),
        "status": verdict.status.value, "reward": verdict.reward, "evidence": verdict.evidence.value,
        "detail": verdict.detail,
        "examples": [{**vars(example), "thoughts": list(example.thoughts), "moves": [vars(m) for m in example.moves]}
                     for example in trajectory.examples],
        "lines": [{**vars(line), "thoughts": list(line.thoughts), "logprobs": list(line.logprobs),
                   "lasts": list(line.lasts), "ids": [list(ids) for ids in line.ids]}
                  for line in trajectory.lines],
    }
    escaped = any(_surrogate(text) for text in _texts(row))
    return {**(_mapped(row, _escape) if escaped else row), "escaped": escaped}


def unescaped(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as read, or some columns of it with `escaped` among them: its texts as the model wrote them."""
    return _mapped(row, _unescape) if row["escaped"] else dict(row)


def from_row(row: Mapping[str, Any]) -> Trajectory:
    """The trajectory of a whole row as `unescaped` gives it: equal to what was stored.

    Facts come back as JSON has them: a tuple in them has become a list.
    """
    problem = Problem(row["problem_id"], row["domain"], row["prompt"], json.loads(row["facts"]), row["reference"],
                      row["fault"])
    verdict = Verdict(Status(row["status"]), row["reward"], Evidence(row["evidence"]), row["detail"])
    examples = tuple(Example(**{**example, "thoughts": tuple(example["thoughts"]),
                                "moves": tuple(map(_move, example["moves"]))}) for example in row["examples"])
    lines = tuple(Line(**{**line, "thoughts": tuple(line["thoughts"]), "logprobs": tuple(line["logprobs"]),
                          "lasts": tuple(line["lasts"] or ()), "ids": tuple(map(tuple, line["ids"] or ()))})
                  for line in row["lines"])
    return Trajectory(**{name: row[name] for name in _SAME}, purpose=Purpose(row["purpose"]), problem=problem,
                      verdict=verdict, examples=examples, lines=lines, answer_thoughts=tuple(row["answer_thoughts"]))


def _move(row: Mapping[str, Any]) -> Move:
    return Move(**{**row, "last": bool(row["last"])})


def to_table(trajectories: Iterable[Trajectory]) -> pa.Table:
    """Raises OverflowError or pa.ArrowInvalid where a number does not fit its column."""
    return pa.Table.from_pylist([to_row(trajectory) for trajectory in trajectories], schema=SCHEMA)


def to_parquet(table: pa.Table) -> pa.Buffer:
    """A file of trajectories, in row groups of about GROUP_BYTES, with a checksum on every page."""
    groups = max(1, round(table.nbytes / GROUP_BYTES))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=max(1, -(-len(table) // groups)),
                   write_page_checksum=True, write_statistics=False)  # of texts they would swell every footer
    return sink.getvalue()


def rows(file: pq.ParquetFile, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a file one after another, as the newest version has them; a row group at most is held in memory."""
    for group in range(file.num_row_groups):  # iter_batches of pyarrow 26 reads them all first
        table = upgraded(file.read_row_group(group, columns, use_threads=False))
        for batch in table.to_batches(max_chunksize=128):
            yield from batch.to_pylist()


def _surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """The value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(inner, change) for key, inner in value.items()}
    return [_mapped(inner, change) for inner in value] if isinstance(value, list) else value


def _escape(text: str) -> str:
    return _UNSAFE.sub(lambda found: f"{MARK}{ord(found[0]):06x}", text)


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
