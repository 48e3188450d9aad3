"""The arms of the race that need no other environment, each for some seconds."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.race.__main__ import domain_arguments
from benchmarks.race.arms import ARMS, Kind
from benchmarks.race.measuring import MEASURES, measure, worn
from benchmarks.race.training import PATIENCE, Track, train
from verifiers.domains.countdown import Countdown

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]  # a busy machine is slow to start processes
GAME = Countdown(**domain_arguments())
SMALL = ("selfplay=local", "selfplay.problems=6", "selfplay.lines=2", "budget=150tok", "training.max_steps=2",
         "training.batch_tokens=512", "policy.threads=1")  # fmt: skip


def track(*marks: float) -> Track:
    return Track(domain_arguments(), [], 1, marks)


@pytest.fixture
def deaf() -> Iterator[None]:
    """As what a script starts in the background: Ctrl-C is not heard, by no process that is started either."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("arm", ["expert_iteration", "rejection_sampling"])
def test_self_play_goes_on_until_its_time_is_over(tmp_path: Path, deaf: None, arm: str):
    common = [option for option in ARMS[arm].common if not option.startswith("budget")]
    began = time.monotonic()
    taken = train(Kind.IMPROVE, [*common, *SMALL], 0, tmp_path, track(0.0, 0.3))
    assert taken[0].folder is None and taken[0].steps == 0
    assert time.monotonic() - began < 18 + PATIENCE  # it ended when it was asked to, and was not killed
    assert taken[1].steps >= 1 and 0 < taken[1].seconds <= 18
    assert taken[1].folder == str(tmp_path / "run" / f"generation-{taken[1].steps}")
    assert train(Kind.IMPROVE, [], 0, tmp_path, track(0.3)) == taken


def test_more_of_stage_one_is_measured(tmp_path: Path):
    options = (*ARMS["imitation"].options("lr1"), "batch_tokens=512")
    taken = train(Kind.IMITATION, options, 0, tmp_path, track(0.02, 0.2))
    assert [one.mark for one in taken] == [0.02, 0.2] and taken[1].steps > taken[0].steps >= 1
    problems = list(islice(GAME.problems("validation", 0), 2))
    found = [measure(worn(Kind.IMITATION, folder), GAME, "validation", problems, MEASURES, 1, tmp_path / "search")
             for folder in (None, taken[1].folder)]
    assert found[0].version != found[1].version
    assert all(set(one.correct) == set(MEASURES) and {len(digits) for digits in one.correct.values()} == {2}
               for one in found)
