"""A calculator inside thoughts, in the notation of GSM8K (Cobbe et al. 2021, appendix C): `17*24=<<17*24=`.

What is written is exact: whole numbers, terminating decimals, else a fraction in lowest terms.
"""

from __future__ import annotations

import re
from fractions import Fraction

from verifiers.algebra.expression import BadExpression, evaluate, parse_expression
from verifiers.base import Completion, State

MAX_FAULT_CHARS = 60
_CALL = re.compile(r"<<([^<>=\n]{1,200})=([^<>\n]*)(>>)?")
_THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])")
_SIGNS = str.maketrans({"\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-",
                        "$": " ", "\t": " "})


class Calculator:
    """Works out `<<expression=` where a thought ends in it, or where what the thought wrote after it is wrong.

    A thought is cut at its first wrong result: what follows rests on it.

    Args:
        max_result: characters of a result, at least 8.

    Attributes:
        max_chars: of what it writes.
    """

    version = "calculator"

    def __init__(self, max_result: int = 40) -> None:
        if max_result < 8:
            raise ValueError("max_result must be at least 8")
        self.max_chars = max(2 * max_result + 2, MAX_FAULT_CHARS)
        self._max_result = max_result

    async def complete(self, state: State, thought: str) -> Completion | None:
        """See policy.tools.Tool."""
        for call in _CALL.finditer(thought):
            try:
                value = _value(call[1])
                result = decimal_text(value, self._max_result)
            except BadExpression as error:
                return Completion(call.start(2), f"error: {error}"[: MAX_FAULT_CHARS - 2] + ">>")
            if call[3] is None or not _says(call[2], value):
                return Completion(call.start(2), f"{result}>>{result}")
        return None


def _value(text: str) -> Fraction:
    plain = text.translate(_SIGNS).strip().replace("**", "^")
    plain = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), plain)
    plain = re.sub(r"(?<![0-9.])\.(?=[0-9])", "0.", plain)
    plain = re.sub(r"(?<![0-9.])([0-9.]+) *%", r"(\1/100)", plain)
    return evaluate(parse_expression(plain, max_digits=18, max_power=64, decimals=True))


def _says(text: str, value: Fraction) -> bool:
    try:
        return _value(text) == value
    except BadExpression:
        return False


def decimal_text(value: Fraction, max_chars: int) -> str:
    """A terminating decimal, else a fraction in lowest terms. Raises BadExpression where it takes too many digits."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest == 1 and 0 < places <= 12:
        digits = str(abs(value) * 10**places).rjust(places + 1, "0")
        text = f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
    else:
        text = str(value)
    if len(text) > max_chars:
        raise BadExpression(f"the result takes more than {max_chars} digits")
    return text
