"""What the model made of a line of thought: its hidden state, and how likely it found the thoughts."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Likelihood(NamedTuple):
    """Of some tokens, natural logs at temperature 1: their total log-probability, and that of the least likely."""

    total: float = 0.0
    least: float = 0.0

    def then(self, total: float, least: float) -> Likelihood:
        """With further tokens."""
        return Likelihood(self.total + total, min(self.least, least))


CERTAIN = Likelihood()
"""Of no tokens."""


class Reading(NamedTuple):
    """A state that has been read.

    Attributes:
        hidden: [H], the last hidden state after its last token.
        line: the likelihood of its thoughts; the prompt is given, and does not count.
    """

    hidden: Tensor
    line: Likelihood = CERTAIN
