"""Arithmetic expressions read from untrusted text: a small recursive-descent parser, never eval.

Length and characters are checked before anything else, and digits, operands and nesting while reading, so that any
text, however hostile, is either a small tree or a BadExpression within milliseconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

_TOKEN = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<name>sqrt|sin|cos|exp|ln|log|abs|int|[A-Za-z])"
                    r"|(?P<op>\*\*|//|[-+*/^()])|(?P<space> +)")
_MAX_BITS = 4096  # of a numerator or denominator while evaluating: no power tower grows further
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 4}


class BadExpression(ValueError):
    """A text that is not an expression, or an expression without a value; one clear line."""


@dataclass(frozen=True, slots=True)
class Number:
    """A literal, never negative; a Fraction only where decimals were allowed."""

    value: int | Fraction


@dataclass(frozen=True, slots=True)
class Name:
    """A variable."""

    name: str


@dataclass(frozen=True, slots=True)
class Sqrt:
    """The square root of a whole number."""

    radicand: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function of one argument."""

    name: str
    argument: Node


@dataclass(frozen=True, slots=True)
class Negate:
    """Unary minus."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """left op right, with op one of + - * / ^; the right side of ^ is a Number, or anything beside functions."""

    op: str
    left: Node
    right: Node


Node = Number | Name | Sqrt | Call | Negate | Binary


def parse_expression(
    text: str,
    *,
    names: frozenset[str] = frozenset(),
    max_chars: int = 200,
    max_digits: int = 12,
    max_depth: int = 16,
    max_operands: int = 64,
    max_power: int = 0,
    implicit: bool = False,
    decimals: bool = False,
    sqrt: bool = False,
    functions: frozenset[str] = frozenset(),
) -> Node:
    """Read an expression of ASCII decimal integers, + - * /, parentheses and unary minus.

    Args:
        text: untrusted.
        names: one-letter variables that may occur.
        max_chars, max_digits, max_depth, max_operands: caps on the text, each number, the nesting of parentheses
            and signs, and the number of leaves.
        max_power: the largest exponent of `^`, a literal; 0 forbids powers. Beside functions an exponent is any
            expression (e^(2x), x^-1); only that of a function's own name (sin^2(x)) stays a literal.
        implicit: allow products without a sign (2x, 3(x+1)), as tight as `*`; the right factor is no number.
        decimals: allow 1.5, read exactly.
        sqrt: allow sqrt(n) of a whole number n.
        functions: names among sin, cos, exp, ln, log, abs and int that may be applied: sin(x), sin 2x, sin^2(x).

    Raises BadExpression.
    """
    if len(text) > max_chars:
        raise BadExpression(f"an expression of {len(text)} characters; at most {max_chars} are allowed")
    return _Parser(text, names, max_digits, max_depth, max_operands, max_power, implicit, decimals, sqrt,
                   functions).parse()


class _Parser:
    """One reading of one text."""

    def __init__(
        self, text: str, names: frozenset[str], max_digits: int, max_depth: int, max_operands: int, max_power: int,
        implicit: bool, decimals: bool, sqrt: bool, functions: frozenset[str],
    ) -> None:
        self.names, self.max_digits, self.max_depth, self.max_power = names, max_digits, max_depth, max_power
        self.implicit, self.decimals, self.sqrt, self.functions = implicit, decimals, sqrt, functions
        self.operands_left = max_operands
        self.tokens = self._tokens(text)
        self.at = 0

    def _tokens(self, text: str) -> list[str]:
        tokens, at = [], 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise BadExpression(f"unexpected {text[at]!a} in an expression")
            at = match.end()
            if match.lastgroup != "space":
                tokens.append(match[0])
        if not tokens:
            raise BadExpression("an empty expression")
        return [*tokens, ""]

    def parse(self) -> Node:
        node = self._sum(0)
        if self.tokens[self.at]:
            raise BadExpression(f"unexpected {self.tokens[self.at][:20]!a} in an expression")
        return node

    def _sum(self, depth: int) -> Node:
        node = self._product(depth)
        while self.tokens[self.at] in ("+", "-"):
            op = self._next()
            node = Binary(op, node, self._product(depth))
        return node

    def _product(self, depth: int) -> Node:
        node = self._factor(depth)
        while True:
            token = self.tokens[self.at]
            if token in ("*", "/"):
                self.at += 1
                node = Binary(token, node, self._factor(depth))
            elif self.implicit and (token == "(" or token.isalpha()):
                node = Binary("*", node, self._power(depth))
            else:
                return node

    def _factor(self, depth: int) -> Node:
        if self.tokens[self.at] != "-":
            return self._power(depth)
        self.at += 1
        return Negate(self._factor(self._deeper(depth)))

    def _power(self, depth: int) -> Node:
        node = self._atom(depth)
        if self.tokens[self.at] != "^" or not self.max_power:
            return node
        self.at += 1
        exponent = self._factor(self._deeper(depth)) if self.functions else self._literal_power()
        return Binary("^", node, exponent)

    def _literal_power(self) -> Number:
        exponent = self._next()
        if not exponent.isdigit() or len(exponent) > 3 or int(exponent) > self.max_power:
            raise BadExpression(f"an exponent must be a whole number up to {self.max_power}, not {exponent[:20]!a}")
        return Number(int(exponent))

    def _atom(self, depth: int) -> Node:
        token = self._next()
        if token == "(":
            node = self._sum(self._deeper(depth))
            self._expect(")")
            return node
        if token in self.functions:
            return self._call(token, depth)
        self.operands_left -= 1
        if self.operands_left < 0:
            raise BadExpression("too many numbers in an expression")
        if token[:1].isdigit():
            return self._number(token)
        if token == "sqrt" and self.sqrt:
            self._expect("(")
            radicand = self._next()
            if not radicand.isdigit() or len(radicand) > self.max_digits:
                raise BadExpression(f"sqrt takes a whole number, not {radicand[:20]!a}")
            self._expect(")")
            return Sqrt(int(radicand))
        if token in self.names:
            return Name(token)
        raise BadExpression(f"unexpected {token[:20]!a} in an expression" if token else "the expression breaks off")

    def _call(self, name: str, depth: int) -> Node:
        """sin(2x), sin 2x, sin^2(x); without parentheses, the argument ends with its first name."""
        power = None
        if self.tokens[self.at] == "^":
            self.at += 1
            power = self._literal_power()
        bare = self.tokens[self.at] != "("
        argument = self._atom(self._deeper(depth))
        if bare and isinstance(argument, Number) and self.tokens[self.at] in self.names:
            argument = Binary("*", argument, self._atom(depth))
        follower = self.tokens[self.at]
        if bare and (follower == "^" or (follower in ("*", "/") and isinstance(argument, Number))):
            raise BadExpression(f"the argument of {name} needs parentheses")
        call = Call(name, argument)
        return call if power is None else Binary("^", call, power)

    def _number(self, token: str) -> Number:
        if len(token) > self.max_digits + ("." in token):
            raise BadExpression(f"a number of {len(token)} digits; at most {self.max_digits} are allowed")
        if "." not in token:
            return Number(int(token))
        if not self.decimals:
            raise BadExpression(f"only whole numbers are allowed here, not {token!a}")
        return Number(Fraction(token))

    def _next(self) -> str:
        token = self.tokens[self.at]
        if token:
            self.at += 1
        return token

    def _expect(self, wanted: str) -> None:
        token = self._next()
        if token != wanted:
            raise BadExpression(f"expected {wanted!a}, not {token[:20]!a}" if token else f"missing {wanted!a}")

    def _deeper(self, depth: int) -> int:
        if depth >= self.max_depth:
            raise BadExpression(f"parentheses or signs nested deeper than {self.max_depth}")
        return depth + 1


def evaluate(node: Node, values: Mapping[str, Fraction] | None = None) -> Fraction:
    """The exact value. Raises BadExpression: division by zero, an unbound name, an irrational root, a huge number."""
    match node:
        case Number(value):
            return Fraction(value)
        case Name(name):
            if values is None or name not in values:
                raise BadExpression(f"{name} has no value")
            return values[name]
        case Sqrt(radicand):
            root = math.isqrt(radicand)
            if root * root != radicand:
                raise BadExpression(f"sqrt({radicand}) is irrational")
            return Fraction(root)
        case Call(name):
            raise BadExpression(f"{name}(...) is no rational number")
        case Negate(operand):
            return -evaluate(operand, values)
        case Binary(op, left, right):
            return _apply(op, evaluate(left, values), evaluate(right, values))


def _apply(op: str, a: Fraction, b: Fraction) -> Fraction:
    if op == "+":
        result = a + b
    elif op == "-":
        result = a - b
    elif op == "*":
        result = a * b
    elif op == "/":
        if b == 0:
            raise BadExpression("division by zero")
        result = a / b
    else:
        if b < 0 or b.denominator != 1:
            raise BadExpression("an exponent must be a whole number")
        if max(a.numerator.bit_length(), a.denominator.bit_length()) * b > _MAX_BITS:
            raise BadExpression("a number grows too large")
        result = a ** int(b)
    if max(result.numerator.bit_length(), result.denominator.bit_length()) > _MAX_BITS:
        raise BadExpression("a number grows too large")
    return result


def leaves(node: Node) -> Iterator[Number | Name | Sqrt]:
    """The numbers, names and roots, left to right; exponents are no leaves."""
    match node:
        case Negate(operand) | Call(_, operand):
            yield from leaves(operand)
        case Binary(op, left, right):
            yield from leaves(left)
            if op != "^":
                yield from leaves(right)
        case _:
            yield node


def render(node: Node, *, implicit: bool = False) -> str:
    """Compact text with no needless parentheses; parses back to the same tree up to the signs of numbers."""
    return _render(node, implicit)


def _render(node: Node, implicit: bool) -> str:
    match node:
        case Number(value):
            return str(value) if isinstance(value, int) else f"({value})"
        case Name(name):
            return name
        case Sqrt(radicand):
            return f"sqrt({radicand})"
        case Call(name, argument):
            return f"{name}({_render(argument, implicit)})"
        case Negate(operand):
            return "-" + _wrapped(operand, 3, implicit)
        case Binary(op, left, right):
            rank = _PRECEDENCE[op]
            head = _wrapped(left, rank + (op == "^"), implicit, leading=op != "^")
            tail = _wrapped(right, rank + 1, implicit)
            apart = tail[0].isalpha() and tail[1:2].isalpha() and not head.lstrip("-").isdigit()  # x*sin(x), 2sin(x)
            if op == "*" and implicit and not tail[0].isdigit() and not apart:
                return head + tail
            return head + op + tail


def _wrapped(node: Node, rank: int, implicit: bool, leading: bool = False) -> str:
    """A part in parentheses unless it binds as tightly as needed; a minus sign needs none where it comes first."""
    text = _render(node, implicit)
    if isinstance(node, Negate):
        return text if leading else f"({text})"
    if isinstance(node, Binary) and _PRECEDENCE[node.op] < rank:
        return f"({text})"
    return text
