"""Questions with a mathematical answer, from files: GSM8K, MATH-500, AIME and all that look like them.

Cobbe et al. 2021 (arXiv:2110.14168) for GSM8K, Hendrycks et al. 2021 (arXiv:2103.03874) for MATH.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from verifiers import math_answer
from verifiers.answer_extraction import extract_answer, hedges
from verifiers.base import Problem, Verdict, unparsable, wrong
from verifiers.datasets.domain import DatasetDomain, question_id
from verifiers.datasets.rows import BadRow, Row, text_field
from verifiers.datasets.text_judge import JUDGES, TextJudge
from verifiers.math.tolerance import Tolerance
from verifiers.math.units import words_of
from verifiers.math.worked_out import worked_out

MAX_ANSWER_CHARS = 1_000_000


class QuestionAnswers(DatasetDomain):
    """A question in words, and an answer that is compared as mathematics.

    Args:
        name, path, prompt: see DatasetDomain.
        question, answer: names of the fields.
        marker: the reference is what follows the last of these in the answer's field ('####' in GSM8K); None: all.
        relative, digits, bare_numbers: how near an answer must come, see Tolerance; exact by default.
    """

    def __init__(
        self, name: str, path: str | None = None, question: str = "question", answer: str = "answer",
        marker: str | None = None, prompt: str = "conf/prompts/math.txt", relative: float = 0.0,
        digits: int | None = None, bare_numbers: bool = False,
    ) -> None:
        super().__init__(name, path, prompt)
        self._question, self._answer, self._marker = question, answer, marker
        self._tolerance = Tolerance(Fraction(str(relative)), digits, bare_numbers)

    def pose(self, row: Row) -> Problem:
        """See DatasetDomain.pose."""
        problem, reference = self.ask(text_field(row, self._question)), text_field(row, self._answer)
        if self._marker is not None:
            _, found, reference = reference.rpartition(self._marker)
            if not found or not reference.strip():
                raise BadRow(f"{row.name} has no answer after {self._marker!r} in its field {self._answer!r}")
        return Problem(problem.id, self.name, problem.prompt, problem.facts, reference.strip())

    def ask(self, text: str) -> Problem:
        """See DatasetDomain.ask."""
        return Problem(question_id(text), self.name, self.prompt.filled(question=text.strip()), {})

    def grade(self, problem: Problem, reference: str, answer: str) -> Verdict:
        """What the answer commits itself to last, or else all of it, against the reference. See math_answer."""
        if len(answer) > MAX_ANSWER_CHARS:
            return unparsable(f"an answer of {len(answer)} characters; at most {MAX_ANSWER_CHARS} are allowed")
        extraction = extract_answer(answer)
        if extraction.reason == "hedged" or (extraction.answer is None and hedges(answer)):
            return unparsable("the answer names several")
        said = answer if extraction.answer is None else extraction.answer
        policy = replace(self._tolerance, counted=words_of(problem.prompt))
        verdict = math_answer.check(said, reference, policy)
        if verdict.ok and not worked_out(said, reference):
            return wrong("right, but not worked out: where the reference is a number the answer must be one")
        return verdict

    def judge(self) -> TextJudge:
        return JUDGES["committed"]
