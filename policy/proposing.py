"""Possible next thoughts as a list: the other thought generator of Tree of Thoughts."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from policy.base import BadPolicy, Policy, Sampling, Thought
from policy.budget import Meter
from policy.template import Template
from policy.wrapped import Wrapped
from verifiers.base import State, derive_seed

_MARKER = re.compile(r"^\s*(?:[-*\u2022]|\d{1,3}[.)])\s+")
"""What begins an item of a list."""


@dataclass
class _List:
    """One state's list as far as it is written; `at` is where the next line goes."""

    at: State
    thoughts: list[Thought] = field(default_factory=list)
    barren: int = 0
    ended: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Proposing(Wrapped):
    """The thoughts of a tree are lines of a list that the policy writes when asked for several (Yao et al. 2023, "Tree
    of Thoughts", section 3, (2b)).

    One reply to the propose prompt holds them all, and is written as far as thoughts are asked for: the next one is
    its next line, without the mark of an item; a line that is blank or was there before makes a blank thought, which is
    dead. So every token of the reply is charged, and none before it is needed. A thought's log-probability is its
    line's, given those above it. None ends the text: that is left to the judge. A value would be the list's, and is
    dropped.

    Chains (GREEDY and INDEPENDENT) are written by the policy as ever, and need no list.

    Args:
        policy: writes the list.
        prompt: the file of the propose prompt, with the places {problem} and {thoughts}.
        barren: lines in a row without a new thought after which the list has ended.
    """

    def __init__(self, policy: Policy, prompt: str, barren: int = 3) -> None:
        if isinstance(barren, bool) or not isinstance(barren, int) or barren < 1:
            raise BadPolicy(f"generator.barren must be a whole number of at least 1, not {barren!r}")
        self._template = Template(prompt)
        name = hashlib.blake2b(f"{barren}{self._template.text}".encode(), digest_size=3).hexdigest()
        super().__init__(policy, f"propose-{name}")
        self._barren = barren
        # A search's lists live as long as its meter: what goes on from them is asked for with the same one.
        self._lists: WeakKeyDictionary[Meter, dict[tuple[State, int], _List]] = WeakKeyDictionary()

    async def propose(
        self, state: State, k: int, *, sampling: Sampling, seed: int, meter: Meter, first: int = 0
    ) -> list[Thought]:
        """See Policy.propose."""
        if sampling is not Sampling.DISTINCT:
            return await self._policy.propose(state, k, sampling=sampling, seed=seed, meter=meter, first=first)
        lists = self._lists.setdefault(meter, {})
        listed = lists.setdefault((state, seed), _List(self._template.about(state)))
        async with listed.lock:
            while len(listed.thoughts) < first + k and not listed.ended and not meter.expired:
                await self._go_on(listed, derive_seed(seed, "propose"), meter)
        return listed.thoughts[first : first + k]

    async def _go_on(self, listed: _List, seed: int, meter: Meter) -> None:
        """One more line, unless the list ends or the time is over."""
        lines: Sequence[Thought] = await self._policy.propose(
            listed.at, 1, sampling=Sampling.INDEPENDENT, seed=seed, meter=meter
        )
        if not lines:
            listed.ended = not meter.expired
            return
        [line] = lines
        text = _MARKER.sub("", line.text, count=1).strip()
        new = bool(text) and text not in {thought.text for thought in listed.thoughts}
        listed.at = listed.at.then(line.text, line.last)
        listed.thoughts.append(replace(line, text=text if new else "", value=None, last=False, ids=()))
        listed.barren = 0 if new else listed.barren + 1
        listed.ended = line.last or not line.complete or listed.barren >= self._barren
