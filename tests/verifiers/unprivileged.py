"""Run Python as somebody without privileges, whoever runs the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@cache
def prefix() -> tuple[str, ...]:
    """The words before a command: none if we have no privileges anyway.

    As root, another user id if that may read Python at all, else a user namespace in which we hold no capability.
    """
    if os.geteuid() != 0:
        return ()
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
    namespace = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
    code = ("import numpy, os, sys, verifiers.base\nos.stat(os.path.realpath(sys.executable))\n"
            "assert int(open('/proc/self/status').read().split('CapEff:')[1].split()[0], 16) == 0")
    for words in (nobody, namespace):
        try:
            if subprocess.run([*words, sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0:
                return words
        except FileNotFoundError:
            continue
    pytest.skip("neither setpriv nor unshare makes a user without privileges that can read this Python")


def run(code: str, *args: str) -> str:
    """What a script prints, run without privileges from the repository's root; it must succeed."""
    command = [*prefix(), sys.executable, "-c", code, *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_as_we_are(code: str, *args: str) -> str:
    """The same, with whatever privileges we have."""
    done = subprocess.run([sys.executable, "-c", code, *args], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
