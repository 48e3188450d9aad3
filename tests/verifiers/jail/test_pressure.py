from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from verifiers.jail.isolation import BUSY, Limits
from verifiers.jail.pressure import Pressure


@pytest.mark.skipif(not Path("/proc/pressure/cpu").exists(), reason="this kernel does not count pressure")
def test_more_work_than_processors_is_counted() -> None:
    pressure = Pressure()
    before = pressure.stalled()
    spin = [sys.executable, "-c", "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"]
    spinning = [subprocess.Popen(spin) for _ in range(2 * (os.cpu_count() or 1))]
    for process in spinning:
        process.wait()
    assert pressure.stalled() - before > 0.1


def test_where_nothing_is_counted_no_time_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(os, "open", refuse)
    assert Pressure().stalled() == 0.0


def test_the_clock_of_a_job_stops_while_processors_are_short_but_not_for_ever() -> None:
    limits = Limits(wall_seconds=10)
    assert not limits.over(9.9, 0) and limits.over(10, 0)
    assert not limits.over(14, 5) and limits.over(15, 5)
    assert not limits.over(10 * BUSY - 0.1, 25) and limits.over(10 * BUSY, 25)
