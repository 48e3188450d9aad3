"""The instrument itself: what was opened since is a trace, what others close meanwhile is none."""

from __future__ import annotations

import os
import subprocess

from tests.verifiers import traces


def test_what_is_left_open_is_seen_and_what_others_close_is_not() -> None:
    others = os.pipe()
    before = traces.snapshot()
    for end in others:
        os.close(end)
    assert traces.difference(before, seconds=0.0) == {}
    ours = os.pipe()  # under the very numbers that have just become free
    with subprocess.Popen(["sleep", "60"]) as left:
        try:
            seen = traces.difference(before, seconds=0.0)
            assert set(seen) == {f"descriptors of {os.getpid()}", "processes"}
            assert seen["processes"][1] - seen["processes"][0] == {left.pid}
        finally:
            left.kill()
            for end in ours:
                os.close(end)
    assert traces.difference(before) == {}
