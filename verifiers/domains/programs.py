"""Programs found from examples: `f(3)=7 f(5)=11 f(0)=1` -> `take 2*x: 6 10 0` -> `left 1 1 1` -> `f=2*x+1`.

The examples in the prompt are public: to run a program on them tests it, but proves nothing about other inputs, so
the judge's evidence is `public_tests`. Hidden examples grade; only the reference holds them. No function of a held-out
split is a training function in other words: splits go by what a program does, and by the examples as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from verifiers.base import (
    BadProblem,
    Evidence,
    Problem,
    State,
    Verdict,
    content_id,
    correct,
    derive_seed,
    split_of,
    wrong,
)
from verifiers.domains.program_board import FINAL, MAX_THOUGHT_CHARS, Board
from verifiers.domains.program_grading import Examples, grade, grade_here
from verifiers.domains.program_moves import random_move
from verifiers.domains.program_steps import Program, behaviour, examples_text, pick, sample, think
from verifiers.domains.splits import distinct, require_split
from verifiers.warden.stop import in_thread

MAX_EXAMPLES = 8
MAX_PROMPT_CHARS = 160
ALLOWED = f"allowed: 2 to {MAX_EXAMPLES} examples of one function of one or two whole numbers, such as f(3)=7 f(5)=11"
_LEAD = re.compile(
    r"^\s*(?:please\s+)?(?:(?:find|what\s+is|guess|write)\s+)?(?:(?:the\s+|a\s+)?(?:function|program)\s+)?"
    r"(?:[a-z](?:\([a-z, ]*\))?\s*)?(?:(?:with|such\s+that|if|where|from|for)\b)?[\s:]*(?=[a-z]\s*\(\s*-?[0-9])")
_EXAMPLE = re.compile(r"([a-z])\s*\(\s*(-?[0-9]{1,6})(?:\s*,\s*(-?[0-9]{1,6}))?\s*\)\s*={1,2}"
                      r"\s*(-?[0-9]{1,7})(?!\.?[0-9])(?:\s*[,;]\s*(?:and\s+)?|\s+(?:and\s+)?|[\s.?!]*$)")
_SHAPE = re.compile(r"[a-z]\s*\([^()]*\)\s*=")


class Programs:
    """One-expression functions of one or two whole numbers, from examples of what they give.

    Args:
        name: the domain's name.
        allow_degraded: mechanisms of the sandbox that may be missing (see verifiers.sandbox.Sandbox); it runs answers
            that are Python beyond the small language of verifiers.domains.program_expression, and starts when first
            needed.
    """

    def __init__(self, name: str = "programs", allow_degraded: Sequence[str] = ()) -> None:
        self.name = name
        self.allow_degraded = tuple(allow_degraded)

    def parse(self, text: str) -> Problem | None:
        """Read `f(3)=7 f(5)=11 f(0)=1`, `Find f with g(1,2)=3, g(2,2)=4`. See Domain.parse. No hidden examples."""
        if len(text) > 4 * MAX_PROMPT_CHARS:
            return None
        plain = _LEAD.sub("", text.lower().replace("\u2212", "-")).strip()
        if len(_SHAPE.findall(plain)) < 2 or not _SHAPE.match(plain):
            return None
        examples = _read_examples(plain)
        if len(examples) > MAX_EXAMPLES:
            raise BadProblem(f"{len(examples)} examples; {ALLOWED}")
        prompt = " ".join(f"f({','.join(map(str, row))})={value}" for row, value in examples)
        if len(prompt) > MAX_PROMPT_CHARS:
            raise BadProblem(f"{len(prompt)} characters of examples; at most {MAX_PROMPT_CHARS} are {ALLOWED}")
        return self._problem(example_id(examples), prompt, examples, "")

    def _problem(self, identity: str, prompt: str, examples: Examples, reference: str) -> Problem:
        facts = {"examples": [[list(row), value] for row, value in examples]}
        return Problem(identity, self.name, prompt, facts, reference)

    def problems(self, split: str, seed: int) -> Iterator[Problem]:
        """See Domain.problems."""
        require_split(split, self.name)
        return distinct(lambda rng: self._posed(rng, split)[0], split, derive_seed(seed, self.name, split))

    def _posed(self, rng: np.random.Generator, split: str) -> tuple[Problem, Program, Sequence[int]]:
        """A problem of a split, its program, and the rows of the grid that are its public examples."""
        while True:
            program = sample(rng)
            if split_of(content_id(f"program:{behaviour(program).hex()}")) != split:
                continue
            rows = pick(program, rng)
            if rows is None:
                continue
            examples = [(program.grid.rows[row], program.column[row]) for row in rows[0]]
            identity = example_id(examples)
            if split_of(identity) == split:
                prompt, hidden = examples_text(program, rows[0]), examples_text(program, rows[1])
                return self._problem(identity, prompt, examples, hidden), program, rows[0]

    def demonstrate(self, rng: np.random.Generator) -> tuple[Problem, Sequence[str]]:
        """See Domain.demonstrate. At most 8 thoughts of at most 44 characters."""
        while True:
            problem, program, public = self._posed(rng, "train")
            thoughts = think(program, public, rng)
            if thoughts is not None:
                return problem, thoughts

    def random_thought(self, state: State, rng: np.random.Generator) -> str | None:
        """A random part of a program with its values, what is left, or a program made of the parts so far."""
        if final_answer(state) is not None:
            return None
        board = Board(public_examples(state.problem), state.thoughts)
        for _ in range(20):
            thought = random_move(board, rng)
            if len(thought) <= MAX_THOUGHT_CHARS:
                return thought
        return f"{FINAL}x"

    def check(self, problem: Problem, answer: str) -> Verdict:
        """Run the program on the public and the hidden examples; all must fit, in type and value."""
        if problem.reference is None:
            raise ValueError("a sealed problem cannot be graded")
        public = public_examples(problem)
        hidden = _read_examples(problem.reference) if problem.reference else []
        evidence = Evidence.NONE if hidden else Evidence.PUBLIC_TESTS
        return grade([*public, *hidden], answer, evidence, self.allow_degraded)

    def judge(self) -> ProgramsJudge:
        return ProgramsJudge(self.allow_degraded)


class ProgramsJudge:
    """Legality of steps, and the public examples."""

    def __init__(self, allow_degraded: tuple[str, ...]) -> None:
        self._allow_degraded = allow_degraded

    async def answer(self, state: State) -> str | None:
        """The program that a line of thought ends in."""
        return final_answer(state)

    async def check_thought(self, state: State, thought: str) -> Verdict:
        """Are the values those of the part, and the differences those that are left? Never whether they help."""
        if final_answer(state) is not None:
            return wrong("the program is written already")
        fault = Board(public_examples(state.problem), state.thoughts).play(thought)
        return fault or correct(detail="legal")

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        """Run the program on the public examples; CORRECT has the evidence `public_tests`, which proves nothing."""
        examples = public_examples(problem)
        verdict = grade_here(examples, answer, Evidence.PUBLIC_TESTS)
        if verdict is not None:
            return verdict
        return await in_thread(
            lambda stop: grade(examples, answer, Evidence.PUBLIC_TESTS, self._allow_degraded, stop)
        )


def public_examples(problem: Problem) -> Examples:
    return [(tuple(row), value) for row, value in problem.facts["examples"]]


def final_answer(state: State) -> str | None:
    """The program of the last thought, if it is one."""
    last = state.thoughts[-1] if state.thoughts else ""
    return last.removeprefix(FINAL) if last.startswith(FINAL) and len(last) <= MAX_THOUGHT_CHARS else None


def example_id(examples: Examples) -> str:
    """The id of a problem, shared by those whose examples differ only in order, or in which input comes first."""
    text = str(sorted(examples))
    if len(examples[0][0]) > 1:
        text = min(text, str(sorted((row[::-1], value) for row, value in examples)))
    return content_id(f"programs:{text}")


def _read_examples(text: str) -> list[tuple[tuple[int, ...], int]]:
    """The examples of a text made of nothing else. Raises BadProblem."""
    examples: dict[tuple[int, ...], int] = {}
    letters, at = set(), 0
    while at < len(text):
        match = _EXAMPLE.match(text, at)
        if match is None:
            raise BadProblem(f"cannot read {text[at : at + 40]!a} as an example; {ALLOWED}")
        at = match.end()
        letters.add(match[1])
        row = (int(match[2]),) if match[3] is None else (int(match[2]), int(match[3]))
        if examples.setdefault(row, int(match[4])) != int(match[4]):
            raise BadProblem(f"two outputs for the input {','.join(map(str, row))}; {ALLOWED}")
    if len(letters) > 1 or len({len(row) for row in examples}) > 1 or len(examples) < 2:
        raise BadProblem(f"cannot pose {text[:60]!a}; {ALLOWED}")
    return list(examples.items())
