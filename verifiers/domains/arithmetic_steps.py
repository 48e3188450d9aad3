"""Written arithmetic: problems, and human-like lines of thought that solve them.

A sum is a list of signed terms; a term is an integer or one product or quotient, whose sides are integers or sums in
parentheses. Every line rewrites one or two places of the sum, chosen at random among the ways people use. This is
the hot path of pretraining, so it works on plain lists and draws with rng.random(), numpy's cheapest call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

import numpy as np

from verifiers.domains.chance import chance, draw

Side = Union[int, "Sum"]
Operation = tuple[str, Side, Side]  # op (* or /), left, right
Term = tuple[int, int | Operation]  # sign, magnitude
Sum = list[Term]

MAX_THOUGHTS = 8
MAX_CHARS = 40


def digits(rng: np.random.Generator, count: int) -> int:
    """A number of exactly this many digits; not 1, and above 10 if it has two."""
    return draw(rng, 10 ** (count - 1) + 1, 10**count - 1)


def random_sum(rng: np.random.Generator, max_digits: int, max_terms: int, sums: float = 0.2) -> Sum:
    """A problem with a whole-number result: a product, a plain sum (their share is given), an exact quotient or a
    mixture, three, two and three in eight of the others."""
    kind, eighth = rng.random(), (1 - sums) / 8
    if kind < 3 * eighth:
        sides = digits(rng, draw(rng, 2, max(2, max_digits - 1))), _multiplier(rng, max_digits)
        return [(1, ("*", *(sides if chance(rng, 0.5) else sides[::-1])))]
    if kind < 3 * eighth + sums:
        terms: Sum = [(1, digits(rng, draw(rng, 2, max_digits)))]
        while len(terms) < max_terms and (len(terms) < 2 or chance(rng, 0.5)):
            terms.append((1 if chance(rng, 0.5) else -1, digits(rng, draw(rng, 2, max_digits))))
        return terms
    if kind < 5 * eighth + sums:
        divisor = _divisor(rng, max_digits)
        return [(1, ("/", divisor * draw(rng, 4, 10**max_digits // divisor - 1), divisor))]
    return _mixed(rng, max_digits)


def _multiplier(rng: np.random.Generator, max_digits: int) -> int:
    """The second factor: of one digit, or of two where three are allowed."""
    return draw(rng, 3, 9) if max_digits < 3 or chance(rng, 0.4) else digits(rng, 2)


def _divisor(rng: np.random.Generator, max_digits: int) -> int:
    return draw(rng, 11, 25) if max_digits > 2 and chance(rng, 0.2) else draw(rng, 3, 9)


def _mixed(rng: np.random.Generator, max_digits: int) -> Sum:
    a, b = digits(rng, 2), digits(rng, 2)
    m, n = _multiplier(rng, max_digits), draw(rng, 3, 9)
    sign = 1 if chance(rng, 0.5) else -1
    last: Term = (1 if chance(rng, 0.5) else -1, digits(rng, draw(rng, 2, min(3, max_digits))))
    kind = rng.random()
    if kind < 0.3:
        inner: Sum = [(1, max(a, b) + 1), (sign, min(a, b))]
        product: Term = (1, ("*", n, inner) if chance(rng, 0.6) else ("*", inner, n))
        return [product, last] if chance(rng, 0.6) else [product]
    divisor = _divisor(rng, max_digits)
    if kind < 0.5:
        part, total = draw(rng, 11, 99), divisor * draw(rng, 4, 25)
        inner = [(1, total - part), (1, part)] if part < total else [(1, total + part), (-1, part)]
        quotient: Term = (1, ("/", inner, divisor))
        return [quotient, last] if chance(rng, 0.3) else [quotient]
    if kind < 0.75:
        return [(1, ("*", a, m)), (sign, ("*", b, n))]
    return [(1, ("*", a, m)), (sign, ("/", divisor * draw(rng, 4, 40), divisor))]


def text_of(terms: Sum) -> str:
    """The sum as a policy reads it."""
    parts = []
    for sign, term in terms:
        if sign < 0:
            parts.append("-")
        elif parts:
            parts.append("+")
        if isinstance(term, int):
            parts.append(str(term))
        else:
            op, left, right = term
            parts.append(f"{_side(left)}{op}{_side(right)}")
    return "".join(parts)


def _side(side: Side) -> str:
    return str(side) if isinstance(side, int) else f"({text_of(side)})"


def work_out(problem: Sum, rng: np.random.Generator) -> Sequence[str]:
    """One random line of thoughts from the problem to its value."""
    while True:
        terms, lines = list(problem), ["=" + text_of(problem)]
        while len(terms) > 1 or not isinstance(terms[0][1], int):
            for _ in range(2 if chance(rng, 0.15) else 1):
                if len(terms) > 1 or not isinstance(terms[0][1], int):
                    _rewrite(terms, rng)
            line = "=" + text_of(terms)
            if line != lines[-1]:
                lines.append(line)
        if len(lines) <= MAX_THOUGHTS + 1 and max(map(len, lines)) <= MAX_CHARS:
            return lines[1:]


def _rewrite(terms: Sum, rng: np.random.Generator) -> None:
    """Change one place of the sum to something equal, in place."""
    operations = [i for i, term in enumerate(terms) if not isinstance(term[1], int)]
    if operations and (len(terms) - len(operations) < 2 or chance(rng, 0.8)):
        i = operations[draw(rng, 0, len(operations) - 1)]
        sign, operation = terms[i]
        assert not isinstance(operation, int)
        terms[i : i + 1] = [(sign * s, term) for s, term in _reduce(operation, rng)]
    else:
        _combine(terms, rng)


def _combine(terms: Sum, rng: np.random.Generator) -> None:
    """Add two of the integers, or first take the second of two long ones apart by places."""
    numbers = [(i, s, t) for i, (s, t) in enumerate(terms) if isinstance(t, int)]
    for _ in range(3):
        first = draw(rng, 0, len(numbers) - 2)
        second = first + 1 if chance(rng, 0.6) else draw(rng, first + 1, len(numbers) - 1)
        (i, sign_a, a), (j, sign_b, b) = numbers[first], numbers[second]
        if sign_a != sign_b or a % 10 ** len(str(b)):
            break  # else 7000+266, most likely just taken apart: look for another pair first
    if significant(a) > 1 and significant(b) > 1 and a + b > 99 and chance(rng, 0.35):
        head, tail = _split(b)
        terms[j : j + 1] = [(sign_b, head), (sign_b, tail)]
        return
    total = sign_a * a + sign_b * b
    terms[i] = (1, total) if total >= 0 else (-1, -total)
    del terms[j]


def _reduce(operation: Operation, rng: np.random.Generator) -> Sum:
    """What a product or quotient is equal to, one step further."""
    op, left, right = operation
    if isinstance(left, int):
        if isinstance(right, int):
            return _product(left, right, rng) if op == "*" else _quotient(left, right, rng)
        return [(sign, (op, left, side)) for sign, side in _opened(right, 1, rng)]
    divisor = right if op == "/" and isinstance(right, int) else 1
    return [(sign, (op, side, right)) for sign, side in _opened(left, divisor, rng)]


def _opened(inner: Sum, divisor: int, rng: np.random.Generator) -> Sequence[tuple[int, Side]]:
    """Parentheses one step further: worked on inside, or taken apart for the operation to be distributed."""
    numbers = [(sign, term) for sign, term in inner if isinstance(term, int) and term % divisor == 0]
    if len(numbers) == len(inner) and chance(rng, 0.3):
        return numbers
    simpler = list(inner)
    _rewrite(simpler, rng)
    sign, term = simpler[0]
    return [(sign, term)] if len(simpler) == 1 and isinstance(term, int) else [(1, simpler)]


def _product(a: int, b: int, rng: np.random.Generator) -> Sum:
    """A fact known by heart, or either factor taken apart: tens and ones, or rounded up."""
    few, many = sorted((significant(a), significant(b)))
    if few <= 1 and (many <= 1 or (many == 2 and chance(rng, 0.7))):
        return [(1, a * b)]
    split_left = significant(a) > 1 and (significant(b) < 2 or chance(rng, 0.5))
    factor = a if split_left else b
    head, tail = _split(factor, rng)
    sign = 1 if tail > 0 else -1
    if split_left:
        return [(1, ("*", head, b)), (sign, ("*", abs(tail), b))]
    return [(1, ("*", a, head)), (sign, ("*", a, abs(tail)))]


def _quotient(a: int, b: int, rng: np.random.Generator) -> Sum:
    """A quotient of one digit (and noughts) at once, or a multiple of the divisor peeled off."""
    value = a // b
    if significant(value) <= 1 or b == 1 or (b < 10 and value < 100 and chance(rng, 0.5)):
        return [(1, value)]
    head, tail = _split(value, rng)
    return [(1, ("/", head * b, b)), (1 if tail > 0 else -1, ("/", abs(tail) * b, b))]


def _split(n: int, rng: np.random.Generator | None = None) -> tuple[int, int]:
    """n as its leading digit's worth plus the rest; with a generator, now and then rounded up with a negative rest."""
    place: int = 10 ** (len(str(n)) - 1)
    head = n - n % place
    if rng is not None and (n - head) * 10 >= 8 * place and chance(rng, 0.25):
        head += place
    return head, n - head


def significant(n: int) -> int:
    """Digits without trailing noughts; 0 for 0."""
    return len(str(n).rstrip("0"))
