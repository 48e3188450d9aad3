"""Programs in Python, from files: HumanEval, MBPP and all that look like them. Hidden tests grade, in the sandbox.

Chen et al. 2021 (arXiv:2107.03374) for HumanEval, Austin et al. 2021 (arXiv:2108.07732) for MBPP.
"""

from __future__ import annotations

import ast
import doctest
import json
import re
from collections.abc import Sequence
from typing import Any

from verifiers import unit_tests
from verifiers.base import (
    BadProblem,
    Evidence,
    Problem,
    State,
    Status,
    Verdict,
    correct,
    unparsable,
    wrong,
)
from verifiers.datasets.domain import DatasetDomain, question_id
from verifiers.datasets.rows import BadRow, Row, text_field
from verifiers.datasets.text_judge import MAX_THOUGHT_CHARS, spoken
from verifiers.program_text import finished_program, whole_program
from verifiers.sandbox import SandboxRefused
from verifiers.sandboxes import shared_sandbox
from verifiers.unit_tests import AssertTest, Suite
from verifiers.warden.stop import Stop, in_thread

MAX_EXAMPLE_CHARS = 500
_QUOTES = re.compile(r"\"{3}|'{3}")
_EQUATION = re.compile(r"\s*(?:>>>\s*|[*-]\s*)?([A-Za-z_]\w*\s*\(.*\))\s*(?:==>?|=>|->|\u279e|\u2192)\s*(\S.*?)[.\s]*")
_HEAD = re.compile(r"^(?:async[ \t]+)?def[ \t]+(\w+)[ \t]*\(", re.MULTILINE)


class CodeProblems(DatasetDomain):
    """A function to be written, and tests that nobody sees who writes it.

    Where `tests` holds a text, that defines `check(candidate)` (HumanEval), and the question is code, the head of the
    function; where it holds a list, that is of assertions (MBPP), and the question is in words.

    Args:
        name, path, prompt: see DatasetDomain.
        question, tests: names of the fields.
        entry_point: the field that names the function, or None: it is the last one that the question or the
            solution defines and the tests call.
        solution: the field of a solution, read only for the name of the function; or None.
        setup: the field of code that assertions need besides (a text, or a list of lines), or None.
        public: how many of the first assertions are shown and may be used for a self-check. The examples in the
            docstring of a head are always used.
        allow_degraded: mechanisms of the sandbox that may be missing.
    """

    def __init__(
        self, name: str, path: str | None = None, question: str = "prompt", tests: str = "test",
        entry_point: str | None = "entry_point", solution: str | None = None, setup: str | None = None,
        public: int = 0, prompt: str = "conf/prompts/humaneval.txt", allow_degraded: Sequence[str] = (),
    ) -> None:
        super().__init__(name, path, prompt)
        self._question, self._tests, self._entry_point = question, tests, entry_point
        self._solution, self._setup, self._public = solution, setup, public
        self._allow_degraded = tuple(allow_degraded)

    def pose(self, row: Row) -> Problem:
        """See DatasetDomain.pose."""
        question, tests = text_field(row, self._question), row.fields.get(self._tests)
        if isinstance(tests, str) and tests.strip():
            asserts = [{"code": tests, "call": "check", "prelude": question}]
        elif isinstance(tests, list) and tests and all(isinstance(test, str) for test in tests):
            setup = self._setup_of(row)
            asserts = [{"code": test, "call": "", "prelude": setup} for test in tests]
        else:
            raise BadRow(f"{row.name} has no tests in its field {self._tests!r}")
        shown = asserts[: self._public] if isinstance(tests, list) else []
        problem = self._posed_as(question, self._named(row, question, asserts), shown)
        return Problem(problem.id, self.name, problem.prompt, problem.facts, json.dumps(asserts))

    def ask(self, text: str) -> Problem:
        """The head of a function. See DatasetDomain.ask."""
        names = _HEAD.findall(text)
        if not names:
            raise BadProblem(f"{self.name} reads the head of a function, such as 'def double(x):', with a docstring")
        return self._posed_as(text, names[-1], [])

    def _posed_as(self, question: str, entry_point: str, shown: list[dict[str, str]]) -> Problem:
        head = question if entry_point in _HEAD.findall(question) else ""
        public = shown + [{"code": code, "call": "", "prelude": head} for code in docstring_tests(head, entry_point)]
        prompt = self.prompt.filled(question=question.strip("\n"), entry_point=entry_point,
                                    tests="\n".join(test["code"] for test in shown))
        facts = {"head": head, "entry_point": entry_point, "public": public}
        return Problem(question_id(question), self.name, prompt, facts)

    def _named(self, row: Row, question: str, asserts: list[dict[str, str]]) -> str:
        if self._entry_point is not None:
            return text_field(row, self._entry_point)
        source = question if self._solution is None else text_field(row, self._solution)
        called = [name for name in _HEAD.findall(source) if re.search(rf"\b{name}\s*\(", asserts[0]["code"])]
        if not called:
            raise BadRow(f"{row.name}: its tests call no function that it defines")
        return str(called[-1])

    def _setup_of(self, row: Row) -> str:
        value: Any = None if self._setup is None else row.fields.get(self._setup)
        return "\n".join(map(str, value)) if isinstance(value, list) else str(value or "")

    def grade(self, problem: Problem, reference: str, answer: str) -> Verdict:
        """Run the hidden tests on the answer, a whole program or the rest of the head's function."""
        return _tested(problem, json.loads(reference), answer, Evidence.NONE, self._allow_degraded)

    def judge(self) -> CodeJudge:
        return CodeJudge(self._allow_degraded)


