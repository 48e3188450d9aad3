"""Antiderivatives found in steps: `int 3x^2+2x dx` -> `x^3+int(2x)` -> `x^3+x^2`.

An answer is tested by differentiating it exactly, which is not integrating: so the judge has a self-check. Thoughts
are expressions with the integrals still to be done as int(...), a substitution with its integral in u
(`u=2x+1: int(u^3)/2`), or the two parts of an integration by parts (`u=x, v=exp(2x)/2`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np

from verifiers.algebra.elementary import Element, Reading, added, canonical, differentiated, vanishes
from verifiers.algebra.expression import BadExpression, render
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
from verifiers.domains.integral_moves import random_move
from verifiers.domains.integral_steps import Integral, generate
from verifiers.domains.integral_text import MAX_CHARS, read, read_answer, renamed, split_problem
from verifiers.domains.splits import distinct, require_split

MAX_THOUGHT_CHARS = 60
ALLOWED = ("allowed: one function of one variable made of whole numbers, + - * /, whole powers, exp, sin, cos and ln "
           "of ax+b, such as int 3x^2+cos(2x) dx")
_SUBSTITUTION = re.compile(r"u=([^:,]{1,40}): (.+)")
_PARTS = re.compile(r"u=([^:,]{1,40}), v=([^:,]{1,40})")


class Integrals:
    """Indefinite integrals of elementary functions.

    Prompts always use x; answers speak of the letter the person used (facts["variable"]).

    Args:
        name: the domain's name.
        max_operands: leaves of an expression, in problems a person types and in thoughts.
    """

    def __init__(self, name: str = "integrals", max_operands: int = 16) -> None:
        if max_operands < 2:
            raise ValueError("integrals needs max_operands >= 2")
        self.name = name
        self.max_operands = max_operands

    def parse(self, text: str) -> Problem | None:
        """Read `int 3x^2+2x dx`, `integrate cos(2t)`, `\\int \\frac{1}{x}\\,dx`. See Domain.parse."""
        if len(text) > 4 * MAX_CHARS:
            return None
        found = split_problem(text)
        if found is None:
            return None
        body, variable = found
        try:
            if variable in "ecid":
                raise BadExpression(f"{variable} cannot be the variable")
            node = read(renamed(body, variable, "x"), max_operands=self.max_operands)
            node = read(render(node, implicit=True))  # once more: 0.5x is (1/2)x is 1/2x
            integrand = render(node, implicit=True)
            reading = Reading()
            element = reading.element(read(integrand, max_operands=self.max_operands))
            if not reading.defined:
                raise BadExpression("it is defined nowhere")
        except BadExpression as error:
            raise BadProblem(f"cannot pose {body[:60]!a}: {error}; {ALLOWED}") from None
        return self._problem(integrand, element, variable, None)

    def _problem(self, integrand: str, element: Element, variable: str, reference: str | None) -> Problem:
        facts = {"integrand": integrand, "variable": variable}
        identity = content_id(f"integrals:{canonical(element)}")
        return Problem(identity, self.name, f"int {integrand} dx", facts, reference)

    def problems(self, split: str, seed: int) -> Iterator[Problem]:
        """See Domain.problems."""
        require_split(split, self.name)
        return distinct(lambda rng: self._posed(generate(rng)), split, derive_seed(seed, self.name, split))

    def _posed(self, made: Integral) -> Problem:
        element: Element = {}
        for top, bottom, body in made.parts:
            element = added(element, _element(body), top if bottom == 1 else Fraction(top, bottom))
        return self._problem(made.prompt[4:-3], element, "x", made.thoughts[-1])

    def split(self, problem: Problem) -> str:
        """The split of any problem of this domain, by its content."""
        return split_of(problem.id)

    def demonstrate(self, rng: np.random.Generator) -> tuple[Problem, Sequence[str]]:
        """See Domain.demonstrate. At most 8 thoughts of at most 44 characters."""
        while True:
            made = generate(rng)
            problem = self._posed(made)
            if split_of(problem.id) == "train":
                return problem, made.thoughts

    def random_thought(self, state: State, rng: np.random.Generator) -> str | None:
        """A random move of someone who knows the shapes of the rules but not the factors they bring."""
        if final_answer(state, self.max_operands) is not None:
            return None
        last = state.thoughts[-1] if state.thoughts else None
        integrand = str(state.problem.facts["integrand"])
        for _ in range(20):
            thought = random_move(integrand, last, rng)
            if _fault(state, thought, self.max_operands) is None:
                return thought
        return f"x^{len(state.thoughts) % 9 + 2}" if last is None or last[:2] != "x^" else f"{last[:40]}+x"

    def check(self, problem: Problem, answer: str) -> Verdict:
        """Exact differentiation; needs no reference."""
        return verify(problem, answer, self.max_operands)

    def judge(self) -> IntegralsJudge:
        return IntegralsJudge(self.max_operands)


class IntegralsJudge:
    """Form of thoughts, and proof of answers by differentiation."""

    def __init__(self, max_operands: int) -> None:
        self._max_operands = max_operands

    async def answer(self, state: State) -> str | None:
        """The antiderivative a line of thought ends in, in the variable of the person who asked."""
        return final_answer(state, self._max_operands)

    async def check_thought(self, state: State, thought: str) -> Verdict:
        """A line of one of the three shapes within the caps, not the line before; its truth is not looked at."""
        if final_answer(state, self._max_operands) is not None:
            return wrong("the integral is done already")
        return _fault(state, thought, self._max_operands) or correct(detail="well formed")

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        """Exact differentiation; CORRECT means that the derivative is the integrand: proved."""
        return verify(problem, answer, self._max_operands)


@lru_cache(maxsize=2**15)
def _element(body: str) -> Element:
    """Normal form of the body of a generated term; bodies recur, and reading is the slow part. Not to be changed."""
    return Reading().element(read(body or "1"))


def verify(problem: Problem, answer: str, max_operands: int) -> Verdict:
    """Is the derivative of the answer the integrand, as a function, wherever all of their logarithms are defined?"""
    reading = Reading()
    integrand = reading.element(read(str(problem.facts["integrand"]), max_operands=max_operands))
    try:
        claimed = reading.element(read_answer(answer, str(problem.facts["variable"])))
        fits = vanishes(added(differentiated(claimed), integrand, -1))
    except BadExpression as error:
        return unparsable(str(error))
    if not fits:
        return wrong(f"the derivative of {answer.strip()[:60]!a} is not the integrand")
    if not reading.defined:
        return wrong("it is defined nowhere that the integrand is")
    return correct(Evidence.PROVED, "differentiated exactly")


def _fault(state: State, thought: str, max_operands: int) -> Verdict | None:
    """What is wrong with the form of a step, if anything."""
    if len(thought) > MAX_THOUGHT_CHARS:
        return unparsable(f"a step of {len(thought)} characters; at most {MAX_THOUGHT_CHARS} are allowed")
    before = state.thoughts[-1] if state.thoughts else f"int({state.problem.facts['integrand']})"
    if thought == before:
        return wrong("the step repeats the line before")
    try:
        check_form(thought, max_operands)
    except BadExpression as error:
        return unparsable(str(error))
    return None


def check_form(thought: str, max_operands: int) -> None:
    """Has the line the shape of a step? Raises BadExpression."""
    substitution, parts = _SUBSTITUTION.fullmatch(thought), _PARTS.fullmatch(thought)
    if substitution is not None:
        read(substitution[1], max_operands=max_operands)
        read(substitution[2], "u", holes=True, max_operands=max_operands)
    elif parts is not None:
        read(parts[1], max_operands=max_operands)
        read(parts[2], max_operands=max_operands)
    else:
        read(thought, holes=True, max_operands=max_operands)


def final_answer(state: State, max_operands: int) -> str | None:
    """The last thought if no integral is left in it, in the variable of the problem; else None."""
    last = state.thoughts[-1] if state.thoughts else "int("
    if "int(" in last or "=" in last or len(last) > MAX_THOUGHT_CHARS:
        return None
    try:
        read(last, max_operands=max_operands)
        return renamed(last, "x", str(state.problem.facts["variable"]))
    except BadExpression:
        return None
