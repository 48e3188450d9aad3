"""A place in the tokens of an answer, and what every level of the parser needs of it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from verifiers.math.tokens import Token
from verifiers.math.tree import SCALARS, Matrix, Mul, Neg, Node, Seq, TooLarge, Unparsable

MAX_DEPTH = 40
MAX_NODES = 1000
WORDS = frozenset(re.findall(r"\w+", """
    no yes odd even red one two six ten all any tie win mon tue wed thu fri sat sun none true false both east west
    blue
    the and for not are but was has its can may per new old all you who why how yet
"""))


class Cursor(ABC):
    """Reads from `tokens[at]` on; the levels of the grammar call each other, and subclasses supply them."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.at = tokens, 0
        self.depth = self.bars = self.nodes = 0
        self.bound: list[str] = []  # what a sum, an integral or a limit around this place binds

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def ahead(self, steps: int = 1) -> Token:
        """The token some steps further, END beyond the last."""
        return self.tokens[min(self.at + steps, len(self.tokens) - 1)]

    def advance(self) -> Token:
        token = self.tokens[self.at]
        if token.kind != "end":
            self.at += 1
        return token

    def accept(self, *texts: str) -> bool:
        if self.token.kind in ("op", "command") and self.token.text in texts:
            self.advance()
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise Unparsable(f"{text} expected, not {self.token.text[:20]!a}")

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """One level of nesting further down. Raises TooLarge beyond MAX_DEPTH."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooLarge(f"nested deeper than {MAX_DEPTH}")
        yield
        self.depth -= 1

    def count(self) -> None:
        """One more part. Raises TooLarge beyond MAX_NODES."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise TooLarge(f"more than {MAX_NODES} parts")

    @abstractmethod
    def sum(self) -> Node:
        """An expression: terms joined by + - and plus-minus."""

    @abstractmethod
    def product(self) -> Node: ...

    @abstractmethod
    def signed(self) -> Node: ...

    @abstractmethod
    def power(self) -> Node: ...

    @abstractmethod
    def exponent(self) -> Node: ...

    @abstractmethod
    def atom(self) -> Node: ...

    @abstractmethod
    def argument(self) -> Node:
        """A LaTeX argument: braces, or one digit, one letter or one command."""

    @abstractmethod
    def group(self) -> Node:
        """A LaTeX argument in braces."""

    @abstractmethod
    def bare_numeral(self) -> Node:
        """A number that ends where its digits do."""

    @abstractmethod
    def begins_mixed(self) -> bool:
        """Does a whole number with a fraction of two whole numbers stand here?"""

    @abstractmethod
    def starts_factor(self) -> bool:
        """Does the current token go on with a product that has no sign?"""

    @abstractmethod
    def bracket(self) -> Node:
        """Items between brackets, the current token being the opening one."""

    @abstractmethod
    def matrix(self) -> Node:
        """A matrix, the current token being its \\begin."""


def is_product(word: str) -> bool:
    """Is a run of letters a product of names rather than a word?"""
    if word.lower() in WORDS or word.lower() == "nan":
        return False
    return len(word) <= 3 or is_row(word) or (word.isupper() and len(word) <= 4)


def is_row(word: str) -> bool:
    """Are all letters names that are used together, such as xyz?"""
    return any(set(word) <= set(row) for row in ("abcd", "wxyz", "pqrst", "klmn", "mnp", "uvw"))


def scalar(node: Node) -> Node:
    """The node if arithmetic may use it; square brackets around one expression are parentheses then."""
    if isinstance(node, Seq) and len(node.items) == 1 and (node.opening, node.closing) == ("[", "]"):
        return scalar(node.items[0])
    if not isinstance(node, SCALARS):
        raise Unparsable(f"a {type(node).__name__.lower()} within an expression")
    return node


def negative(node: Node) -> Node:
    return mapped(node, Neg) if isinstance(node, Matrix) else Neg(scalar(node))


def mapped(matrix: Matrix, change: type[Neg]) -> Matrix:
    return Matrix(tuple(tuple(change(item) for item in row) for row in matrix.rows))


def multiplied(factors: list[Node]) -> Node:
    """The product; a number times a matrix is the matrix of products."""
    if len(factors) == 1:
        return factors[0]
    if isinstance(factors[-1], Matrix):
        head = tuple(scalar(factor) for factor in factors[:-1])
        return Matrix(tuple(tuple(Mul((*head, item)) for item in row) for row in factors[-1].rows))
    return Mul(tuple(scalar(factor) for factor in factors))
