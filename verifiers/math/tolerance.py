"""How near a predicted number must come to the reference: a policy of each problem."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Tolerance:
    """How near a number must come: a policy of the problem, exact unless it says otherwise.

    Attributes:
        relative: largest |prediction - gold| / |gold|; 0 is exact.
        digits: significant digits of the gold that the prediction must round to; None is all of them.
        bare_numbers: accept 5 where the gold is 5 hours, because the problem names the unit.
        counted: words (see units.words_of) of which an unknown one after a number must be one, where the gold is the
            bare number: `18 eggs` is 18 if the problem speaks of eggs. None: any word that is not known to say more.
    """

    relative: Fraction = Fraction(0)
    digits: int | None = None
    bare_numbers: bool = False
    counted: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if self.relative < 0 or self.relative >= 1 or (self.digits is not None and not 1 <= self.digits <= 50):
            raise ValueError("relative must be in [0, 1) and digits in 1..50")

    @property
    def exact(self) -> bool:
        return self.relative == 0 and self.digits is None

    def accepts(self, prediction: Fraction, gold: Fraction) -> bool:
        gap = abs(prediction - gold)
        if self.digits is not None and gold:
            exponent, size = 0, abs(gold)
            while size >= 10:
                size, exponent = size / 10, exponent + 1
            while size < 1:
                size, exponent = size * 10, exponent - 1
            if gap * 2 <= Fraction(10) ** (exponent - self.digits + 1):
                return True
        return gap <= self.relative * abs(gold)
