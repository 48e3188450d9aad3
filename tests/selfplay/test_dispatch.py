"""Dispatch: bounded work at each worker, nothing lost or doubled, and a job that kills is found out."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from selfplay.dispatch import Chunk, Dispatcher
from selfplay.trajectory import Job
from tests.selfplay.fakes import jobs

JOBS = jobs(60)


def test_work_is_bounded_and_taken_as_there_is_room() -> None:
    taken = []

    def endless():  # type: ignore[no-untyped-def]
        for job in JOBS:
            taken.append(job)
            yield job

    work = Dispatcher(endless(), chunk=4, in_flight=2)
    chunks = [work.next(0), work.next(0)]
    assert work.next(0) is None and len(taken) == 8
    assert [len(chunk.jobs) for chunk in chunks if chunk is not None] == [4, 4]
    assert work.next(1) is not None and len(taken) == 12


@settings(max_examples=60)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.sets(st.integers(0, 59), max_size=4), st.randoms())
def test_every_job_is_played_once_and_only_killers_are_given_up(
    chunk: int, in_flight: int, workers: int, killers: set[int], random
) -> None:  # type: ignore[no-untyped-def]
    """Workers die of killers at once; everybody else's chunks end in any order. Now and then one dies of nothing."""
    deadly = {JOBS[number].episode_id for number in killers}
    work, played, given_up = Dispatcher(iter(JOBS), chunk, in_flight), Counter[str](), Counter[str]()
    flying: list[tuple[int, Chunk]] = []
    accidents = 2

    def die(worker: int) -> None:
        lost: list[Job] = []
        for entry in [entry for entry in flying if entry[0] == worker]:
            flying.remove(entry)
            work.done(*entry)
            lost += entry[1].jobs
        given_up.update(job.episode_id for job in work.died(lost))

    while True:
        sent = [(worker, found) for worker in range(workers) if (found := work.next(worker)) is not None]
        flying += sent
        if not flying:
            break
        worker, landing = random.choice(flying)
        if any(job.episode_id in deadly for job in landing.jobs):
            die(worker)
        elif accidents and random.random() < 0.1 and not landing.alone:
            accidents -= 1
            die(worker)
        else:
            flying.remove((worker, landing))
            work.done(worker, landing)
            played.update(job.episode_id for job in landing.jobs)
    assert set(given_up) == deadly
    assert set(played) == {job.episode_id for job in JOBS} - deadly
    assert {*played.values(), *given_up.values()} <= {1}


def test_a_suspect_is_played_alone() -> None:
    work = Dispatcher(JOBS[:3], chunk=2, in_flight=2)
    for _ in range(2):
        first = work.next(0)
        assert first is not None and len(first.jobs) == 2
        work.done(0, first)
        assert work.died(first.jobs) == []
    # The third job is fresh; the two that saw two deaths wait until the worker has nothing else to do.
    fresh = work.next(0)
    assert fresh is not None and fresh.jobs == (JOBS[2],) and work.next(0) is None
    work.done(0, fresh)
    for expected in JOBS[:2]:
        alone = work.next(0)
        assert alone is not None and alone.jobs == (expected,) and work.next(0) is None
        work.done(0, alone)
        assert work.died(alone.jobs) == [expected]
    assert work.next(0) is None
