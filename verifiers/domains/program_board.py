"""Where a line of thought about examples stands: what is taken out, what is left, and which next steps are legal."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from verifiers.base import Verdict, unparsable, wrong
from verifiers.domains.program_expression import (
    BadProgram,
    Columns,
    NotPython,
    names,
    outputs,
    read_condition,
    read_program,
    truths,
)
from verifiers.domains.program_steps import Row, difference, shown, sorting

MAX_THOUGHT_CHARS = 60
_NUMBERS = "-?[0-9]{1,7}(?: -?[0-9]{1,7})*"
_TAKE = re.compile(f"(take|then|else) ([^:]{{1,40}}): ({_NUMBERS})")
_LEFT = re.compile(f"left ({_NUMBERS})")
_SORT = re.compile(r"if ([^:]{1,30}): (.+)")
_DIFFERENCE = re.compile(r"[0-9]{1,6}-[0-9]{1,6}=[0-9]{1,6}, -?[0-9]{1,7}[-+][0-9]{1,7}=-?[0-9]{1,8}")
FINAL = "f="


class Board:
    """The examples and what the steps so far have made of them; steps that were not legal count for nothing.

    Attributes:
        rest: what is left of each output.
        side: of each example, whether the condition holds; None while there is none.
        parts: the summands taken, by their word: take, then (where the condition holds), else.
        condition: its text, or empty.
        taken: the examples and the values of a part that has not been subtracted yet.
    """

    def __init__(self, examples: Sequence[tuple[Row, int]], thoughts: Sequence[str] = ()) -> None:
        self.rows = [row for row, _ in examples]
        self.rest = [value for _, value in examples]
        self.inputs = "xy"[: len(self.rows[0])]
        self.side: list[bool] | None = None
        self.parts: dict[str, list[str]] = {"take": [], "then": [], "else": []}
        self.condition = ""
        self.taken: tuple[list[int], list[int]] | None = None
        for thought in thoughts:
            self.play(thought)

    def play(self, thought: str) -> Verdict | None:
        """Make a step; returns what is wrong with it, and then nothing has changed."""
        if len(thought) > MAX_THOUGHT_CHARS:
            return unparsable(f"a step of {len(thought)} characters; at most {MAX_THOUGHT_CHARS} are allowed")
        try:
            if thought.startswith(FINAL):
                return self._finish(thought)
            if (take := _TAKE.fullmatch(thought)) is not None:
                return self._take(take[1], take[2], take[3])
            if (left := _LEFT.fullmatch(thought)) is not None:
                return self._subtract(left[1])
            if (sort := _SORT.fullmatch(thought)) is not None:
                return self._sort(sort[1], thought)
            if _DIFFERENCE.fullmatch(thought) is not None:
                return self._differ(thought)
        except BadProgram as error:
            return unparsable(str(error))
        except ZeroDivisionError:
            return wrong("it divides by zero")
        return unparsable(f"{thought[:30]!a} is no step: take, left, if, then, else, a difference, or f=")

    def columns(self, indices: Sequence[int]) -> Columns:
        return {name: [self.rows[i][k] for i in indices] for k, name in enumerate(self.inputs)}

    def where(self, word: str) -> list[int]:
        """The examples that a part is taken from."""
        if self.side is None:
            return list(range(len(self.rows)))
        return [i for i, yes in enumerate(self.side) if yes is (word == "then")]

    def left(self) -> str | None:
        """The line that subtracts what was taken."""
        if self.taken is None:
            return None
        return "left " + shown([self.rest[i] - value for i, value in zip(*self.taken, strict=True)])

    def take(self, word: str, part: str) -> str:
        """The line that takes a part out. Raises BadProgram or ZeroDivisionError."""
        return f"{word} {part}: {shown(outputs(self._read(part), self.columns(self.where(word))))}"

    def sort(self, condition: str) -> str:
        """The line that sorts the examples by a condition. Raises BadProgram or ZeroDivisionError."""
        return sorting(condition, self.rows, self.rest, truths(read_condition(condition), self._all()))

    def _all(self) -> Columns:
        return self.columns(range(len(self.rows)))

    def _read(self, part: str) -> ast.expr:
        node = read_program(part)
        if names(node) - set(self.inputs):
            raise BadProgram("y is no input")
        return node

    def _finish(self, thought: str) -> Verdict | None:
        text = thought.removeprefix(FINAL)
        if not text.strip() or not text.isascii() or not text.isprintable():
            return unparsable("a program is an expression of printable characters")
        try:
            self._read(text)
        except NotPython as error:
            return unparsable(str(error))
        except BadProgram:
            return None  # Python beyond the small language; a sandbox will tell
        return None

    def _take(self, word: str, part: str, listed: str) -> Verdict | None:
        if (word == "take") != (self.side is None):
            return wrong("then and else come after if" if word != "take" else "after if come then and else")
        if self.taken is not None and word == "take":
            return wrong("what was taken must be subtracted first")
        indices = self.where(word)
        values = outputs(self._read(part), self.columns(indices))
        if shown(values) != listed:
            return wrong(f"these are not the values of {part}")
        self.taken = indices, values
        self.parts[word].append(part)
        return None

    def _subtract(self, listed: str) -> Verdict | None:
        if self.taken is None:
            return wrong("nothing was taken")
        if self.left() != f"left {listed}":
            return wrong("this is not what is left")
        for i, value in zip(*self.taken, strict=True):
            self.rest[i] -= value
        self.taken = None
        return None

    def _sort(self, condition: str, thought: str) -> Verdict | None:
        if self.side is not None or self.parts["take"]:
            return wrong("a condition comes first, and once")
        node = read_condition(condition)
        if names(node) - set(self.inputs):
            raise BadProgram("y is no input")
        side = truths(node, self._all())
        if all(side) or not any(side):
            return wrong("it does not tell the examples apart")
        if thought != sorting(condition, self.rows, self.rest, side):
            return wrong("the examples are not sorted so")
        self.side, self.condition = side, condition
        return None

    def _differ(self, thought: str) -> Verdict | None:
        if len(self.inputs) > 1 or self.taken is not None or self.side is not None:
            return wrong("differences are looked at first, for one input")
        known = sorted((row[0], value) for row, value in zip(self.rows, self.rest, strict=True) if row[0] >= 0)
        if not any(thought == difference(*one, *other) for one in known for other in known if one[0] < other[0]):
            return wrong("no two examples differ so")
        return None
