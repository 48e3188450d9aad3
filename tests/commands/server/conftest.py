"""Real servers in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from openai import OpenAI

ENTRY = str(Path(__file__).resolve().parents[3] / "run_experiment.py")
BOUNDS = ("policy=uniform", "settings.at_once=2", "settings.queue=2", "settings.header_timeout=1",
          "settings.body_timeout=1", "settings.send_timeout=1", "settings.max_body=20000", "settings.budget=300ms",
          "settings.max_budget=20s", "settings.efforts.low=200ms",
          "settings.efforts.high=20s", "settings.efforts.xhigh=20s")
NEVER = "1 1 1 1 2 2 -> 9999"
"""A problem that no search ever proves."""


@dataclass
class Served:
    """A server that runs.

    Attributes:
        url: without a path.
        errors: the file of its log.
    """

    process: subprocess.Popen[str]
    url: str
    errors: Path

    def client(self, key: str = "none") -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=30)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def listening(self) -> set[str]:
        """Addresses on which the process listens, as the kernel tells them."""
        place = Path(f"/proc/{self.process.pid}")
        own = {os.readlink(file) for file in (place / "fd").iterdir()}
        tables = [(place / "net" / name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
        rows = [line.split() for table in tables for line in table]
        return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own}

    @property
    def sockets(self) -> set[str]:
        """That the process has open, by name: those of earlier tests may still be closing."""
        found = set()
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.add(os.readlink(link))
        return {name for name in found if name.startswith("socket:")}

    def gauge(self, name: str, key: str = "none") -> float:
        text = self.client(key).get(f"{self.url}/metrics", cast_to=str)
        return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"system2_{name} ")))

    def wait(self, name: str, value: float, seconds: float = 10.0) -> float:
        """Seconds until a gauge has a value."""
        started = time.monotonic()
        while self.gauge(name) != value:
            assert time.monotonic() - started < seconds, (name, self.gauge(name))
            time.sleep(0.01)
        return time.monotonic() - started


@contextmanager
def serving(folder: Path, *options: str, **environment: str) -> Iterator[Served]:
    errors = folder / "log"
    with errors.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, ENTRY, "serve", "port=0", *options], cwd=folder, text=True, stdout=subprocess.PIPE,
            stderr=log, env={**os.environ, **environment})
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving system-2 on "), (line, errors.read_text())
        yield Served(process, line.split(" on ")[1].split("/v1")[0], errors)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Without keys, for whoever leaves nothing running behind."""
    with serving(tmp_path_factory.mktemp("server"), *BOUNDS) as served:
        yield served


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., object]:
    """A server of one test's own, with the same bounds: `with start("option=value") as served`."""
    return lambda *options, **environment: serving(tmp_path, *BOUNDS, *options, **environment)
