"""Random moves on integrals, for the control policy: the rules' shapes, with no idea which factor is right."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from verifiers.domains.chance import chance, draw
from verifiers.domains.equation_steps import nonzero
from verifiers.domains.integral_steps import lowest, signed, times

_SUBSTITUTED = re.compile(r"u=([^:]+): (.+)")
_PARTED = re.compile(r"u=([^:]+), v=(.+)")
_FUNCTION = re.compile(r"(sin|cos|exp)\(([^()]*)\)")
_POWER = re.compile(r"([a-z]|\([^()]*\))\^([0-9]+)")
_INVERSE = re.compile(r"/(?:[0-9]*)([a-z]|\([^()]*[a-z][^()]*\))(?:\^([0-9]+))?")
_LINEAR = re.compile(r"\(([0-9]*x[+-]?[0-9]*)\)")
_FACTOR = re.compile(r"-?([0-9]+)(?![0-9]*\))")


def random_move(integrand: str, line: str | None, rng: np.random.Generator) -> str:
    """A next line after `line` (None: at the start), of the right shape; it may be the same line."""
    if line is None:
        line = f"int({integrand})"
    parted = _PARTED.fullmatch(line)
    if parted is not None:
        u, v = (f"({part})" if len(_terms(part)) > 1 else part for part in parted.groups())
        hole = f"int({times(draw(rng, 1, 4), 1, v.lstrip('-'))})"
        return f"{u}*{v if v[0] != '-' else f'({v})'}{signed(nonzero(rng, 1), hole, False)}"
    substituted = _SUBSTITUTED.fullmatch(line)
    if substituted is not None:
        inner, rest = substituted.groups()
        holes = list(_holes(rest))
        if holes:
            return f"u={inner}: {_filled(rest, *holes[0], rng)}"
        return re.sub(r"(?<=[(|])u(?=[)|])", inner, rest).replace("u", f"({inner})")
    holes = list(_holes(line))
    if not holes:
        return _guess(integrand, rng)
    start, end = holes[draw(rng, 0, len(holes) - 1)]
    inner_text = line[start + 4 : end - 1]
    if line == f"int({inner_text})" and chance(rng, 0.25):
        return _start(inner_text, rng)
    return _filled(line, start, end, rng)


def _start(integrand: str, rng: np.random.Generator) -> str:
    """Parts for a product, a substitution for a function of ax+b, else every term on its own."""
    u, star, v = integrand.partition("*")
    if star:
        return f"u={u.strip('()')}, v={_guess(v, rng)}"
    linear = _LINEAR.search(integrand)
    if linear is not None and len(_terms(integrand)) == 1:
        there = integrand.replace(linear[1], "u").replace("(u)^", "u^").replace("/(u)", "/u")
        hole = f"int({there})"
        return f"u={linear[1]}: {hole if chance(rng, 0.5) else f'{hole}/{draw(rng, 2, 5)}'}"
    return "+".join(f"int({term.lstrip('+')})" for term in _terms(integrand))


def _filled(line: str, start: int, end: int, rng: np.random.Generator) -> str:
    """The line with a hole taken apart, or with a guess in its place."""
    terms = _terms(line[start + 4 : end - 1])
    before, after = line[:start], line[end:]
    if len(terms) == 1:
        guess = _guess(terms[0], rng)
    else:
        i = draw(rng, 0, len(terms) - 1)
        rest = "".join([*terms[:i], *terms[i + 1:]]).lstrip("+")
        done = f"int({terms[i].lstrip('+')})" if chance(rng, 0.3) else _guess(terms[i], rng)
        guess = f"int({rest}){'' if done[0] == '-' else '+'}{done}"
    if (before and before[-1] != "+" and (before[-1] != "-" or guess[0] == "-" or len(_terms(guess)) > 1)) or (
            after.startswith("/") and len(_terms(guess)) > 1):
        guess = f"({guess})"
    elif before.endswith("+") and guess[0] == "-":
        before = before[:-1]
    return before + guess + after


def _guess(term: str, rng: np.random.Generator) -> str:
    """An antiderivative of the right kind with a factor at random."""
    factor = _FACTOR.match(term)
    size = draw(rng, 1, 6) if chance(rng, 0.3) else int(factor[1][:3]) if factor is not None else 1
    top, bottom = lowest(size or 1, draw(rng, 1, 5) if chance(rng, 0.7) else 1)
    top = -top if term.startswith("-") != chance(rng, 0.15) else top
    if "*" in term:
        head, _, tail = term.lstrip("+-").rpartition("*")
        guess = _guess(tail, rng)
        product = f"{head}*({guess})" if guess[0] == "-" else f"{head}*{guess}"
        return product + signed(top, times(top, bottom, tail), False)
    return signed(top, times(top, bottom, _solved(term, rng)), True)


def _solved(term: str, rng: np.random.Generator) -> str:
    """The body of a rule's result for a term of its shape."""
    function, power, inverse = _FUNCTION.search(term), _POWER.search(term), _INVERSE.search(term)
    if function is not None:
        name = "exp" if function[1] == "exp" else "sin" if chance(rng, 0.5) else "cos"
        return f"{name}({function[2]})"
    if inverse is not None:
        inner, n = inverse[1], int((inverse[2] or "1")[:1])
        if n == 1:
            return f"ln|{inner.strip('()')}|"
        return f"1/{inner}" if n == 2 else f"1/{inner}^{n - 1}"
    if power is not None:
        return f"{power[1]}^{min(int(power[2][:2]) + (1 if chance(rng, 0.9) else -1), 9)}"
    if "u" in term or "x" in term:
        return ("u" if "u" in term else "x") + "^2"
    return "x"


def _holes(line: str) -> Iterator[tuple[int, int]]:
    """(start, end) of every int(...), balanced."""
    at = line.find("int(")
    while at >= 0:
        depth, end = 1, at + 4
        while end < len(line) and depth:
            depth += (line[end] == "(") - (line[end] == ")")
            end += 1
        if not depth:
            yield at, end
        at = line.find("int(", end)


def _terms(text: str) -> list[str]:
    """The terms of a sum, each with its sign if it has one."""
    terms, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character in "+-" and not depth and i > start and text[i - 1] not in "^*/":
            terms.append(text[start:i])
            start = i
    return [*terms, text[start:]]
