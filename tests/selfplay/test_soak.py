"""Self-play for a long time takes no more memory than for a short one."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.selfplay.test_faults import begin

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(5000)]
MINUTES = float(os.environ.get("SOAK_MINUTES", "10"))


def resident(pid: int) -> int:
    """Bytes of memory a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_resident_memory_is_flat(tmp_path: Path) -> None:
    """Generation after generation: play, learning and matches. The last third takes what the second one took."""
    ends, held = time.monotonic() + 60 * MINUTES, []
    with ExitStack() as at_the_end:
        process = begin(tmp_path / "run", "selfplay.generations=100000")
        at_the_end.callback(process.wait)
        at_the_end.callback(process.kill)
        while time.monotonic() < ends:
            assert process.poll() is None, (tmp_path / "log.txt").read_text()
            time.sleep(1)
            held.append(resident(process.pid))
    generations = len(list((tmp_path / "run").glob("generation-*")))
    assert generations > MINUTES  # a short while each
    third = len(held) // 3
    before, after = (max(part) for part in (held[third : 2 * third], held[2 * third :]))
    assert after < 1.05 * before, f"{before >> 20} MiB, then {after >> 20} MiB, in {generations} generations"
