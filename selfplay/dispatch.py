"""Who plays which jobs next, and what becomes of jobs whose worker has died; not how workers are reached."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from selfplay.trajectory import Job

Worker = int


@dataclass(frozen=True, eq=False)
class Chunk:
    """Jobs sent to a worker together."""

    jobs: tuple[Job, ...]
    alone: bool = False


class Dispatcher:
    """Hands out jobs in chunks, a bounded number of them at a time to each worker.

    Jobs whose worker died are handed out again. A death convicts nobody: dozens of jobs were in flight. So jobs that
    were there twice wait until a worker has nothing else to do and are played alone; a job whose worker dies then
    too, or `lives` times in all, is given up.

    Args:
        jobs: taken as there is room for them.
        chunk: jobs handed out together at most.
        in_flight: chunks at a worker at most.
        lives: deaths of its worker that a job survives, and one; at least 2.
    """

    def __init__(self, jobs: Iterable[Job], chunk: int, in_flight: int, lives: int = 3) -> None:
        self._fresh = iter(jobs)
        self._chunk, self._in_flight, self._lives = chunk, in_flight, lives
        self._again: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._deaths: Counter[str] = Counter()
        self._at: defaultdict[Worker, set[Chunk]] = defaultdict(set)

    def next(self, worker: Worker) -> Chunk | None:
        """What to send to a worker now; None if it has enough, or nothing is left."""
        flying = self._at[worker]
        if len(flying) >= self._in_flight or any(chunk.alone for chunk in flying):
            return None
        jobs = [self._again.popleft() for _ in range(min(self._chunk, len(self._again)))]
        jobs += islice(self._fresh, self._chunk - len(jobs))
        if jobs:
            chunk = Chunk(tuple(jobs))
        elif self._suspects and not flying:
            chunk = Chunk((self._suspects.popleft(),), alone=True)
        else:
            return None
        flying.add(chunk)
        return chunk

    def done(self, worker: Worker, chunk: Chunk) -> None:
        """A worker has played a chunk, or the chunk is being dealt with."""
        self._at[worker].remove(chunk)

    def died(self, jobs: Sequence[Job]) -> list[Job]:
        """Jobs were lost with their worker: have them played again, but for those returned, which are given up."""
        given_up = []
        for job in jobs:
            self._deaths[job.episode_id] += 1
            deaths = self._deaths[job.episode_id]
            if deaths >= self._lives:
                given_up.append(job)
            elif deaths >= self._lives - 1:
                self._suspects.append(job)
            else:
                self._again.append(job)
        return given_up
