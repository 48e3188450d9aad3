"""What servers were asked for, counted where the request is made: in all, and apart for whoever wants to know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_apart: ContextVar[dict[int, Usage] | None] = ContextVar("apart", default=None)


@dataclass
class Usage:
    """What a server was asked for so far.

    Attributes:
        requests: sent, retries among them.
        retries: of them.
        prompt_tokens, completion_tokens: as the server counts them, of requests that were answered; what it did for
            requests that were given up is not known.
        price_in, price_out: per million tokens of the prompts and the completions; None: not known.
    """

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    price_in: float | None = None
    price_out: float | None = None

    def send(self, retry: bool) -> None:
        """One more request."""
        for each in self._each():
            each.requests += 1
            each.retries += retry

    def count(self, prompt_tokens: int, completion_tokens: int) -> None:
        """One more answer."""
        for each in self._each():
            each.prompt_tokens += prompt_tokens
            each.completion_tokens += completion_tokens

    @property
    def cost(self) -> float | None:
        """In the currency of the prices; None where they are not given."""
        if self.price_in is None or self.price_out is None:
            return None
        return (self.prompt_tokens * self.price_in + self.completion_tokens * self.price_out) / 1e6

    def _each(self) -> tuple[Usage, ...]:
        apart = _apart.get()
        if apart is None:
            return (self,)
        return self, apart.setdefault(id(self), Usage(price_in=self.price_in, price_out=self.price_out))


@contextmanager
def apart() -> Iterator[dict[int, Usage]]:
    """Count what is asked for from inside, in the tasks and other event loops that it goes through, too.

    Gives a mapping that grows, a Usage for each policy that asks; all of it is counted in the policy's own as well.
    """
    found: dict[int, Usage] = {}
    token = _apart.set(found)
    try:
        yield found
    finally:
        _apart.reset(token)
