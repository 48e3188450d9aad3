"""What `solve` shows in a terminal, and what it leaves there."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def in_a_terminal(*words: str) -> tuple[int, str]:
    """The exit code of a command, and all that it wrote."""
    leader, follower = pty.openpty()
    process = subprocess.Popen([sys.executable, str(ROOT / "run_experiment.py"), *words], cwd=ROOT, stdin=follower,
                               stdout=follower, stderr=follower, env={**os.environ, "TERM": "xterm-256color"})
    os.close(follower)
    written = b""
    with suppress(OSError):  # the end of what a terminal shows
        while piece := os.read(leader, 65536):
            written += piece
    os.close(leader)
    return process.wait(60), written.decode()


def test_a_terminal_is_told_what_is_waited_for() -> None:
    code, written = in_a_terminal("solve", "4 9 10 13", "domain=game24", "policy=uniform", "budget=300ms+9000tok")
    assert "loading the policy" in written and "tokens," in written, "nothing was said before the answer"
    assert code in (0, 1) and written.index("loading the policy") < written.index("tokens,")
    assert "domain game24, policy uniform]" in " ".join(written.split())  # a narrow terminal breaks the line


def test_a_program_that_reads_json_is_not() -> None:
    code, written = in_a_terminal("solve", "4 9 10 13", "domain=game24", "policy=uniform", "budget=9000tok",
                                  "output=json")
    assert code in (0, 1) and written.startswith("{") and len(written.splitlines()) == 1
