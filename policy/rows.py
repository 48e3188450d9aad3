"""What the decoder works on: requests, and the rows of the running batch that serve them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from policy.base import Sampling, Thought
from policy.budget import Meter
from policy.frontier import Frontier, Partial
from policy.kv import Stem
from policy.lora import Lora
from policy.reading import Likelihood, Reading

Tokens = tuple[int, ...]
Name = tuple[Lora | None, Tokens]
"""Tokens as they are read by an adapter: to another one, they are something else."""


@dataclass(eq=False)
class Request:
    """One call of `propose`: thoughts number first .. first + k - 1 of a state.

    Attributes:
        text, tokens: the state.
        start: how many characters of the text come before the thoughts.
        lora: the adapter that reads it and draws its thoughts; None for the base as it is.
        prompt: how many of the tokens are its prompt, not thoughts.
        found: thoughts of GREEDY and INDEPENDENT requests, by number.
        reading: of the state, once it has been read.
        frontier: the sample sequence of a DISTINCT request once its state has been read.
        priming: the row that reads the state for the first time, while there is one.
        rows: rows that work for this request alone.
        done: resolved or given up; nothing more is decoded for it.
    """

    text: str
    tokens: Tokens
    prompt: int
    sampling: Sampling
    seed: int
    first: int
    k: int
    meter: Meter
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[list[Thought]]
    lora: Lora | None = None
    start: int = 0
    found: dict[int, Thought] = field(default_factory=dict)
    reading: Reading | None = None
    frontier: Frontier[Row] | None = None
    priming: Row | None = None
    rows: list[Row] = field(default_factory=list)
    done: bool = False

    @property
    def name(self) -> Name:
        """Of its state."""
        return self.lora, self.tokens

    @property
    def satisfied(self) -> bool:
        if self.frontier is not None:
            return self.frontier.exhausted or len(self.frontier.emitted) >= self.first + self.k
        return len(self.found) == self.k

    def result(self) -> list[Thought]:
        """What is complete so far, in order."""
        if self.frontier is not None:
            return self.frontier.emitted[self.first : self.first + self.k]
        return [self.found[number] for number in sorted(self.found)]


@dataclass(eq=False, slots=True)
class Row:
    """One sequence of the batch. What happens in its slot is written to it when somebody asks; see Batch.tell.

    Attributes:
        text, state: text and tokens of the state it continues.
        lora, start: see Request.
        prompt: how many of the tokens are not thoughts.
        tokens: everything to be fed; the last ones are not yet.
        fed: how many are; their keys and values are in the row's slot.
        slot: its place in the batch; -1 while it waits and after it left.
        stem: what it begins with, if others do too; its slot holds only what comes after that.
        number: which sample of its request it is.
        request: whom it serves; None when it walks for a frontier or primes.
        frontier: for whom it walks.
        partial: the beginning of the thought it walks from, with its noise key.
        origin: a row in whose slot its beginning may be found.
        thought: tokens of the thought drawn so far.
        logprob, least: their total log-probability, and that of the least likely.
        closed: the same with a newline in place of the last token, where that is known.
        reading: of its state, where that is known.
        key: noise key of an INDEPENDENT sample; None for the most likely tokens.
        waiting: requests that wait for the state this row primes.
        ended: the thought is complete; what is left to feed is its end.
        gone: has left, or must leave, the batch.
    """

    text: str
    state: Tokens
    prompt: int
    tokens: list[int]
    partial: Partial
    lora: Lora | None = None
    start: int = 0
    fed: int = 0
    slot: int = -1
    stem: Stem | None = None
    number: int = 0
    request: Request | None = None
    frontier: Frontier[Row] | None = None
    origin: Row | None = None
    thought: list[int] = field(default_factory=list)
    logprob: float = 0.0
    least: float = 0.0
    closed: Likelihood | None = None
    reading: Reading | None = None
    key: int | None = None
    waiting: list[Request] = field(default_factory=list)
    ended: bool = False
    gone: bool = False

    @property
    def before(self) -> str:
        """The thoughts before its own, as they are read."""
        return self.text[self.start :]

    @property
    def draws(self) -> bool:
        """Can its first token be drawn from what is known of its state?"""
        # A thought that is over may be as short: a blank line's newline joins the one before it in many vocabularies.
        return self.reading is not None and not self.ended and len(self.tokens) == len(self.state)

    @property
    def problem(self) -> Name:
        """Its prompt."""
        return self.lora, self.state[: self.prompt]

    @property
    def offset(self) -> int:
        """How many tokens are in its stem, and not in its slot."""
        return 0 if self.stem is None else len(self.stem.tokens)

    @property
    def primes(self) -> bool:
        """Does it only read a state?"""
        return self.request is None and self.frontier is None
