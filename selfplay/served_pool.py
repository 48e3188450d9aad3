"""A pool whose players share the model of a server: it wears each generation before that is played."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from policy.base import Adaptable, BadPolicy
from selfplay.pool import Done, Pool, PoolBroken
from selfplay.trajectory import Job


class ServedPool:
    """Has the server load an adapter from where the learner wrote it; players then find it loaded already.

    Args:
        pool: whose players ask the server; closed with this.
        policy: asks the server too, and only for adapters.
    """

    def __init__(self, pool: Pool, policy: Adaptable) -> None:
        self._pool, self._policy = pool, policy

    def play(self, jobs: Iterable[Job], adapter: str | Path | None) -> Iterator[Done]:
        """See Pool. An adapter that the server does not load says nothing against the adapter: it is PoolBroken."""
        try:
            self._policy.load_adapter(adapter)
            yield from self._pool.play(jobs, adapter)
        except BadPolicy as error:
            raise PoolBroken(str(error)) from error

    def close(self) -> None:
        """See Pool."""
        self._pool.close()
