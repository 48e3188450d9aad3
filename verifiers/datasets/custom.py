"""Problems graded by a function of the user's own: `score(problem, answer) -> float`, in [0, 1].

The code is trusted, but it may hang, raise, or say what is no score: it runs in a process that can be killed, and
whatever is not a number in [0, 1] in time is a failure of the function and never a reward.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from verifiers.base import BadProblem, Problem, Status, Verdict, correct, unparsable, wrong
from verifiers.datasets.domain import DatasetDomain, question_id
from verifiers.datasets.rows import Row, beside, text_field
from verifiers.datasets.score_workers import Fate, Reply, ScoreWorkers
from verifiers.datasets.text_judge import JUDGES, TextJudge

MAX_ANSWER_CHARS = 1_000_000


class Custom(DatasetDomain):
    """Questions from a file or a person, and a function that scores answers.

    The function gets a row of the file as a dict ({question: text} for a question that a person typed) and the answer
    as a text.

    Args:
        name, path, prompt: see DatasetDomain.
        score: `FILE.py:FUNCTION`, or `package.module.FUNCTION` as in a `_target_`.
        question: the field that is put to the policy.
        timeout: seconds on the clock for one score.
        memory_mb: of address space, MiB; None: no limit.
        workers: processes that score at once.
        answers: how a line of thoughts tells its answer: 'committed' (`\\boxed{}`, `####`, "The answer is") or
            'tagged' (between <answer> and </answer>).
    """

    def __init__(
        self, name: str, score: str, path: str | None = None, question: str = "question", timeout: float = 5.0,
        memory_mb: int | None = None, workers: int = 2, answers: str = "committed",
        prompt: str = "conf/prompts/math.txt",
    ) -> None:
        super().__init__(name, path, prompt)
        if answers not in JUDGES:
            raise ValueError(f"answers={answers!r} cannot be; allowed: {', '.join(JUDGES)}")
        if not 0 < timeout <= 3600 or workers < 1 or (memory_mb is not None and memory_mb < 1):
            raise ValueError("timeout must be above 0 and at most 3600, workers and memory_mb at least 1")
        self._question, self._answers = question, answers
        self._workers = ScoreWorkers(_target(score), timeout, memory_mb, workers)

    def pose(self, row: Row) -> Problem:
        """See DatasetDomain.pose."""
        return self._posed_as(text_field(row, self._question), row.fields)

    def ask(self, text: str) -> Problem:
        """See DatasetDomain.ask."""
        return self._posed_as(text, {self._question: text})

    def _posed_as(self, question: str, fields: Mapping[str, Any]) -> Problem:
        prompt = self.prompt.filled(question=question.strip())
        return Problem(question_id(question), self.name, prompt, {}, json.dumps(fields, default=str))

    def grade(self, problem: Problem, reference: str, answer: str) -> Verdict:
        """The user's score; ERROR or TIMEOUT where there is none."""
        if len(answer) > MAX_ANSWER_CHARS:
            return unparsable(f"an answer of {len(answer)} characters; at most {MAX_ANSWER_CHARS} are allowed")
        return scored(self._workers.call(json.loads(reference), answer))

    def judge(self) -> TextJudge:
        return JUDGES[self._answers]

    def close(self) -> None:
        """End the idle processes; a later score starts new ones."""
        self._workers.close()


def scored(reply: Reply) -> Verdict:
    """The verdict that a scoring function's reply comes to."""
    if reply.fate is Fate.TIMEOUT:
        return Verdict(Status.TIMEOUT, detail=reply.detail)
    if reply.fate is not Fate.VALUE:
        return Verdict(Status.ERROR, detail=f"the score function failed: {reply.detail}")
    score = reply.value
    if not isinstance(score, bool | int | float) or not 0 <= score <= 1:
        return Verdict(Status.ERROR, detail=f"the score function returned {str(score)[:60]!a}, no number in [0, 1]")
    if score == 1:
        return correct()
    return Verdict(Status.WRONG, float(score), detail=f"scored {float(score):g}") if score else wrong("scored 0")


def _target(score: str) -> str:
    """The function's full address. Raises BadProblem where it can be seen that there is none."""
    file, colon, function = score.rpartition(":")
    if not colon:
        if "." not in score:
            raise BadProblem(f"score={score!r} cannot be; allowed: FILE.py:FUNCTION or package.module.FUNCTION")
        return score
    path = beside(file)
    if not path.is_file() or not function.isidentifier():
        raise BadProblem(f"there is no function {score!r}; allowed: FILE.py:FUNCTION or package.module.FUNCTION")
    return f"{path.resolve()}:{function}"
