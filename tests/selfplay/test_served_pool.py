"""A pool on a server's model: the server wears what is played, and where it does not, the run stops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from policy.base import BadPolicy
from selfplay.pool import Done, Pool, PoolBroken
from selfplay.served_pool import ServedPool
from selfplay.trajectory import Job


class Server:
    """Notes what it is to wear, and refuses one folder."""

    def __init__(self, refuses: str = "") -> None:
        self.worn: list[str | None] = []
        self._refuses = refuses

    def load_adapter(self, folder: str | Path | None) -> None:
        if str(folder) == self._refuses:
            raise BadPolicy("the server did not load it")
        self.worn.append(None if folder is None else str(folder))


class Players:
    """Plays one job, and notes what the server wears then."""

    def __init__(self, server: Server) -> None:
        self.server, self.seen, self.closed = server, [""], False

    def play(self, jobs: Iterable[Job], adapter: str | Path | None) -> Iterator[Done]:
        self.seen = [str(worn) for worn in self.server.worn]
        yield Done("id", "correct", True, 0.5, True, 10, 0.1, "v", "w")

    def close(self) -> None:
        self.closed = True


def test_the_server_wears_it_before_anybody_plays() -> None:
    server = Server()
    players = Players(server)
    pool = ServedPool(players, server)
    assert isinstance(pool, Pool)
    for adapter, worn in ((None, ["None"]), ("generation-1", ["None", "generation-1"])):
        assert [done.episode_id for done in pool.play([], adapter)] == ["id"] and players.seen == worn
    pool.close()
    assert players.closed


def test_what_the_server_does_not_load_stops_the_run_and_plays_nothing() -> None:
    server = Server(refuses="generation-1")
    players = Players(server)
    with pytest.raises(PoolBroken, match="the server did not load it"):
        list(ServedPool(players, server).play([], "generation-1"))
    assert players.seen == [""]
