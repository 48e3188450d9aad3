"""Integrals with small numbers, and human-like lines of thought that solve them.

An integrand is a sum of terms, each a fraction times a body such as x^2, cos(3x+1) or 1/(2x-3), whose antiderivative
is a rule. Sums are done term by term, in any order; a linear inner function by substitution or at once; x*exp(2x)
and the like by parts. Strings and plain integers only: this is the hot path of pretraining.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from verifiers.domains.chance import chance, draw
from verifiers.domains.equation_steps import joined, nonzero

MAX_THOUGHTS = 8
MAX_CHARS = 44


class Rule(NamedTuple):
    """The integral of `body` is top/bottom times `solved`; `{}` stands for the inner function in both."""

    body: str
    solved: str
    top: int
    bottom: int


class Term(NamedTuple):
    """top/bottom times a rule's body, at an inner function of slope `slope` (x: 1)."""

    top: int
    bottom: int
    rule: Rule
    inner: str = "x"
    slope: int = 1

    @property
    def body(self) -> str:
        return filled(self.rule.body, self.inner)


class Integral(NamedTuple):
    """A generated problem: the terms of its integrand as (top, bottom, body), its prompt and its lines."""

    parts: Sequence[tuple[int, int, str]]
    prompt: str
    thoughts: Sequence[str]


WAVES = (Rule("sin({})", "cos({})", -1, 1), Rule("cos({})", "sin({})", 1, 1))
GROWTH = Rule("exp({})", "exp({})", 1, 1)
INVERSE = Rule("1/{}", "ln|{}|", 1, 1)
CONSTANT = Rule("", "{}", 1, 1)


def power_rule(n: int) -> Rule:
    """Of u^n, n not -1."""
    if n < 0:
        return Rule(f"1/{{}}^{-n}", "1/{}" if n == -2 else f"1/{{}}^{-n - 1}", 1, n + 1)
    return Rule("{}" if n == 1 else f"{{}}^{n}", f"{{}}^{n + 1}", 1, n + 1)


def filled(pattern: str, inner: str) -> str:
    """A pattern with its inner function, in parentheses where it is a sum without any."""
    if len(inner) == 1 or "({})" in pattern or "|{}|" in pattern:
        return pattern.format(inner)
    return pattern.replace("{}", f"({inner})")


def times(top: int, bottom: int, body: str) -> str:
    """top/bottom times a body, without a sign: `3x^2/4`, `2/(3x)`, `5`."""
    top = abs(top)
    if body.startswith("1/"):
        return f"{top}/{body[2:]}" if bottom == 1 else f"{top}/({bottom}{body[2:]})"
    head = f"{top}{body}" if top != 1 or not body else body
    return head if bottom == 1 else f"{head}/{bottom}"


def signed(top: int, text: str, first: bool) -> str:
    return f"-{text}" if top < 0 else text if first else f"+{text}"


