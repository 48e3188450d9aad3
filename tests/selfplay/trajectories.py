"""Trajectories for tests: plain ones made from a number, and any at all for properties."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pyarrow as pa
from hypothesis import strategies as st

from selfplay import schema
from selfplay.schema import MARK
from selfplay.trajectory import Example, Job, Line, Move, Purpose, Trajectory
from verifiers.base import Evidence, Problem, Status, Verdict

STATUSES = tuple(Status)


def trajectory(number: int, generation: int = 0, *, text: str = "1+2=3, 3 3", moves: int = 4) -> Trajectory:
    """The trajectory of a number: the same number, the same trajectory."""
    problem = Problem(f"{number:016x}", "countdown", f"{number} 2 3 -> 6", {"numbers": [number, 2, 3]}, "1+2+3")
    job = Job("run", Purpose.TRAIN, generation, problem, 0, 7)
    thoughts = tuple(Move(f"{text}, {i}", -0.5 - i, 1 / moves, i, 0.25, 0.5, "open") for i in range(moves))
    status = STATUSES[number % len(STATUSES)]
    return Trajectory(
        job.episode_id, generation, 0, Purpose.TRAIN, problem, "policy", job.search_seed,
        (Example((), thoughts, 9, None, 0.5), Example((text,), thoughts, 3, 0.5, 0.25)),
        (Line((text, "3+3=6"), (-0.5, -0.25), 1.0, "correct"), Line((text,), (-0.125,), 0.0, "unparsable", True)),
        "(1+2)+3", (text, "3+3=6"), True, Verdict(status, float(status is Status.CORRECT)), 1.0, 100 + number, 10, 0.5,
        20,
    )


def batch(first: int, size: int, generation: int = 0) -> list[Trajectory]:
    return [trajectory(number, generation) for number in range(first, first + size)]


def same(one: Trajectory, other: Trajectory) -> bool:
    """Equal to the last bit: -0.0 is not 0.0 here, NaN is NaN, and facts and faults are compared too."""
    return repr(one) == repr(other) and one.problem.reference == other.problem.reference


def ids(trajectories: Sequence[Trajectory]) -> list[str]:
    return [each.episode_id for each in trajectories]


# Model text is anything: lone surrogates, the mark that escapes them, NUL.
_TEXT = st.text(st.one_of(st.characters(), st.sampled_from(f"{MARK}\ud83d\ude00\x000f")), max_size=12)
_TEXTS = st.lists(_TEXT, max_size=3).map(tuple)
_COUNT = st.integers(0, 2**63 - 1)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3), max_leaves=5,
)
_LIKELIHOOD = st.floats()
_VALUE = st.none() | st.floats()
_PROBLEM = st.builds(Problem, id=_TEXT, domain=_TEXT, prompt=_TEXT, facts=st.dictionaries(_TEXT, _JSON, max_size=3),
                     reference=st.none() | _TEXT, fault=_TEXT)
_MOVE = st.builds(Move, text=_TEXT, logprob=_LIKELIHOOD, prior=_LIKELIHOOD, visits=_COUNT, value=_VALUE,
                  q=_LIKELIHOOD, outcome=_TEXT, last=st.booleans())
_EXAMPLE = st.builds(Example, thoughts=_TEXTS, moves=st.lists(_MOVE, max_size=3).map(tuple), visits=_COUNT,
                     value=_VALUE, q=_LIKELIHOOD)
_LINE = st.builds(Line, thoughts=_TEXTS, logprobs=st.lists(_LIKELIHOOD, max_size=3).map(tuple), reward=_LIKELIHOOD,
                  status=_TEXT, greedy=st.booleans(), lasts=st.lists(st.booleans(), max_size=3).map(tuple),
                  ids=st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=3).map(tuple), max_size=3).map(tuple))
_VERDICT = st.builds(Verdict, status=st.sampled_from(Status), reward=_LIKELIHOOD, evidence=st.sampled_from(Evidence),
                     detail=_TEXT)
ANY = st.builds(
    Trajectory, episode_id=_TEXT, generation=st.integers(0, 2**31 - 1), sample=_COUNT, purpose=st.sampled_from(Purpose),
    problem=_PROBLEM, policy_version=_TEXT, seed=_COUNT, examples=st.lists(_EXAMPLE, max_size=3).map(tuple),
    lines=st.lists(_LINE, max_size=3).map(tuple), answer=st.none() | _TEXT, answer_thoughts=_TEXTS,
    verified=st.booleans(), verdict=_VERDICT, temperature=_LIKELIHOOD, tokens=_COUNT, simulations=_COUNT,
    seconds=_LIKELIHOOD, line_tokens=_COUNT,
)


def as_version(version: str, trajectories: Sequence[Trajectory]) -> pa.Buffer:
    """A file of trajectories as version 1 wrote it, which knew no `last`, or version 2, which knew no `ids`."""
    rows = [schema.to_row(each) for each in trajectories]
    for row in rows:
        for nested in (*row["lines"], *(move for example in row["examples"] for move in example["moves"])):
            for unknown in ("lasts", "last", "ids") if version == "1" else ("ids",):
                nested.pop(unknown, None)
    return schema.to_parquet(pa.Table.from_pylist(rows, schema=schema.SCHEMAS[version]))


def replaced(one: Trajectory, **changes: object) -> Trajectory:
    return dataclasses.replace(one, **changes)  # type: ignore[arg-type]
