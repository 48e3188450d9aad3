"""A search watched from outside: its deadline holds, and its best answer is never lost."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable

from policy.base import Policy
from policy.budget import BadBudget, Budget, Meter
from search.base import Answer

GRACE = 0.04
"""Seconds a searcher gets to end by itself at its deadline, and again to wind down once cancelled."""


def fits(budget: Budget, policy: Policy) -> None:
    """Raises BadBudget where not a single thought would be sure to fit."""
    least = policy.max_thought_tokens
    if budget.tokens is not None and budget.tokens < least:
        raise BadBudget(f"a budget of {budget} holds no thought, which may take {least} tokens; "
                        "allowed: that many or more (or a smaller policy.max_thought_tokens)")


async def watch(
    answers: AsyncIterator[Answer], meter: Meter, on_answer: Callable[[Answer], None] | None = None
) -> Answer | None:
    """Run a search to its end, handing on every answer; the last one stands.

    The searcher watches the meter itself; a step of it that is slow to notice is cancelled soon after the deadline.
    Raises what policy, judge or searcher raise.
    """
    best: Answer | None = None

    async def search() -> None:
        nonlocal best
        async for answer in answers:
            best = answer
            if on_answer is not None:
                on_answer(answer)

    left = meter.seconds_left
    task = asyncio.create_task(search())
    try:
        await asyncio.wait({task}, timeout=None if math.isinf(left) else max(left, 0.0) + GRACE)
    finally:
        if not task.done():
            meter.cancel()
            task.cancel()
            await asyncio.wait({task}, timeout=GRACE)
    if task.done() and not task.cancelled():
        task.result()
    return best
