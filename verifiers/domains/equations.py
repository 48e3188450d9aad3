"""Equations solved in steps: linear and quadratic ones in x, and two linear ones in x and y.

`2x+3=7` -> `2x=4` -> `x=2`;  `x^2-5x+6=0` -> `(x-2)(x-3)=0` -> `x=2, x=3`;  `2x+y=7; x-y=2` -> ... -> `x=3; y=1`.
An answer is tested by putting it into the equations, which is not solving them: so the judge has a self-check.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from verifiers.algebra.expression import BadExpression, Name, Node, leaves, parse_expression, render
from verifiers.algebra.polynomial import Polynomial, added, degree, polynomial, primitive
from verifiers.algebra.roots import BadAnswer, read_answer, solution_text, substitute
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
    unparsable,
    wrong,
)
from verifiers.domains.equation_moves import random_move
from verifiers.domains.equation_steps import generate
from verifiers.domains.splits import distinct, require_split

MAX_THOUGHT_CHARS = 60
ALLOWED = "allowed: linear or quadratic in one unknown, such as 2x+3=7, or two linear ones, such as 2x+y=7; x-y=2"
_LEAD = re.compile(r"^(?:please\b|solve\s+for\s+[a-z]\b(?:\s*(?:and|,)\s*[a-z]\b)?|solve\b|find\s+[a-z]\b(?!\s*=)"
                   r"|what\s+is\s+[a-z]\b(?!\s*=)|(?:if|in|where)\b|the\s+(?:linear\s+|quadratic\s+)?"
                   r"(?:equations?|system)\b|[\s:])+")
_JOINT = re.compile(r"\s*(?:;|,|\n|\band\b)\s*")
_FOREIGN = re.compile(r"[^a-z0-9 +\-*/^().=]|[a-z]{3}|[a-z] +[a-z]{2}|==")
_SIGNS = str.maketrans({"\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-",
                        "\u00b2": "^2", "\u00b3": "^3", "\t": " ", "\u00a0": " "})
Sides = tuple[Node, Node]


class Equations:
    """Linear and quadratic equations in one unknown, and 2x2 linear systems.

    Prompts always use x, or x and y; answers speak of the letters the person used (facts["unknowns"]).

    Args:
        name: the domain's name.
        max_chars: of a parsed equation or system.
        max_operands: leaves of one side of an equation, in problems and in thoughts.
    """

    def __init__(self, name: str = "equations", max_chars: int = 120, max_operands: int = 12) -> None:
        if max_chars < 1 or max_operands < 2:
            raise ValueError("equations needs max_chars >= 1 and max_operands >= 2")
        self.name = name
        self.max_chars = max_chars
        self.max_operands = max_operands

    def parse(self, text: str) -> Problem | None:
        """Read `Solve 2x + 3 = 7`, `x^2 = 5x - 6`, `2a+b=7 and a-b=2`. See Domain.parse."""
        if len(text) > 4 * self.max_chars or "=" not in text:
            return None
        plain = _LEAD.sub("", text.translate(_SIGNS).lower().strip().replace("**", "^")).rstrip(" .?!;,\n")
        parts = [part for part in _JOINT.split(plain) if part]
        letters = sorted(set(re.findall("[a-z]", "".join(parts))))
        if not letters or any(_FOREIGN.search(part) for part in parts) or not any("=" in part for part in parts):
            return None
        if len(plain) > self.max_chars:
            raise BadProblem(f"{len(plain)} characters of equations; at most {self.max_chars} are {ALLOWED}")
        if len(parts) > 2 or len(letters) > 2 or any(part.count("=") != 1 for part in parts):
            raise BadProblem(f"cannot pose {plain[:60]!r}; {ALLOWED}")
        if len(letters) != len(parts):
            raise BadProblem(f"{len(parts)} equation(s) with {len(letters)} unknown(s); {ALLOWED}")
        renamed = [part.translate(str.maketrans("".join(letters), "xy"[: len(letters)])) for part in parts]
        try:
            equations = [read_equation(part, self.max_operands) for part in renamed]
            problem = self._problem("; ".join(map(equation_text, equations)), equations, "".join(letters), solve=True)
            _check_writable(problem)
            return problem
        except BadExpression as error:
            raise BadProblem(f"cannot pose {plain[:60]!r}: {error}; {ALLOWED}") from None

    def _problem(self, prompt: str, equations: Sequence[Sides], unknowns: str, solve: bool) -> Problem:
        sides = [(polynomial(left), polynomial(right)) for left, right in equations]
        facts = {"equations": prompt.split("; "), "unknowns": unknowns}
        reference = solution_text([added(left, right, -1) for left, right in sides], unknowns) if solve else None
        return Problem(content_id(f"equations:{canonical(sides)}"), self.name, prompt, facts, reference)

    def problems(self, split: str, seed: int) -> Iterator[Problem]:
        """See Domain.problems."""
        require_split(split, self.name)
        return distinct(lambda rng: self._posed(rng)[0], split, derive_seed(seed, self.name, split))

    def _posed(self, rng: np.random.Generator) -> tuple[Problem, Sequence[str]]:
        prompt, thoughts = generate(rng)
        parts = prompt.split("; ")
        equations = [read_equation(part, self.max_operands) for part in parts]
        problem = self._problem(prompt, equations, "xy"[: len(parts)], solve=False)
        return replace(problem, reference=thoughts[-1]), thoughts

    def split(self, problem: Problem) -> str:
        """The split of any problem of this domain, by its content."""
        return split_of(problem.id)

    def demonstrate(self, rng: np.random.Generator) -> tuple[Problem, Sequence[str]]:
        """See Domain.demonstrate. At most 8 thoughts of at most 40 characters."""
        while True:
            problem, thoughts = self._posed(rng)
            if split_of(problem.id) == "train":
                return problem, thoughts

    def random_thought(self, state: State, rng: np.random.Generator) -> str | None:
        """A random move of someone who knows the moves but not where to go, guesses of the solution among them."""
        if final_answer(state) is not None:
            return None
        line = state.thoughts[-1] if state.thoughts else state.problem.prompt
        return random_move(line, len(state.problem.facts["equations"]), self.max_operands, rng)

    def check(self, problem: Problem, answer: str) -> Verdict:
        """Exact substitution of every claimed root; needs no reference."""
        return verify(problem, answer, self.max_operands)

    def judge(self) -> EquationsJudge:
        return EquationsJudge(self.max_operands)


class EquationsJudge:
    """Form of thoughts, and proof of answers by substitution."""

    def __init__(self, max_operands: int) -> None:
        self._max_operands = max_operands

    async def answer(self, state: State) -> str | None:
        """The solution a line of thought ends in, in the letters of the person who asked."""
        return final_answer(state)

    async def check_thought(self, state: State, thought: str) -> Verdict:
        """A line of the right shape within the caps, not the line before; whether it follows is not looked at."""
        if final_answer(state) is not None:
            return wrong("the equation is solved already")
        if len(thought) > MAX_THOUGHT_CHARS:
            return unparsable(f"a step of {len(thought)} characters; at most {MAX_THOUGHT_CHARS} are allowed")
        try:
            check_form(thought, len(state.problem.facts["equations"]), self._max_operands)
        except (BadExpression, BadAnswer) as error:
            return unparsable(str(error))
        if thought == (state.thoughts[-1] if state.thoughts else state.problem.prompt) and (
            state.thoughts or final_answer(state.then(thought)) is None
        ):
            return wrong("the step repeats the line before")
        return correct(detail="well formed")

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        """Exact substitution; CORRECT means that every root is named and every named root fits: proved."""
        if "sqrt" in answer:  # needs sympy, which is slow to load: nobody else shall wait for it
            return await asyncio.to_thread(verify, problem, answer, self._max_operands)
        return verify(problem, answer, self._max_operands)


def verify(problem: Problem, answer: str, max_operands: int) -> Verdict:
    """Put every claimed root into the equations, exactly, and count the roots."""
    unknowns = str(problem.facts["unknowns"])
    try:
        claimed = read_answer(answer, unknowns)
    except BadAnswer as error:
        return unparsable(str(error))
    equations = [read_equation(text, max_operands) for text in problem.facts["equations"]]
    fault = substitute([added(polynomial(left), polynomial(right), -1) for left, right in equations], claimed, unknowns)
    return correct(Evidence.PROVED, "substituted exactly") if fault is None else wrong(fault)


def _check_writable(problem: Problem) -> None:
    """Raises BadExpression if the solution is none that an answer may give: the problem could never be solved."""
    assert problem.reference is not None
    try:
        read_answer(problem.reference, problem.facts["unknowns"])
    except BadAnswer as error:
        raise BadExpression(f"its solution cannot be written ({error})") from None
    if len(problem.reference) > MAX_THOUGHT_CHARS:
        raise BadExpression(f"its solution takes more than {MAX_THOUGHT_CHARS} characters")


def read_equation(text: str, max_operands: int) -> Sides:
    """The two sides of an equation in x and y. Raises BadExpression."""
    left, sign, right = text.partition("=")
    if not sign or "=" in right:
        raise BadExpression("an equation has exactly one =")
    return _side(left, max_operands), _side(right, max_operands)


def _side(text: str, max_operands: int) -> Node:
    return parse_expression(text, names=frozenset("xy"), max_digits=9, max_depth=6, max_operands=max_operands,
                            max_power=4, implicit=True, decimals=True)


def equation_text(equation: Sides) -> str:
    return f"{render(equation[0], implicit=True)}={render(equation[1], implicit=True)}"


def check_form(thought: str, count: int, max_operands: int) -> None:
    """Has the line the shape of a step of a problem of `count` equations? Raises BadExpression or BadAnswer."""
    if count == 2:
        parts = thought.split("; ")
        if len(parts) != 2:
            raise BadExpression("a step of a system is two equations joined by '; '")
        for part in parts:
            read_equation(part, max_operands)
        return
    if thought.startswith("D="):
        if any(isinstance(leaf, Name) for leaf in leaves(_side(thought[2:], max_operands))):
            raise BadExpression("a discriminant is a number")
    elif ", " in thought or "sqrt" in thought:
        read_answer(thought, "x", finished=False)
    else:
        names = {leaf.name for side in read_equation(thought, max_operands) for leaf in leaves(side)
                 if isinstance(leaf, Name)}
        if names != {"x"}:
            raise BadExpression("a step is an equation in x")


def final_answer(state: State) -> str | None:
    """The last thought if it names a solution, in the letters of the problem; else None."""
    if not state.thoughts:
        return None
    unknowns = str(state.problem.facts["unknowns"])
    last, letters = state.thoughts[-1], "xy"[: len(unknowns)]
    try:
        read_answer(last, letters)
    except BadAnswer:
        return None
    return last.translate(str.maketrans(letters, unknowns))


def canonical(sides: Sequence[tuple[Polynomial, Polynomial]]) -> str:
    """A text shared by equations that differ only in order, in scale, or in which of two unknowns is called x.

    Quadratics and systems are brought to one side first. A linear equation keeps its two (collected) sides: brought
    to one side and scaled, all that have the same root would be one problem.
    """
    if len(sides) == 2:
        rows = [added(left, right, -1) for left, right in sides]
        orders = []
        for x, y in (((1, 0), (0, 1)), ((0, 1), (1, 0))):
            orders.append(sorted(primitive([row.get(x, 0), row.get(y, 0), row.get((0, 0), 0)]) for row in rows))
        return repr(min(orders))
    left, right = sides[0]
    if max(degree(left), degree(right)) > 1:
        row = added(left, right, -1)
        return repr(primitive([row.get((power, 0), 0) for power in range(degree(row), -1, -1)]))
    pair = [left.get((1, 0), 0), left.get((0, 0), 0)], [right.get((1, 0), 0), right.get((0, 0), 0)]
    return repr(max(primitive(pair[0] + pair[1]), primitive(pair[1] + pair[0])))
