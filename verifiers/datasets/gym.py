"""Tasks of the package reasoning-gym, scored 1.0 or nothing: here, or by the package in a killable process."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from verifiers import math_answer
from verifiers.base import (
    BadProblem,
    Problem,
    Status,
    Verdict,
    correct,
    derive_seed,
    split_of,
    unparsable,
    wrong,
)
from verifiers.datasets.domain import TextDomain, question_id
from verifiers.datasets.gym_canonical import canonical
from verifiers.datasets.gym_finished import finished
from verifiers.datasets.gym_tasks import ACCEPTED, EXPRESSIONS, LISTED, NUMBERS, REFUSED, SCORED, TEXT
from verifiers.datasets.score_workers import Fate, ScoreWorkers
from verifiers.datasets.text_judge import JUDGES, TextJudge
from verifiers.domains.countdown import verify
from verifiers.math.tolerance import Tolerance

SPLITS = ("train", "validation", "test")
MAX_ANSWER_CHARS = 20_000
ITEMS = 20  # that a seed makes
ITEMS_SECONDS = 300.0
BARREN_SEEDS = 25  # in a row without a new problem of the split, after which there are no more


class ReasoningGym(TextDomain):
    """Problems that a task generates. Needs the extra `gym`.

    Generators and scorers run in worker processes with a fixed hash seed, so that they repeat themselves.

    Args:
        name, prompt: see TextDomain.
        task: its name in the package; see verifiers/datasets/gym_tasks.py for those that are refused, and why.
        options: of the task's generator.
        timeout: seconds on the clock for one score.
        memory_mb: of address space of a worker, MiB.
        workers: processes that score at once.

    Raises BadProblem for a task that is refused.
    """

    def __init__(
        self, name: str, task: str, options: Mapping[str, Any] | None = None, timeout: float = 10.0,
        memory_mb: int = 4096, workers: int = 1, prompt: str = "conf/prompts/reasoning_gym.txt",
    ) -> None:
        super().__init__(name, prompt)
        if task in REFUSED:
            raise BadProblem(f"the task {task} of reasoning_gym is refused: {REFUSED[task]}")
        if task not in ACCEPTED:
            raise BadProblem(f"there is no task {task[:40]!r} of reasoning_gym whose scorer has been looked at; "
                             f"allowed: {', '.join(sorted(ACCEPTED))}")
        if not 0 < timeout <= 3600 or workers < 1 or memory_mb < 1:
            raise ValueError("timeout must be above 0 and at most 3600, workers and memory_mb at least 1")
        self.task, self._options = task, dict(options or {})
        self._workers = ScoreWorkers("verifiers.datasets.gym_scorer.serve", timeout, memory_mb, workers,
                                     {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})

    def ask(self, text: str) -> Problem:
        """See TextDomain.ask."""
        return Problem(question_id(text), self.name, self.prompt.filled(question=text.strip()), {})

    def problems(self, split: str, seed: int) -> Iterator[Problem]:
        """See Domain.problems. A split ends when the task has nothing new to ask."""
        if split not in SPLITS:
            raise BadProblem(f"unknown split {split[:40]!r} of {self.name}; there are {', '.join(SPLITS)}")
        return self._problems(split, seed)

    def _problems(self, split: str, seed: int) -> Iterator[Problem]:
        seen: set[str] = set()
        barren = number = 0
        while barren < BARREN_SEEDS:
            before = len(seen)
            for problem in self._made(derive_seed(seed, self.name, self.task, split, number) >> 32):
                if problem.id not in seen and split_of(problem.id) == split:
                    seen.add(problem.id)
                    yield problem
            barren = barren + 1 if len(seen) == before else 0
            number += 1

    def _made(self, seed: int) -> Iterator[Problem]:
        """The problems that the task makes of a seed in 0 .. 2^31-1. Raises BadProblem where it cannot."""
        request = {"task": self.task, "options": self._options, "seed": seed, "size": ITEMS}
        reply = self._workers.call(request, seconds=ITEMS_SECONDS)
        if reply.fate is not Fate.VALUE:
            raise BadProblem(f"the task {self.task} of reasoning_gym made no problems: {reply.detail}; "
                             "it needs `pip install reasoning-gym==0.1.25`, the extra `gym`")
        for index, item in enumerate(reply.value):
            if item["answer"] is not None and not item["answer"].strip():
                continue  # no answer would be the answer
            reference = json.dumps({**request, "index": index, **item})
            asked = self.ask(item["question"])
            facts = {"row": f"{self.task}, seed {seed}, item {index}"}
            yield Problem(asked.id, self.name, asked.prompt, facts, reference)

    def grade(self, problem: Problem, reference: str, answer: str) -> Verdict:
        """By our own check, or by the task's scorer giving exactly 1.0: see gym_tasks. No partial credit."""
        if len(answer) > MAX_ANSWER_CHARS:
            return unparsable(f"an answer of {len(answer)} characters; at most {MAX_ANSWER_CHARS} are allowed")
        if not answer.strip():
            return unparsable("an empty answer")
        item = json.loads(reference)
        if self.task in TEXT or self.task in LISTED:
            right = item["answers"] or [item["answer"]]
            return correct() if _trimmed(answer) in map(_trimmed, right) else wrong("another text")
        if self.task in EXPRESSIONS:
            facts = {"numbers": sorted(item["numbers"]), "target": str(item["target"])}
            return verify(replace(problem, facts=facts), answer.strip())
        if self.task in NUMBERS:
            if not finished(self.task, answer):
                return unparsable("not a value that is worked out, in the form that the task asks for")
            return math_answer.check(answer, item["answer"], Tolerance(digits=NUMBERS[self.task]))
        if re.fullmatch(SCORED[self.task], answer.strip()) is None:
            return unparsable("not of the form that the task asks for")
        if not canonical(self.task, item["question"], answer.strip()):
            return unparsable("something is said twice, or is not of the question")
        reply = self._workers.call({**item, "answer": answer.strip()})
        if reply.fate is Fate.VALUE:
            return correct() if reply.value == 1.0 else wrong("not a full score")
        return Verdict(Status.TIMEOUT if reply.fate is Fate.TIMEOUT else Status.ERROR, detail=reply.detail)

    def judge(self) -> TextJudge:
        return JUDGES["tagged"]

    def close(self) -> None:
        """End the idle processes; a later request starts new ones."""
        self._workers.close()


def _trimmed(text: str) -> str:
    """Without blanks at the ends of lines and around."""
    return "\n".join(line.rstrip() for line in text.split("\n")).strip()