class CodeJudge:
    """Finds the program in the lines, and runs the public examples on it."""

    def __init__(self, allow_degraded: Sequence[str]) -> None:
        self._allow_degraded = tuple(allow_degraded)

    async def answer(self, state: State) -> str | None:
        """The whole program, once the function or the text has ended. See finished_program."""
        lines = spoken("\n".join(state.thoughts)).split("\n")
        facts = state.problem.facts
        return finished_program(lines, str(facts["head"]), str(facts["entry_point"]), state.ended)

    async def check_thought(self, state: State, thought: str) -> Verdict:
        """Not too long, and not the third of the same lines in a row, which is how models get stuck."""
        if len(thought) > MAX_THOUGHT_CHARS:
            return unparsable(f"a line of {len(thought)} characters; at most {MAX_THOUGHT_CHARS} are allowed")
        if state.thoughts[-2:] == (thought, thought):
            return wrong("the line repeats the two lines before")
        return correct(detail="well formed")

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        """The public examples; CORRECT is no proof. None where there are none."""
        public = problem.facts["public"]
        if not public:
            return None
        return await in_thread(
            lambda stop: _tested(problem, public, answer, Evidence.PUBLIC_TESTS, self._allow_degraded, stop)
        )


def _tested(
    problem: Problem, tests: Sequence[dict[str, str]], answer: str, evidence: Evidence, allow_degraded: Sequence[str],
    stop: Stop | None = None,
) -> Verdict:
    try:
        sandbox = shared_sandbox(allow_degraded)
    except SandboxRefused as error:
        return Verdict(Status.ERROR, detail=str(error))
    entry_point = str(problem.facts["entry_point"])
    program = whole_program(str(problem.facts["head"]), entry_point, answer)
    suite = Suite(tuple(AssertTest(**test) for test in tests), entry_point)
    return unit_tests.check(program, suite, sandbox, evidence=evidence, stop=stop)


def docstring_tests(head: str, entry_point: str) -> list[str]:
    """The examples of a docstring as assertions: `>>> f(2)` and a literal below it, `f(2) == 4`, `f(2) => 4`.

    Examples of other forms are none: what is not sure to be meant so would refute right programs.
    """
    call = re.compile(rf"{re.escape(entry_point)}\s*(\(.*\))", re.DOTALL)
    try:
        # The quotes that end a docstring are no part of what its last example gives.
        examples = doctest.DocTestParser().get_examples(_QUOTES.sub("\n\n", head))
    except ValueError:  # a docstring that only looks as if it had examples
        return []
    pairs = [(example.source.strip(), example.want.strip()) for example in examples]
    if not pairs:
        pairs = [(line[1], line[2]) for line in map(_EQUATION.fullmatch, head.splitlines()) if line is not None]
    return [f"assert ({source}) == ({want})" for source, want in pairs
            if (called := call.fullmatch(source)) and _is_literal(f"{called[1][:-1]},)") and _is_literal(want)]


def _is_literal(text: str) -> bool:
    """Is it a literal of Python? (The file's text, not a model's.)"""
    if len(text) > MAX_EXAMPLE_CHARS:
        return False
    try:
        ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return False
    return True
