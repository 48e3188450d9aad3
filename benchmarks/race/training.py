"""Runs an arm: a process of its own that trains for the minutes and leaves a policy at each mark."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from benchmarks.race.arms import Kind
from benchmarks.race.job import Job, Taken, read_marks, write_marks
from benchmarks.race.results import Refused

ROOT = Path(__file__).resolve().parent.parent.parent
BASE = ROOT / "policy" / "shipped"
DOMAIN = "game24"
LOG = "log.txt"
PATIENCE = 120.0
"""Seconds for a process to end after it was asked to."""


@dataclass(frozen=True)
class Track:
    """What all arms share.

    Attributes:
        domain: arguments of the domain's constructor.
        prompts: of all training problems.
        threads: of each arm.
        marks: minutes, ascending.
        trl_python: of the environment that TRL is in.
    """

    domain: dict[str, Any]
    prompts: Sequence[str]
    threads: int
    marks: Sequence[float]
    trl_python: str | None = None


def place(folder: Path, stage: str, arm: str, config: str, options: Sequence[str], seed: int) -> Path:
    """The folder of one training; one for each set of options, whatever its name."""
    digest = hashlib.blake2b("\n".join(options).encode(), digest_size=4).hexdigest()
    return folder / "runs" / stage / arm / f"{config}-{digest}" / f"seed{seed}"


def train(kind: Kind, options: Sequence[str], seed: int, folder: Path, track: Track) -> list[Taken]:
    """Train, unless that is done already; the policies at the marks. Raises Refused where the arm fails."""
    if (done := read_marks(folder)) is not None:
        return done
    if kind is Kind.IMPROVE:
        folder.mkdir(parents=True, exist_ok=True)
        return _improve(options, seed, folder, track)
    shutil.rmtree(folder, ignore_errors=True)  # what is half done cannot be gone on with
    folder.mkdir(parents=True)
    job = Job(str(BASE), track.domain, list(track.prompts), str(folder), seed, track.threads, list(track.marks),
              dotted(options))
    job.write(folder / "job.json")
    python = track.trl_python if kind is Kind.GRPO else sys.executable
    assert python is not None
    command = [python, "-m", f"benchmarks.race.{kind.value}", str(folder / "job.json")]
    with Process(command, folder, track.threads) as arm:
        arm.wait()
    taken = read_marks(folder)
    if taken is None:
        raise Refused(f"{kind.value} ended with {arm.code} before its last mark: {arm.said}")
    return taken


def dotted(options: Sequence[str]) -> dict[str, Any]:
    """Options as written for Hydra, as values; the later one counts."""
    plain = OmegaConf.to_container(OmegaConf.from_dotlist(list(options)))
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def _improve(options: Sequence[str], seed: int, folder: Path, track: Track) -> list[Taken]:
    """Self-play until the time is over. Its generations say how long they took."""
    run = folder / "run"
    command = [
        sys.executable, "run_experiment.py", "improve", f"domain={DOMAIN}", "selfplay.generations=100000",
        f"selfplay.workers={track.threads}", f"selfplay.pool={'ray' if track.threads > 1 else 'local'}",
        f"threads={track.threads}", "curves.of=none", "scalars=none",
        *options, f"seed={seed}", f"run={run}",
    ]  # fmt: skip
    limit = 60 * track.marks[-1]
    with Process(command, folder, track.threads) as arm:
        while arm.code is None and spent(run) < limit:
            time.sleep(0.2)
        alone = arm.code  # what it ended with before it was asked to
    if alone:
        raise Refused(f"improve ended with {alone}: {arm.said}")
    taken = champions(run, track.marks)
    write_marks(folder, taken)
    return taken


def spent(run: Path) -> float:
    """Seconds of self-play by now: of the phases that are over, and since the last of them."""
    path = run / "state.json"
    try:
        seconds = sum(json.loads(path.read_text())["seconds"].values())
        return float(seconds + time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return 0.0


def champions(run: Path, marks: Sequence[float]) -> list[Taken]:
    """The champion at each mark: of the last generation that was over by then."""
    path = run / "state.json"
    history = json.loads(path.read_text())["history"] if path.exists() else []
    taken = []
    for mark in marks:
        at = Taken(mark, 0.0, 0, None)
        for row in history:
            seconds = sum(row["seconds"].values())
            if seconds <= 60 * mark:
                folder = str(run / f"generation-{row['generation']}") if row["promoted"] else at.folder
                at = Taken(mark, seconds, row["generation"], folder)
        taken.append(at)
    return taken


class Process:
    """A process of an arm, told of in a log; it never outlives the block it is run in.

    Attributes:
        code: exit status; None while it runs.
    """

    def __init__(self, command: Sequence[str], folder: Path, threads: int) -> None:
        self._command, self._log = list(command), folder / LOG
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}

    def __enter__(self) -> Process:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL,
                                             stdout=log, stderr=subprocess.STDOUT)
        return self

    def __exit__(self, *error: object) -> None:
        self.interrupt()

    @property
    def code(self) -> int | None:
        return self._process.poll()

    @property
    def said(self) -> str:
        """The last line of the log, and where it lies."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"{lines[-1][:300] if lines else 'nothing was said'} ({self._log})"

    def wait(self) -> None:
        self._process.wait()

    def interrupt(self) -> None:
        """Ask it to end, and make it where that is not enough. Ctrl-C would not do: what is started in the background
        of a script does not hear it."""
        if self.code is None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
