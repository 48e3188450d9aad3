"""A user's scoring functions: some that work, and some that fail in every way there is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from fractions import Fraction
from typing import Any


def score(problem: dict[str, Any], answer: str) -> float:
    """1 for the answer of the row, half for one of its length."""
    if answer == problem.get("answer"):
        return 1.0
    return 0.5 if len(answer) == len(str(problem.get("answer"))) else 0.0


def loud(problem: dict[str, Any], answer: str) -> float:
    """Prints what would be an answer of the process."""
    print('{"value": 1.0}', flush=True)
    sys.stdout.write("noise\n")
    return 0.0


def says(problem: dict[str, Any], answer: str) -> Any:
    """Whatever the answer asks for."""
    return {
        "nan": float("nan"), "inf": float("inf"), "two": 2, "minus": -0.01, "text": "1.0", "none": None, "list": [1.0],
        "true": True, "false": False, "one": 1, "tuple": (1,), "third": 1 / 3, "huge": 10**400,
        "bytes": b"1", "just above": Fraction(10**20 + 1, 10**20),
    }[answer]


def forks(problem: dict[str, Any], answer: str) -> float:
    """Its child says that all is well, later or first."""
    if answer in ("late", "early"):
        if os.fork() == 0:
            time.sleep(0.2 if answer == "late" else 0)
            return 1.0
        time.sleep(0.2 if answer == "early" else 0)
        return 0.0
    return 0.25


def fails(problem: dict[str, Any], answer: str) -> float:
    """Ends badly in the way that the answer names."""
    if answer == "exit":
        sys.exit(0)
    if answer == "die":
        os._exit(0)
    if answer == "hang":
        time.sleep(1000)
    if answer == "spin":
        while True:
            pass
    if answer == "child":
        subprocess.run([sys.executable, "-c", "import time; time.sleep(1000)"], check=True)
    if answer == "memory":
        return float(len(bytearray(1 << 40)))
    raise KeyError(answer)
