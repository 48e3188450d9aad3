"""Arithmetic solved in written steps: `17*24` -> `=17*20+17*4` -> `=340+68` -> `=408`.

Evaluating the expression would be solving it, so nothing here evaluates on a searcher's behalf: the judge has no
self-check and looks at form only. Confidence has to come from a value head and from lines of thought that agree.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from verifiers.algebra.expression import BadExpression, Binary, Negate, Node, Number, evaluate, parse_expression, render
from verifiers.base import (
    BadProblem,
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
from verifiers.domains.arithmetic_steps import random_sum, text_of, work_out
from verifiers.domains.chance import draw
from verifiers.domains.splits import distinct, require_split

MAX_THOUGHT_CHARS = 60
MAX_RESULT_CHARS = 40
_ANSWER = re.compile(r"(-?[0-9]{1,40})(?:/([0-9]{1,40})|\.([0-9]{1,20}))?")
_LEAD = re.compile(r"^(?:what\s+is|what's|how\s+much\s+is|compute|calculate|evaluate|simplify|work\s+out)\b[\s:]*")
_TAIL = re.compile(r"(?:\s*=)?[\s?.]*$")
_SIGNS = str.maketrans({"\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-",
                        "\t": " ", "\n": " ", "\u00a0": " "})


class Arithmetic:
    """+ - * / over whole numbers and parentheses.

    Args:
        name: the domain's name.
        max_digits: of a generated operand, 2 to 6; of a generated factor one less, but at least 2.
        max_terms: of a generated plain sum, at least 2.
        max_operands: of a parsed problem and of a thought.
        sums: share of plain sums among the generated problems, in [0, 1].
    """

    def __init__(
        self, name: str = "arithmetic", max_digits: int = 4, max_terms: int = 4, max_operands: int = 12,
        sums: float = 0.2,
    ) -> None:
        if not 2 <= max_digits <= 6 or max_terms < 2 or max_operands < max_terms or not 0 <= sums <= 1:
            raise ValueError("arithmetic needs max_digits in 2..6, 2 <= max_terms <= max_operands and sums in 0..1")
        self.name = name
        self.max_digits = max_digits
        self.max_terms = max_terms
        self.max_operands = max_operands
        self.sums = sums

    def parse(self, text: str) -> Problem | None:
        """Read `17*24`, `What is 17 x 24?`, `(3+4)*12 =`. See Domain.parse."""
        if len(text) > 400:
            return None
        plain = _LEAD.sub("", text.translate(_SIGNS).lower().strip())
        plain = re.sub(r"(?<=[0-9)])(?<!\b0(?=x))\s*x\s*(?=[0-9(])", "*", _TAIL.sub("", plain))
        if not re.fullmatch(r"[0-9 .+\-*/()]+", plain) or not re.search(r"[0-9)] *[-+*/]", plain):
            return None
        if re.search(r"[0-9] +[0-9]", plain):
            return None  # a list of numbers
        try:
            node = parse_expression(plain, max_operands=self.max_operands)
            value = evaluate(node)
            if len(str(value)) > MAX_RESULT_CHARS:
                raise BadExpression(f"the result has more than {MAX_RESULT_CHARS} digits")
            return self._problem(render(node), node, value)
        except BadExpression as error:
            raise BadProblem(f"cannot pose {plain[:40]!r}: {error} (allowed: whole numbers, + - * / and parentheses)"
                             ) from None

    def _problem(self, prompt: str, node: Node, value: Fraction) -> Problem:
        return Problem(content_id(f"arithmetic:{canonical(node)}"), self.name, prompt, {"expression": prompt},
                       str(value))

    def problems(self, split: str, seed: int) -> Iterator[Problem]:
        """See Domain.problems."""
        require_split(split, self.name)
        return distinct(self._posed, split, derive_seed(seed, self.name, split))

    def _posed(self, rng: np.random.Generator) -> Problem:
        prompt = text_of(random_sum(rng, self.max_digits, self.max_terms, self.sums))
        node = parse_expression(prompt)
        return self._problem(prompt, node, evaluate(node))

    def split(self, problem: Problem) -> str:
        """The split of any problem of this domain, by its content."""
        return split_of(problem.id)

    def demonstrate(self, rng: np.random.Generator) -> tuple[Problem, Sequence[str]]:
        """See Domain.demonstrate. At most 8 thoughts of at most 40 characters."""
        while True:
            terms = random_sum(rng, self.max_digits, self.max_terms, self.sums)
            prompt = text_of(terms)
            node = parse_expression(prompt)
            identity = content_id(f"arithmetic:{canonical(node)}")
            if split_of(identity) == "train":
                thoughts = work_out(terms, rng)
                return Problem(identity, self.name, prompt, {"expression": prompt}, thoughts[-1][1:]), thoughts

    def random_thought(self, state: State, rng: np.random.Generator) -> str | None:
        """Replace one innermost operation by any number of plausible length: the form of calculating, without it."""
        if state.thoughts and is_final(state.thoughts[-1][1:]):
            return None
        line = state.thoughts[-1][1:] if state.thoughts else state.problem.prompt
        try:
            node = parse_expression(line, max_operands=self.max_operands)
        except BadExpression:
            return None
        count = sum(_innermost(part) for part in _walk(node))
        if not count:
            return None
        return "=" + render(_guess_one(node, [draw(rng, 0, count - 1)], rng))

    def check(self, problem: Problem, answer: str) -> Verdict:
        """Exact comparison with the reference. An answer is a whole number, a fraction in lowest terms or a decimal."""
        value = read_number(answer)
        if value is None:
            return unparsable(f"{answer[:40]!a} is not a plain number (a fraction must be in lowest terms)")
        if problem.reference is None:
            raise ValueError("a sealed problem cannot be graded")
        if value == Fraction(problem.reference):
            return correct()
        return wrong(f"{answer.strip()[:40]} is not the value of {problem.prompt[:60]}")

    def judge(self) -> ArithmeticJudge:
        return ArithmeticJudge(self.max_operands)


class ArithmeticJudge:
    """Looks at the form of thoughts only; never computes."""

    def __init__(self, max_operands: int) -> None:
        self._max_operands = max_operands

    async def answer(self, state: State) -> str | None:
        """The number a line of thought ends in."""
        last = state.thoughts[-1] if state.thoughts else ""
        return last[1:] if last.startswith("=") and is_final(last[1:]) else None

    def canonical(self, answer: str) -> str:
        """See base.Canonical: `3.50`, `3.5` and `7/2` are one number."""
        value = read_number(answer)
        return answer if value is None else str(value)

    async def check_thought(self, state: State, thought: str) -> Verdict:
        """`=` and an expression within the caps that is not the line before; whether it is equal is not looked at."""
        if state.thoughts and is_final(state.thoughts[-1][1:]):
            return wrong("the calculation is finished already")
        if not thought.startswith("="):
            return unparsable("a step starts with =")
        body = thought[1:]
        if is_final(body):
            return correct(detail="well formed")
        try:
            parse_expression(body, max_chars=MAX_THOUGHT_CHARS, max_operands=self._max_operands)
        except BadExpression as error:
            return unparsable(str(error))
        if body == (state.thoughts[-1][1:] if state.thoughts else state.problem.prompt):
            return wrong("the step repeats the line before")
        return correct(detail="well formed")

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        """Always None: to test the answer would be to work the problem out."""
        return None


def is_final(text: str) -> bool:
    """Is this a finished result: `408`, `-3`, `7/2`, `3.5`? An unreduced fraction is a division still to be done."""
    return len(text) <= MAX_THOUGHT_CHARS and " " not in text and read_number(text) is not None


def read_number(text: str) -> Fraction | None:
    """The value of a whole number, decimal or fraction in lowest terms; None for anything else."""
    match = _ANSWER.fullmatch(text.strip(" ")) if len(text) <= 200 else None
    if match is None:
        return None
    whole, denominator, decimals = match.groups()
    if denominator is None:
        return Fraction(whole if decimals is None else f"{whole}.{decimals}")
    if int(denominator) < 2 or math.gcd(int(whole), int(denominator)) != 1:
        return None
    return Fraction(int(whole), int(denominator))


def canonical(node: Node) -> str:
    """A text shared by expressions that differ only in the order of terms and factors or in needless parentheses."""
    terms = sorted(("+" if sign > 0 else "-") + text for sign, text in _terms(node, 1))
    return "".join(terms)


def _terms(node: Node, sign: int) -> list[tuple[int, str]]:
    if isinstance(node, Negate):
        return _terms(node.operand, -sign)
    if isinstance(node, Binary) and node.op in "+-":
        return _terms(node.left, sign) + _terms(node.right, sign if node.op == "+" else -sign)
    if isinstance(node, Binary):
        sign, factors = _factors(node, sign, "*")
        return [(sign, "".join(sorted(factors)))]
    return [(sign, render(node))]


def _factors(node: Node, sign: int, op: str) -> tuple[int, list[str]]:
    """The sign and the factors of a product, each with the operation that brings it in."""
    if isinstance(node, Negate):
        return _factors(node.operand, -sign, op)
    if isinstance(node, Binary) and node.op in "*/":
        sign, left = _factors(node.left, sign, op)
        sign, right = _factors(node.right, sign, op if node.op == "*" else "/" if op == "*" else "*")
        return sign, left + right
    return sign, [op + (render(node) if isinstance(node, Number) else f"({canonical(node)})")]


def _walk(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, Negate):
        yield from _walk(node.operand)
    elif isinstance(node, Binary):
        yield from _walk(node.left)
        yield from _walk(node.right)


def _is_number(node: Node) -> bool:
    return isinstance(node, Number) or (isinstance(node, Negate) and isinstance(node.operand, Number))


def _innermost(node: Node) -> bool:
    return isinstance(node, Binary) and _is_number(node.left) and _is_number(node.right)


def _length(node: Node) -> int:
    return len(render(node).lstrip("-"))


def _guess_one(node: Node, skip: list[int], rng: np.random.Generator) -> Node:
    """The tree with its skip[0]-th innermost operation (in walking order) replaced by a random number."""
    if isinstance(node, Negate):
        return Negate(_guess_one(node.operand, skip, rng))
    if not isinstance(node, Binary):
        return node
    if not _innermost(node):
        return Binary(node.op, _guess_one(node.left, skip, rng), _guess_one(node.right, skip, rng))
    skip[0] -= 1
    if skip[0] != -1:
        return node
    left, right = _length(node.left), _length(node.right)
    if node.op == "*":
        count = left + right - draw(rng, 0, 1)
    elif node.op == "/":
        count = max(1, left - right + draw(rng, 0, 1))
    else:
        count = max(left, right)
    count = min(count, 12)
    return Number(draw(rng, 10 ** (count - 1) if count > 1 else 0, 10**count - 1))
