"""What a policy is: something that proposes next thoughts for a line of thought."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol, runtime_checkable

from policy.budget import Meter
from verifiers.base import State


class BadPolicy(ValueError):
    """A policy that cannot be loaded (missing folder, corrupt file, unreachable hub), in one line."""


class PolicyStopped(RuntimeError):
    """A policy that worked and does no more, whatever it is asked: no failure of a single search."""


class Sampling(str, Enum):
    """How the thoughts of one call relate to each other.

    GREEDY: the most likely token at every position; one thought.
    INDEPENDENT: the k-th sample is drawn on its own, with replacement (for chains and votes).
    DISTINCT: the k-th sample is the k-th of a sequence drawn without replacement at temperature 1
        (for the children of a tree node); calls with first=0, k=4 and first=4, k=4 continue one another.
    """

    GREEDY = "greedy"
    INDEPENDENT = "independent"
    DISTINCT = "distinct"


@dataclass(frozen=True)
class Thought:
    """One proposed thought.

    Attributes:
        text: the thought without its newline; untrusted.
        logprob: natural log of its probability at temperature 1, its end included.
        tokens: tokens it is charged for, its end included.
        value: P(a rollout of this policy from after this thought ends correct), in [0, 1]; None without a value head.
        complete: False when it was cut off at the length limit: such a thought is dead.
        last: the policy ended its whole text here, and not only the line; then the text may be empty.
        ids: the tokens that were drawn, its end included, for whoever compares their probability later: a text can be
            spelled in others too. () where the text tells them, where the policy does not know them, of what was cut
            off, and of DISTINCT thoughts, of which trees hold tens of thousands.
    """

    text: str
    logprob: float
    tokens: int
    value: float | None = None
    complete: bool = True
    last: bool = False
    ids: tuple[int, ...] = ()

    @property
    def dead(self) -> bool:
        """Can nothing come of it? It was cut off, or is blank and not the end either."""
        return not self.complete or not (self.last or self.text.strip())


@runtime_checkable
class Policy(Protocol):
    """Proposes and values thoughts.

    Attributes:
        version: names the weights (a hash) or the rules; stored with every answer.
        max_thought_tokens: no thought is charged more than this.
    """

    version: str
    max_thought_tokens: int

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        """Thoughts number first .. first+k-1 of the state's sample sequence under this seed.

        The result depends only on (weights, state, sampling, seed, first, k), never on what else is decoded at
        the time. It is shorter than k when there is nothing more to propose (DISTINCT, support exhausted) or when
        `meter.expired` became true, checked at every token. Does not charge the meter: the caller does, in
        launch order.
        """
        ...


@runtime_checkable
class Adaptable(Protocol):
    """A policy whose weights can be swapped while it is at rest."""

    def load_adapter(self, folder: str | Path | None) -> None:
        """Wear this adapter from now on, or none; `version` follows.

        Raises BadPolicy for one that does not fit (nothing changes then), RuntimeError while thoughts are asked for.
        """
        ...
