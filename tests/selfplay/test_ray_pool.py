"""Workers on Ray: what one process plays, whatever dies meanwhile, and each job once."""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from policy.base import BadPolicy
from selfplay.cluster import join
from selfplay.pool import Done, LocalPool, Pool, PoolBroken
from selfplay.ray_pool import RayPool
from selfplay.trajectory import Job, Trajectory
from selfplay.workers import LAYOUTS, Layout
from tests.selfplay.fakes import Factory, Memory, Shelf, Unfinished, jobs, timeless

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]
JOBS = jobs(40)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    leave = join(None, 8)
    yield
    leave()


@pytest.fixture(scope="module")
def expected() -> dict[str, Trajectory]:
    """What one process makes of all jobs."""
    factory, store = Factory(), Memory()
    with closing(LocalPool(factory.player(factory.policy()), store)) as pool:
        assert len(list(pool.play(JOBS, None))) == len(JOBS)
    return {t.episode_id: timeless(t) for t in store.trajectories(0)}


@pytest.fixture
def trouble(tmp_path: Path) -> Path:
    (tmp_path / "trouble").mkdir()
    return tmp_path / "trouble"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "shelf").mkdir()
    return Shelf(tmp_path / "shelf")


def pid(worker: str) -> int:
    return int(worker.rpartition(":")[2])


def all_there(told: Sequence[Done], shelf: Shelf, expected: dict[str, Trajectory], broken: Sequence[Job] = ()) -> None:
    """Nothing is lost, nothing doubled, nothing different; `broken` jobs are errors."""
    assert Counter(done.episode_id for done in told) == Counter(list(expected))
    rows = shelf.rows()
    assert Counter(row.episode_id for row in rows) == Counter(list(expected))
    failed = {job.episode_id for job in broken}
    assert {row.episode_id for row in rows if row.failed} == failed
    assert all(timeless(row) == expected[row.episode_id] for row in rows if row.episode_id not in failed)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_two_workers_play_what_one_process_plays(
    cluster: None, shelf: Shelf, expected: dict[str, Trajectory], kind: str
) -> None:
    with closing(RayPool(Factory(), shelf, Layout(kind, workers=2), chunk=3, in_flight=3)) as pool:
        assert isinstance(pool, Pool)
        told = []
        for done in pool.play(iter(JOBS), None):
            told.append(done)
            assert done.episode_id in {t.episode_id for t in shelf.trajectories(0)}  # stored before told
        all_there(told, shelf, expected)
        assert {done.policy_version for done in told} == {"uniform"}
        workers, generations = {done.worker for done in told}, count(1)
        while len(workers) < 2:  # one that is up late plays with the other then; and again, with the same processes
            again = list(pool.play(jobs(20, generation=next(generations)), None))
            assert len(again) == 20
            workers |= {done.worker for done in again}
        assert len(workers) == 2 and len(list(pool.play(jobs(5, generation=next(generations)), None))) == 5


def test_a_worker_that_is_killed_loses_nothing(
    cluster: None, shelf: Shelf, expected: dict[str, Trajectory], trouble: Path
) -> None:
    for job in (JOBS[5], JOBS[30]):
        (trouble / f"kill-once-{job.problem.id}").touch()
    with closing(RayPool(Factory(str(trouble)), shelf, Layout(workers=2), chunk=3, in_flight=2)) as pool:
        told = []
        for done in pool.play(JOBS, None):
            told.append(done)
            if len(told) == 12:
                os.kill(pid(done.worker), signal.SIGKILL)
        all_there(told, shelf, expected)
    assert not list(trouble.iterdir())


