"""Lines that a policy goes on with for the sake of a value alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from policy.base import BadPolicy, Policy, Sampling
from policy.budget import Meter
from verifiers.base import State


@dataclass(frozen=True)
class Line:
    """A line written on.

    Attributes:
        state: with all that was written.
        tokens: what that took.
        ended: the policy has nothing to add. False where tokens or time ran out, or a thought was cut off.
    """

    state: State
    tokens: int
    ended: bool


def holds_a_thought(policy: Policy, tokens: int) -> None:
    """Raises BadPolicy where tokens are too few for a thought."""
    if tokens < policy.max_thought_tokens:
        raise BadPolicy(f"values.max_tokens={tokens} holds no thought; allowed: {policy.max_thought_tokens} (this "
                        "policy's max_thought_tokens) or more")


async def write(
    policy: Policy, state: State, index: int, tokens: int, *, seed: int, meter: Meter,
    done: Callable[[str], bool] | None = None,
) -> Line:  # fmt: skip
    """Go on from a state by sample `index` of every state met, while a thought is sure to fit the tokens.

    Without `done` a blank thought ends the line, as in a search; with it the line ends after the first text it holds
    of, and blank ones are gone over.
    """
    spent = 0
    while not state.ended and tokens - spent >= policy.max_thought_tokens:
        thoughts = await policy.propose(state, 1, sampling=Sampling.INDEPENDENT, seed=seed, meter=meter, first=index)
        if not thoughts:
            return Line(state, spent, not meter.expired)
        [thought] = thoughts
        spent += thought.tokens
        if not thought.complete or (thought.dead and done is None):
            return Line(state, spent, False)
        state = state.then(thought.text, thought.last)
        if done is not None and done(thought.text):
            return Line(state, spent, True)
    return Line(state, spent, state.ended)
