"""Searches with all their answers over time, as files that survive a kill: a folder a cell, a file a problem.

They are trajectories, so that the pools of self-play store and tell of them as they do of any other. None is graded:
that is left to whoever holds the references.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from commands.errors import BadInput
from commands.think import Attempt
from search.base import Answer
from selfplay.files import open_folder
from selfplay.player import failure
from selfplay.trajectory import Purpose, Trajectory
from verifiers.base import Problem, unparsable

_SUFFIX = ".json"


@dataclass(frozen=True)
class Mark:
    """What a search had spent when a budget that it was not given was first seen to be spent."""

    seconds: float
    tokens: int
    simulations: int
    prompt_tokens: int


@dataclass(frozen=True)
class Record(Trajectory):
    """A search with its answers over time. Of what is read back, the problem is an id and the name of its domain.

    Attributes:
        generation: the number of the cell.
        verdict: `error` where the search failed; no grade.
        attempt: the answers in the order they were given.
        marks: for each budget to be read off that was passed, in their order.
    """

    attempt: Attempt
    marks: tuple[Mark, ...]


def record(
    episode_id: str, cell: int, problem: Problem, version: str, seed: int, attempt: Attempt, marks: Sequence[Mark]
) -> Record:
    final = attempt.final
    return Record(
        episode_id, cell, 0, Purpose.MATCH, problem, version, seed, (), (),
        None if final is None else final.text, () if final is None else final.thoughts,
        final is not None and final.verified,
        unparsable("not graded yet") if attempt.error is None else failure(attempt.error),
        1.0, attempt.tokens, attempt.simulations, attempt.seconds, 0, attempt, tuple(marks),
    )  # fmt: skip


class Records:
    """See the module. Any number of processes may write; opening it removes what killed ones left half-written.

    Raises StoreError where the disk refuses.
    """

    def __init__(self, path: str) -> None:
        self._folder = open_folder(path)
        for cell in self._folder.names():
            self._folder.sweep(cell)

    def append(self, generation: int, trajectories: Sequence[Trajectory]) -> None:
        """See selfplay.pool.Store. What is no Record is of a search that could not even be begun."""
        for played in trajectories:
            kept = played if isinstance(played, Record) else record(
                played.episode_id, generation, played.problem, played.policy_version, played.seed,
                Attempt(error=played.verdict.detail), ())
            self._folder.write(_name(generation, kept.episode_id), json.dumps(_plain(kept)).encode())

    def batch(self, generation: int, ids: Iterable[str]) -> list[Trajectory]:
        """See selfplay.pool.Store."""
        found: list[Trajectory] = []
        for episode_id in ids:
            with suppress(FileNotFoundError):
                found.append(self._read(generation, episode_id))
        return found

    def ids(self, cell: int) -> set[str]:
        """The episodes of a cell."""
        names = self._folder.names(str(cell))
        return {name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)}

    def read(self, cell: int) -> dict[str, Record]:
        """The records of a cell by their episodes. Raises BadInput for a file that is damaged."""
        return {episode_id: self._read(cell, episode_id) for episode_id in sorted(self.ids(cell))}

    def forget(self, cell: int) -> None:
        """Take a cell out."""
        for episode_id in self.ids(cell):
            self._folder.remove(_name(cell, episode_id))

    def _read(self, cell: int, episode_id: str) -> Record:
        name = _name(cell, episode_id)
        with self._folder.open(name) as file:
            content = file.read()
        try:
            return _from_plain(json.loads(content))
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{self._folder.path(name)} is damaged ({error}); without it, the same command thinks about "
                           "that problem again") from error


def _name(cell: int, episode_id: str) -> str:
    return f"{cell}/{episode_id}{_SUFFIX}"


def _plain(kept: Record) -> dict[str, Any]:
    return {
        "episode_id": kept.episode_id, "cell": kept.generation, "problem": [kept.problem.id, kept.problem.domain],
        "policy_version": kept.policy_version, "seed": kept.seed, "attempt": asdict(kept.attempt),
        "marks": [asdict(mark) for mark in kept.marks],
    }  # fmt: skip


def _from_plain(plain: dict[str, Any]) -> Record:
    raw = plain["attempt"]
    answers = [Answer(**{**answer, "thoughts": tuple(answer["thoughts"])}) for answer in raw["answers"]]
    attempt = Attempt(**{**raw, "answers": answers, "greedy_line": tuple(raw["greedy_line"]),
                         "prompt_tokens": raw["prompt_tokens"]})  # one of before it was counted cannot be priced
    identity, domain = plain["problem"]
    return record(plain["episode_id"], plain["cell"], Problem(identity, domain, "", {}), plain["policy_version"],
                  plain["seed"], attempt, [Mark(**mark) for mark in plain["marks"]])