def test_a_shared_policy_that_is_killed_is_asked_again(
    cluster: None, shelf: Shelf, expected: dict[str, Trajectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr("selfplay.ray_pool.DEATHS", 2)  # deaths with work done in between are not in a row

    with closing(RayPool(Factory(), shelf, Layout("shared", workers=2), chunk=3, in_flight=2)) as pool:
        told = []
        for done in pool.play(JOBS, None):
            told.append(done)
            if len(told) in (7, 25):
                server = ray.get(pool._servers[0].handle.hello.remote(None)).name
                os.kill(pid(server), signal.SIGKILL)
        all_there(told, shelf, expected)


def test_a_job_that_kills_its_workers_is_an_error_and_no_other_is(
    cluster: None, shelf: Shelf, expected: dict[str, Trajectory], trouble: Path
) -> None:
    killer = next(job for job in JOBS[3:] if expected[job.episode_id].answer is not None)
    (trouble / f"kill-{killer.problem.id}").touch()
    with closing(RayPool(Factory(str(trouble)), shelf, Layout(workers=2), chunk=3, in_flight=2)) as pool:
        told = list(pool.play(JOBS, None))
    all_there(told, shelf, expected, broken=[killer])
    (row,) = [row for row in shelf.rows() if row.failed]
    assert row.policy_version == "uniform" and "its worker died 3 times" in row.verdict.detail
    assert [done.status for done in told if done.episode_id == killer.episode_id] == ["error"]


def test_a_worker_that_stalls_is_replaced(
    cluster: None, shelf: Shelf, expected: dict[str, Trajectory], trouble: Path
) -> None:
    stuck = next(job for job in JOBS[3:] if expected[job.episode_id].answer is not None)
    (trouble / f"hang-once-{stuck.problem.id}").touch()
    layout = Layout(workers=2)
    with closing(RayPool(Factory(str(trouble)), shelf, layout, chunk=3, in_flight=2, stall_seconds=8)) as pool:
        all_there(list(pool.play(JOBS, None)), shelf, expected)
        assert sum(worker.deaths for worker in pool._workers) == 1


def test_a_run_goes_on_with_the_workers_that_come_up(
    cluster: None, shelf: Shelf, expected: dict[str, Trajectory], trouble: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    log = logging.Logger("of this test alone")  # others may have silenced all that were there before them
    log.addHandler(Told())
    monkeypatch.setattr("selfplay.ray_pool._LOG", log)
    stuck = next(job for job in JOBS[3:] if expected[job.episode_id].answer is not None)
    (trouble / f"hang-once-{stuck.problem.id}").touch()  # longer than the wait for the other worker
    layout = Layout(workers=2, cpus=5)  # of 8: there is no place for a second one
    with closing(RayPool(Factory(str(trouble)), shelf, layout, chunk=3, start_seconds=20, stall_seconds=25)) as pool:
        all_there(list(pool.play(JOBS, None)), shelf, expected)
    assert told == ["only 1 of 2 workers are up after 20 s; the run goes on with these"]


@pytest.mark.parametrize("kind", LAYOUTS)
def test_code_that_cannot_be_imported_yet_is_tried_again(
    cluster: None, shelf: Shelf, expected: dict[str, Trajectory], trouble: Path, kind: str
) -> None:
    for name in ("missing-1", "missing-2"):
        (trouble / name).touch()
    with closing(RayPool(Unfinished(str(trouble)), shelf, Layout(kind, workers=2), chunk=3, in_flight=2)) as pool:
        all_there(list(pool.play(JOBS, None)), shelf, expected)
    assert not list(trouble.iterdir())
    (trouble / "missing-for-good").touch()
    said = r"^(worker|policy) \d died 6 times in a row .*: ModuleNotFoundError: No module named 'elsewhere'$"
    lost = RayPool(Unfinished(str(trouble)), shelf, Layout(kind, workers=2))
    with closing(lost), pytest.raises(PoolBroken, match=said):
        list(lost.play(JOBS, None))


def test_nobody_plays_on_when_nobody_looks(cluster: None, shelf: Shelf, expected: dict[str, Trajectory]) -> None:
    with closing(RayPool(Factory(), shelf, Layout(workers=2), chunk=2, in_flight=2)) as pool:
        with closing(pool.play(JOBS, None)) as playing:
            next(playing)  # type: ignore[call-overload]
        stored = {t.episode_id for t in shelf.trajectories(0)}
        told = list(pool.play([job for job in JOBS if job.episode_id not in stored], None))
        assert stored | {done.episode_id for done in told} == set(expected)
        assert {timeless(t) for t in shelf.trajectories(0)} == set(expected.values())


def test_what_cannot_be_played_is_said_in_one_line(cluster: None, shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_bytes(b"1")
    with closing(RayPool(Factory(), shelf, Layout(workers=1))) as pool:
        with pytest.raises(BadPolicy, match=r"^the policy uniform takes no adapter$"):
            list(pool.play(JOBS, tmp_path / "adapter"))
        assert len(list(pool.play(JOBS[:3], None))) == 3
    lost = RayPool(Factory(), Shelf(tmp_path / "nowhere"), Layout(workers=1))
    with closing(lost), pytest.raises(FileNotFoundError):
        list(lost.play(JOBS, None))
    with pytest.raises(PoolBroken, match=r"^a policy needs 1 GPUs, and this machine has 0; give selfplay.gpus=0, or"):
        RayPool(Factory(), shelf, Layout("shared", workers=1, gpus=1))
    large = RayPool(Factory(), shelf, Layout(workers=1, cpus=1000), start_seconds=2)
    said = r"^no worker was ready within 2 s; free in the cluster: \d+ CPU$"
    with closing(large), pytest.raises(PoolBroken, match=said):
        list(large.play(JOBS, None))


@pytest.mark.parametrize("kind", LAYOUTS)
def test_workers_wear_the_adapter_that_was_asked_for(cluster: None, shelf: Shelf, tmp_path: Path, kind: str) -> None:
    from policy.transformer import Transformer

    path = "./policy/shipped"
    adapter = lora(path, tmp_path / "adapter")
    base, worn = (Transformer(path, name, threads=1) for name in (None, str(adapter)))
    factory, local = Factory(model=path), Memory()
    with closing(LocalPool(factory.player(factory.policy()), local)) as alone:
        list(alone.play(jobs(4, generation=1), adapter))
    with closing(RayPool(factory, shelf, Layout(kind, workers=2), chunk=1)) as pool:
        for generation, policy in enumerate((base, worn, base)):
            told = list(pool.play(jobs(4, generation=generation), adapter if policy is worn else None))
            assert [done.policy_version for done in told] == [policy.version] * 4
    here = {t.episode_id: t for t in local.trajectories(1)}
    for t in shelf.trajectories(1):  # what else is in a batch rounds numbers: texts are the same, numbers nearly
        assert (t.answer, t.tokens, len(t.examples)) == (here[t.episode_id].answer, here[t.episode_id].tokens,
                                                         len(here[t.episode_id].examples))  # fmt: skip
        assert [line.thoughts for line in t.lines] == [line.thoughts for line in here[t.episode_id].lines]


def lora(base: str, target: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules=["q_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(target)
    return target
