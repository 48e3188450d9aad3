"""One-expression programs over whole numbers: a small part of Python, read with Python's own parser and evaluated here.

The language is Python's, so its parser decides what a text means; what is evaluated are only the node types named
below, on bounded integers, for all inputs at once. Nothing is ever compiled. Where this evaluator gives an answer it
is Python's own (a test compares thousands of programs); everything else is a BadProgram, left to a sandbox.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

MAX_CHARS = 120
_LARGEST = 10**15  # of a product or power
_MAX_POWER = 8
_ALPHABET = re.compile(r"[0-9a-z_+\-*/%()<>=!, ]*")
_RUN_TOGETHER = re.compile(r"[0-9](?:if|else|and|or)")  # Python reads 1if, but warns
_WORDS = {"x", "y", "max", "min", "abs", "if", "else", "and", "or", "not"}
_BINARY: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod, ast.Pow: operator.pow,
}
_COMPARE: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
T = TypeVar("T", int, bool)
Columns = Mapping[str, Sequence[int]]  # a name's value for every input, all of one length


class BadProgram(ValueError):
    """A text that is no program of this language, or one with numbers too large for it; one clear line."""


class NotPython(BadProgram):
    """A text that is no Python expression either."""


@lru_cache(maxsize=2**12)
def read_program(text: str) -> ast.expr:
    """A whole-number expression in x and y, shared by all who read it and not to be changed. Raises BadProgram."""
    node = _read(text)
    _check_number(node)
    return node


@lru_cache(maxsize=2**12)
def read_condition(text: str) -> ast.expr:
    """A condition on x and y, as it stands between `if` and `else`; likewise. Raises BadProgram."""
    node = _read(text)
    _check_truth(node)
    return node


def _read(text: str) -> ast.expr:
    if len(text) > MAX_CHARS:
        raise BadProgram(f"a program of {len(text)} characters; at most {MAX_CHARS} are allowed")
    if not _ALPHABET.fullmatch(text) or _RUN_TOGETHER.search(text) or set(re.findall("[a-z]+", text)) - _WORDS:
        raise BadProgram(f"{text[:40]!a} is not made of whole numbers, x, y, + - * // %, max, min, abs and conditions")
    try:
        return ast.parse(text.strip(" "), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise NotPython(f"{text[:40]!a} is not an expression") from None


def names(node: ast.expr) -> set[str]:
    """The inputs that a program looks at: x, y, both or none."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} & {"x", "y"}


def _check_number(node: ast.expr) -> None:
    match node:
        case ast.Constant(value=value) if type(value) is int and abs(value) <= _LARGEST:
            return
        case ast.Name(id="x" | "y"):
            return
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            _check_number(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int(power))) if 0 <= power <= _MAX_POWER:
            _check_number(left)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY and not isinstance(op, ast.Pow):
            _check_number(left)
            _check_number(right)
        case ast.Call(func=ast.Name(id="max" | "min"), args=args, keywords=[]) if len(args) > 1:
            for arg in args:
                _check_number(arg)
        case ast.Call(func=ast.Name(id="abs"), args=[arg], keywords=[]):
            _check_number(arg)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            _check_truth(test)
            _check_number(body)
            _check_number(orelse)
        case _:
            raise BadProgram("it holds something else than whole-number operations and conditions")


def _check_truth(node: ast.expr) -> None:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARE for op in ops):
            for part in (left, *others):
                _check_number(part)
        case ast.BoolOp(values=parts):
            for part in parts:
                _check_truth(part)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            _check_truth(operand)
        case _:
            raise BadProgram("a condition is a comparison")


def outputs(node: ast.expr, columns: Columns) -> list[int]:
    """The values of a program that read_program made, one an input.

    Raises ZeroDivisionError as Python would for one of the inputs, and BadProgram where a number grows too large.
    """
    match node:
        case ast.Constant(value=int(value)):
            return [value] * len(columns["x"])
        case ast.Name(id=name):
            return list(columns[name])
        case ast.UnaryOp(op=op, operand=operand):
            values = outputs(operand, columns)
            return [-value for value in values] if isinstance(op, ast.USub) else values
        case ast.BinOp(left=left, op=op, right=right):
            function, pairs = _BINARY[type(op)], zip(outputs(left, columns), outputs(right, columns), strict=True)
            return _bounded([function(a, b) for a, b in pairs])
        case ast.Call(func=ast.Name(id="abs"), args=[arg]):
            return [abs(value) for value in outputs(arg, columns)]
        case ast.Call(func=ast.Name(id=name), args=args):
            choose: Callable[[tuple[int, ...]], int] = max if name == "max" else min
            return [choose(values) for values in zip(*(outputs(arg, columns) for arg in args), strict=True)]
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yes = truths(test, columns)
            return _chosen(yes, lambda rows: outputs(body, rows), lambda rows: outputs(orelse, rows), columns)
    raise AssertionError(ast.dump(node))


def truths(node: ast.expr, columns: Columns) -> list[bool]:
    """The values of a condition that read_condition made, one an input. Raises as outputs() does."""
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            function = _COMPARE[type(op)]
            return [function(a, b) for a, b in zip(outputs(left, columns), outputs(right, columns), strict=True)]
        case ast.Compare(left=left, ops=[op, *ops], comparators=[middle, *others]):  # a < b < c: the rest only if a < b
            first = ast.Compare(left, [op], [middle])
            rest = ast.Compare(middle, ops, others)
            return truths(ast.BoolOp(ast.And(), [first, rest]), columns)
        case ast.UnaryOp(operand=operand):
            return [not value for value in truths(operand, columns)]
        case ast.BoolOp(op=op, values=[first, *rest]):
            yes = truths(first, columns)
            if not rest:
                return yes
            remaining = ast.BoolOp(op, rest)
            both = isinstance(op, ast.And)
            return _chosen([value is both for value in yes], lambda rows: truths(remaining, rows),
                           lambda rows: [not both] * len(rows["x"]), columns)
    raise AssertionError(ast.dump(node))


def _chosen(
    yes: list[bool], then: Callable[[Columns], list[T]], otherwise: Callable[[Columns], list[T]], columns: Columns
) -> list[T]:
    """Each input's value from its own branch; the other one is not evaluated for it."""
    branches: dict[bool, Iterator[T]] = {}
    for answer, values in ((True, then), (False, otherwise)):
        rows = {name: [v for v, y in zip(column, yes, strict=True) if y is answer] for name, column in columns.items()}
        branches[answer] = iter(values(rows) if rows["x"] else [])
    return [next(branches[answer]) for answer in yes]


def _bounded(values: list[int]) -> list[int]:
    if values and (max(values) > _LARGEST or min(values) < -_LARGEST):
        raise BadProgram("a number grows too large")
    return values