def lowest(top: int, bottom: int) -> tuple[int, int]:
    common = math.gcd(top, bottom)
    return (-top // common, -bottom // common) if bottom < 0 else (top // common, bottom // common)


def antiderivative(term: Term, inner: str | None = None) -> tuple[int, int, str]:
    """(top, bottom, body) of the integral of a term, written at another inner function if one is given."""
    top, bottom = lowest(term.top * term.rule.top, term.bottom * term.rule.bottom * term.slope)
    return top, bottom, filled(term.rule.solved, inner or term.inner)


def linear(rng: np.random.Generator, shifted: float) -> tuple[str, int]:
    """An inner function ax+b with a slope of 2..5 (or 1 if it is shifted), shifted with that probability."""
    b = nonzero(rng, 5) if chance(rng, shifted) else 0
    a = draw(rng, 1 if b else 2, 4 if chance(rng, 0.8) else 5)
    return joined((a, "x"), (b, "")), a


def generate(rng: np.random.Generator) -> Integral:
    """A random integral, and one random line of thoughts that solves it."""
    kind = rng.random()
    maker: Callable[[np.random.Generator], Integral] = (
        sum_of_terms if kind < 0.55 else by_substitution if kind < 0.78 else by_parts)
    while True:
        found = maker(rng)
        lines = list(dict.fromkeys(found.thoughts))
        if len(lines) <= MAX_THOUGHTS and max(len(line) for line in (found.prompt, *lines)) <= MAX_CHARS:
            return found._replace(thoughts=lines)


def _posed(terms: Sequence[Term], thoughts: Sequence[str]) -> Integral:
    return Integral([(t.top, t.bottom, t.body) for t in terms], f"int {_sum(terms)} dx", thoughts)


def _sum(terms: Sequence[Term]) -> str:
    return "".join(signed(t.top, times(t.top, t.bottom, t.body), i == 0) for i, t in enumerate(terms))


def _coefficient(rng: np.random.Generator, divisor: int) -> tuple[int, int]:
    """A coefficient whose quotient by the divisor is mostly whole."""
    kind = rng.random()
    if kind < 0.6:
        return divisor * nonzero(rng, 4 if divisor < 3 else 2), 1
    if kind < 0.9:
        return nonzero(rng, 6), 1
    return lowest(nonzero(rng, 5), draw(rng, 2, 4))


def random_term(rng: np.random.Generator) -> Term:
    """One term of a sum: mostly powers of x, now and then a wave, an exponential or an inverse."""
    kind = rng.random()
    if kind < 0.62:
        n = draw(rng, 0, 3 if chance(rng, 0.75) else 5)
        return Term(*_coefficient(rng, n + 1), power_rule(n) if n else CONSTANT)
    if kind < 0.7:
        return Term(nonzero(rng, 6), 1, INVERSE if chance(rng, 0.7) else power_rule(-draw(rng, 2, 3)))
    inner, slope = linear(rng, 0.1) if chance(rng, 0.7) else ("x", 1)
    rule = GROWTH if kind < 0.8 else WAVES[draw(rng, 0, 1)]
    return Term(*_coefficient(rng, slope), rule, inner, slope)


def sum_of_terms(rng: np.random.Generator) -> Integral:
    """One to four terms; each is taken out of the integral, its factor perhaps first, and integrated."""
    count = 1 + (rng.random() < 0.85) + (rng.random() < 0.55) + (rng.random() < 0.15)
    terms: list[Term] = []
    while len(terms) < count:
        term = random_term(rng)
        if all(term.body != other.body for other in terms):
            terms.append(term)
    stages = [0] * count  # 0: in a joint integral, 1: in one of its own, 2: its factor in front of that, 3: done
    lines = []
    if count > 1 and chance(rng, 0.3):
        stages = [1] * count
        lines.append(_line(terms, stages))
    while min(stages) < 3:
        for _ in range(2 if chance(rng, 0.12) else 1):
            left = [i for i, stage in enumerate(stages) if stage < 3]
            if left:
                i = left[0 if chance(rng, 0.8) else draw(rng, 0, len(left) - 1)]
                plain = terms[i].bottom == abs(terms[i].top) == 1 or terms[i].rule is CONSTANT
                stages[i] = 3 if stages[i] == 2 or plain or chance(rng, 0.65) else 2
        lines.append(_line(terms, stages))
    return _posed(terms, lines)


def _line(terms: Sequence[Term], stages: Sequence[int]) -> str:
    """The whole expression: what is done, and what is left as integrals."""
    text, joint = "", False
    for i, (term, stage) in enumerate(zip(terms, stages, strict=True)):
        if stage == 0:
            piece = signed(term.top, times(term.top, term.bottom, term.body), not joint)
            if not joint:
                text += "int(" if not text else "+int("
            text, joint = text + piece, True
            if i + 1 == len(terms) or stages[i + 1]:
                text, joint = text + ")", False
        elif stage == 3:
            top, bottom, body = antiderivative(term)
            text += signed(top, times(top, bottom, body), not text)
        else:
            inside = times(1, 1, term.body) if stage == 2 else times(term.top, term.bottom, term.body)
            hole = f"int({inside})"
            text += signed(term.top, times(term.top, term.bottom, hole) if stage == 2 else hole, not text)
    return text


def by_substitution(rng: np.random.Generator) -> Integral:
    """One function of ax+b: u=ax+b, the integral in u, and back."""
    inner, slope = linear(rng, 0.75)
    kind = rng.random()
    if kind < 0.5:
        inner, slope = linear(rng, 1.0)
        rule = power_rule(draw(rng, 2, 5)) if kind < 0.3 else INVERSE if kind < 0.42 else power_rule(-draw(rng, 2, 3))
    else:
        rule = GROWTH if kind < 0.7 else WAVES[draw(rng, 0, 1)]
    scale = slope if chance(rng, 0.4) else slope * abs(rule.bottom) if chance(rng, 0.3) else 1
    term = Term(scale * nonzero(rng, 3 if chance(rng, 0.7) else 6), 1, rule, inner, slope)
    lines = []
    if abs(term.top) > 1 and chance(rng, 0.3):
        lines.append(_line([term], [2]))
    top, bottom = lowest(term.top, slope)
    if chance(rng, 0.85):
        hole = f"int({filled(rule.body, 'u')})"
        lines.append(f"u={inner}: {signed(top, times(top, bottom, hole), True)}")
    if chance(rng, 0.85):
        top, bottom, body = antiderivative(term, "u")
        lines.append(f"u={inner}: {signed(top, times(top, bottom, body), True)}")
    return _posed([term], [*lines, _line([term], [3])])


def by_parts(rng: np.random.Generator) -> Integral:
    """(ax+b) times exp, sin or cos of kx, or x^n ln(x): u and v, what is left, and that integrated."""
    if chance(rng, 0.2):
        return _logarithm(rng)
    inner, slope = linear(rng, 0.0) if chance(rng, 0.6) else ("x", 1)
    b = nonzero(rng, 5) if chance(rng, 0.35) else 0
    a = draw(rng, 1, 3) if b else nonzero(rng, 4) if chance(rng, 0.6) else 1
    rule = GROWTH if chance(rng, 0.45) else WAVES[draw(rng, 0, 1)]
    outer = filled(rule.body, inner)
    u = joined((a, "x"), (b, ""))
    sign, factor = (1, f"({u})") if b else (a, times(a, 1, "x"))
    top, bottom, v = antiderivative(Term(1, 1, rule, inner, slope))
    done = signed(sign * top, times(1, bottom, f"{factor}*{v}"), True)
    lines = [f"u={u}, v={signed(top, times(top, bottom, v), True)}"] if chance(rng, 0.85) else []
    left = lowest(-a * top, bottom)
    if chance(rng, 0.6):
        lines.append(done + signed(left[0], f"int({times(*left, v)})", False))
    if len(lines) < 2 or chance(rng, 0.3):
        lines.append(done + signed(left[0], times(*left, f"int({v})"), False))
    last = lowest(-a * top * _again(rule), bottom * slope)
    lines.append(done + signed(last[0], times(*last, outer), False))
    parts = [(a, 1, f"x*{outer}"), *([(b, 1, outer)] if b else [])]
    return Integral(parts, f"int {signed(sign, f'{factor}*{outer}', True)} dx", lines)


def _again(rule: Rule) -> int:
    """The sign of integrating a rule's result once more, which leads back to its body."""
    return -rule.top if rule in WAVES else 1


def _logarithm(rng: np.random.Generator) -> Integral:
    n, c = draw(rng, 0, 3), nonzero(rng, 4) if chance(rng, 0.5) else 1
    body = "ln(x)" if n == 0 else f"{filled(power_rule(n).body, 'x')}*ln(x)"
    top, bottom = lowest(c, n + 1)
    raised = filled(power_rule(n).solved, "x") if n else "x"
    v = signed(top, times(top, bottom, raised), True)
    done = signed(top, f"{times(top, 1, raised)}*ln(x)" + ("" if bottom == 1 else f"/{bottom}"), True)
    lines = [f"u=ln(x), v={v}"] if chance(rng, 0.85) else []
    if chance(rng, 0.85):
        left = times(top, bottom, "" if n == 0 else filled(power_rule(n).body, "x"))
        lines.append(done + signed(-top, f"int({left})", False))
    last_top, last_bottom = lowest(-top, bottom * (n + 1))
    lines.append(done + signed(last_top, times(last_top, last_bottom, raised), False))
    return Integral([(c, 1, body)], f"int {signed(c, times(c, 1, body), True)} dx", lines)
