"""Short rollouts that agree with each other: a value without a judge."""

from __future__ import annotations

import asyncio
from collections import Counter

from policy.base import Policy
from policy.budget import Meter
from policy.values.lines import Line, holds_a_thought, write
from policy.values.valued import Valued, count
from verifiers.base import State, derive_seed


class Agreement(Valued):
    """A thought is worth the share of rollouts after it that come to the same end: self-consistency of a state.

    The end of a rollout is its last line that is not blank, with case, spaces and marks around it set aside: no judge
    is asked, and none is known here. The most frequent end is the state's, and the value is its share among all
    rollouts; one that does not come to an end, in time or at all, agrees with nobody. So with n rollouts a value is 0
    or one of 1/n ... 1, and 1/n where all disagree. A state after which nothing more is written has no value: there
    is nothing to agree on. (The agreement of samples as confidence: Wang et al. 2023, section 3.5.)

    Every token of the rollouts is charged with the thought.

    Args:
        policy: proposes the thoughts, and rolls out.
        rollouts: lines written after each thought.
        max_tokens: of one rollout; at least the policy's max_thought_tokens.
        chains: see Valued.
    """

    def __init__(self, policy: Policy, rollouts: int = 4, max_tokens: int = 96, chains: bool = False) -> None:
        count(2, rollouts=rollouts)
        count(max_tokens=max_tokens)
        holds_a_thought(policy, max_tokens)
        self._rollouts, self._tokens = rollouts, max_tokens
        super().__init__(policy, f"agreement-{rollouts}x{max_tokens}", rollouts * max_tokens, chains)

    async def value(self, state: State, seed: int, meter: Meter) -> tuple[float | None, int]:
        """See Valued."""
        seed = derive_seed(seed, "agreement")
        lines = await asyncio.gather(*(
            write(self._policy, state, i, self._tokens, seed=seed, meter=meter) for i in range(self._rollouts)
        ))  # fmt: skip
        tokens = sum(line.tokens for line in lines)
        if meter.expired or all(line.ended and not _written(state, line) for line in lines):
            return None, tokens
        ends = Counter(end for line in lines if line.ended and (end := _end(line)))
        return max(ends.values(), default=0) / self._rollouts, tokens


def _written(state: State, line: Line) -> bool:
    return any(text.strip() for text in line.state.thoughts[len(state.thoughts) :])


def _end(line: Line) -> str:
    """The last line with something in it, in one spelling."""
    last = next((text for text in reversed(line.state.thoughts) if text.strip()), "")
    return " ".join(last.casefold().split()).strip(" .,;:!*`\"'")
