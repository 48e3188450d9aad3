"""Domains whose problems are rows of a data set, put to a general language model by a prompt in a file."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from verifiers.base import (
    BadProblem,
    Judge,
    Problem,
    State,
    Status,
    Verdict,
    content_id,
    derive_seed,
    split_of,
)
from verifiers.datasets.rows import BadRow, Row, beside, encodable, read_rows

SPLITS = ("train", "validation", "test", "all")
_PLACE = re.compile(r"\{(question|tests|entry_point)\}")


class Prompt:
    """A prompt in a file, with the places {question}, {tests} and {entry_point}; braces else are just text.

    Raises BadProblem where there is no such file, or no place for the question in it.
    """

    def __init__(self, path: str) -> None:
        try:
            self._template = beside(path).read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, ValueError) as error:
            raise BadProblem(f"cannot read the prompt {path!r}: {error}") from error
        if "{question}" not in self._template:
            raise BadProblem(f"the prompt {path!r} has no place for the {{question}}")

    def filled(self, **texts: str) -> str:
        return _PLACE.sub(lambda place: texts.get(place[1], place[0]), self._template)


class TextDomain(ABC):
    """What all of them share: any text is a question, and there are no thoughts to draw or to show.

    Args:
        name: the domain's name.
        prompt: the file of the prompt, seen from here or from the project's folder.
    """

    def __init__(self, name: str, prompt: str) -> None:
        self.name = name
        self.prompt = Prompt(prompt)

    @abstractmethod
    def ask(self, text: str) -> Problem:
        """The problem of a person's text, which has no answer in any file. Raises BadProblem."""

    @abstractmethod
    def problems(self, split: str, seed: int) -> Iterator[Problem]: ...

    @abstractmethod
    def grade(self, problem: Problem, reference: str, answer: str) -> Verdict:
        """The verdict on an answer to a problem that has no fault."""

    @abstractmethod
    def judge(self) -> Judge: ...

    def parse(self, text: str) -> Problem | None:
        """Any text is a question. See Domain.parse."""
        if not encodable(text):
            raise BadProblem(f"{self.name} takes whole characters, no lone surrogates")
        return self.ask(text) if text.strip() else None

    def random_thought(self, state: State, rng: np.random.Generator) -> str | None:
        """None: there are no rules of writing to draw from."""
        return None

    def demonstrate(self, rng: np.random.Generator) -> tuple[Problem, Sequence[str]]:
        """Raises BadProblem: nobody has written down how to think about them."""
        raise BadProblem(f"{self.name} has no demonstrations; it is for models that can read and write already")

    def check(self, problem: Problem, answer: str) -> Verdict:
        """See Domain.check; a row with a fault is ERROR, whatever the answer. What fails is named by its row."""
        if problem.fault:
            return Verdict(Status.ERROR, detail=problem.fault)
        if problem.reference is None:
            raise ValueError("a problem without a reference cannot be graded")
        verdict = self.grade(problem, problem.reference, answer)
        if verdict.status in (Status.ERROR, Status.TIMEOUT) and "row" in problem.facts:
            return replace(verdict, detail=f"{problem.facts['row']}: {verdict.detail}")
        return verdict


class DatasetDomain(TextDomain):
    """Problems that are rows of a data set, split by their content.

    Args:
        name, prompt: see TextDomain.
        path: a file or `datasets:NAME[:CONFIG]:SPLIT`, see read_rows; None: it can only be asked.
    """

    def __init__(self, name: str, path: str | None, prompt: str) -> None:
        super().__init__(name, prompt)
        self.path = path

    @abstractmethod
    def pose(self, row: Row) -> Problem:
        """The problem of a row, with its reference. Raises BadRow."""

    def problems(self, split: str, seed: int) -> Iterator[Problem]:
        """See Domain.problems. `all` is the whole file in its order; the others are shuffled by the seed."""
        if split not in SPLITS:
            raise BadProblem(f"unknown split {split[:40]!r} of {self.name}; there are {', '.join(SPLITS)}")
        if self.path is None:
            raise BadProblem(f"{self.name} has no problems until domain.path names a file of them")
        posed: dict[str, Problem] = {}
        for problem in map(self._posed, read_rows(self.path)):
            posed.setdefault(problem.id, problem)
        if split == "all":
            return iter(posed.values())
        chosen = [problem for problem in posed.values() if split_of(problem.id) == split]
        order = np.random.default_rng(derive_seed(seed, self.name, split)).permutation(len(chosen))
        return (chosen[index] for index in order)

    def _posed(self, row: Row) -> Problem:
        try:
            problem = self.pose(row)
            return replace(problem, facts={**problem.facts, "row": row.name})
        except BadRow as fault:
            return Problem(content_id(f"fault:{fault}"), self.name, row.name, {}, fault=str(fault))


def question_id(question: str) -> str:
    """The id of a question in words: the same in every data set, whatever its case and spacing."""
    return content_id("question:" + " ".join(question.casefold().split()))
