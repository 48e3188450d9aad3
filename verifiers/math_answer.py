"""Is a predicted answer the reference answer? Exact, three-valued, killable; text is parsed, never run.

    compare(r"\\frac{1}{\\sqrt2}", r"\\frac{\\sqrt2}{2}").relation    # equivalent

Plain numbers, words and structures are settled at once by exact arithmetic in the calling process; what needs algebra
goes to a worker process that is killed when it takes too long. Callable from any thread, from asyncio and from Ray.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from verifiers.base import Status, Verdict, correct, unparsable, wrong
from verifiers.math.compare import Comparer, NeedsAlgebra, Truth
from verifiers.math.exact import cost, rational
from verifiers.math.parser import read, unspaced
from verifiers.math.process import Answer
from verifiers.math.tokens import MAX_CHARS
from verifiers.math.tolerance import Tolerance
from verifiers.math.tree import SCALARS, Choice, Node, Num, Text, TooLarge, Undefined, Unparsable, children
from verifiers.math.workers import MathWorkers, shared_workers

EXACT = Tolerance()
_APART = re.compile(r"(?<![\w.]) | (?![\w.])")  # a space that keeps no two words or digits apart
_INDIAN = re.compile(r"\s*[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}\s*")  # else a list: only against a number


class Relation(str, Enum):
    """What is known of a prediction and a gold answer."""

    EQUIVALENT = "equivalent"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


class Reason(str, Enum):
    """Why nothing is known."""

    NONE = ""
    UNPARSABLE = "unparsable"
    UNDEFINED = "undefined"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    UNDECIDED = "undecided"
    BAD_GOLD = "bad_gold"
    ERROR = "error"


@dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison.

    Attributes:
        relation: EQUIVALENT and DIFFERENT are proved; UNKNOWN is neither, for a reason.
        reason: NONE unless the relation is UNKNOWN. BAD_GOLD: the reference itself cannot be read.
        detail: one line for people.
    """

    relation: Relation
    reason: Reason = Reason.NONE
    detail: str = ""

    @property
    def ok(self) -> bool:
        return self.relation is Relation.EQUIVALENT


def compare(prediction: str, gold: str, policy: Tolerance = EXACT, workers: MathWorkers | None = None) -> Comparison:
    """Compare a prediction with a gold answer; blocks for at most some seconds plus the time spent waiting in line.

    Args:
        prediction: untrusted; any text whatever.
        gold: the reference.
        policy: how near a number must come, and whether it may come without its unit.
        workers: the processes to use; those of this process if None.
    """
    settled = _settled(prediction, gold, policy)
    if isinstance(settled, Comparison):
        return settled
    pool = workers or shared_workers()
    return _told(pool.submit(_request(prediction, gold, policy), settled).result())


async def acompare(
    prediction: str, gold: str, policy: Tolerance = EXACT, workers: MathWorkers | None = None
) -> Comparison:
    """`compare` without blocking the event loop; cancelling it gives up its place in line, or ends its worker."""
    settled = _settled(prediction, gold, policy)
    if isinstance(settled, Comparison):
        return settled
    pool = workers or shared_workers()
    future = pool.submit(_request(prediction, gold, policy), settled)
    try:
        return _told(await asyncio.wrap_future(future))
    except asyncio.CancelledError:
        pool.give_up(future)
        raise


def verdict(comparison: Comparison) -> Verdict:
    """The verdict on a graded answer. Effort that ran out is TIMEOUT, a reference nobody can read is ERROR."""
    detail = comparison.detail or comparison.reason.value
    match comparison.relation, comparison.reason:
        case Relation.EQUIVALENT, _:
            return correct(detail=detail)
        case Relation.DIFFERENT, _:
            return wrong(detail or "not the reference answer")
        case _, Reason.UNPARSABLE | Reason.UNDEFINED | Reason.TOO_LARGE:
            return unparsable(detail)
        case _, Reason.TIMEOUT | Reason.UNDECIDED:
            return Verdict(Status.TIMEOUT, detail=detail)
    return Verdict(Status.ERROR, detail=detail)


def check(prediction: str, gold: str, policy: Tolerance = EXACT) -> Verdict:
    return verdict(compare(prediction, gold, policy))


async def acheck(prediction: str, gold: str, policy: Tolerance = EXACT) -> Verdict:
    return verdict(await acompare(prediction, gold, policy))


def _settled(prediction: str, gold: str, policy: Tolerance) -> Comparison | int:
    """The outcome if it needs no algebra, else how dear the comparison looks."""
    try:
        reference = _examined(gold)
    except Unparsable as error:
        if _verbatim(prediction, gold):
            return Comparison(Relation.EQUIVALENT, detail="the same text, in a notation that is not known here")
        return Comparison(Relation.UNKNOWN, Reason.BAD_GOLD, f"the reference: {error}")
    except (TooLarge, Undefined, RecursionError) as error:
        return Comparison(Relation.UNKNOWN, Reason.BAD_GOLD, f"the reference: {error}")
    try:
        if isinstance(reference, Num) and _INDIAN.fullmatch(prediction[:MAX_CHARS]):
            prediction = prediction.replace(",", "")
        answer = _examined(prediction)
        if isinstance(answer, Text) != isinstance(reference, Text) and not isinstance(answer, Choice):
            return _compared(unspaced(prediction) == unspaced(gold))
        return _compared(Comparer(policy).equal(answer, reference))
    except Unparsable as error:
        return Comparison(Relation.UNKNOWN, Reason.UNPARSABLE, str(error))
    except (TooLarge, RecursionError) as error:
        return Comparison(Relation.UNKNOWN, Reason.TOO_LARGE, str(error))
    except Undefined as error:
        return Comparison(Relation.UNKNOWN, Reason.UNDEFINED, str(error))
    except NeedsAlgebra:
        return cost(answer) + cost(reference)


def _examined(text: str) -> Node:
    """The parsed text, once no number in it turned out to be too large or undefined."""
    node = read(text)
    _examine(node)
    return node


def _examine(node: Node) -> None:
    if isinstance(node, SCALARS):
        rational(node)
    else:
        for child in children(node):
            _examine(child)


def _verbatim(prediction: str, gold: str) -> bool:
    """Are two texts one up to white space, and do they say anything?"""
    if max(len(prediction), len(gold)) > MAX_CHARS:
        return False
    mine, other = (_APART.sub("", " ".join(text.split())) for text in (prediction, gold))
    return mine == other and any(character.isalnum() for character in mine) and "nan" not in mine.lower()


def _compared(truth: Truth) -> Comparison:
    if truth is None:
        return Comparison(Relation.UNKNOWN, Reason.UNDECIDED, "neither proved nor refuted")
    return Comparison(Relation.EQUIVALENT if truth else Relation.DIFFERENT)


def _request(prediction: str, gold: str, policy: Tolerance) -> dict[str, Any]:
    return {"prediction": prediction, "gold": gold, "relative": str(policy.relative), "digits": policy.digits,
            "bare_numbers": policy.bare_numbers,
            "counted": None if policy.counted is None else sorted(policy.counted)}


def _told(answer: Answer) -> Comparison:
    if answer["reason"] in ("", Reason.UNDECIDED):
        return _compared(answer["truth"])
    return Comparison(Relation.UNKNOWN, Reason(answer["reason"]), answer["detail"])
