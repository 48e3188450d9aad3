"""What a run was: config, git revision, machine, versions, seeds. One JSON file in every run directory."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

from commands.errors import BadInput
from commands.usage import as_usage, together
from policy import files

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("torch", "transformers", "peft", "safetensors", "hydra-core", "sympy", "numpy", "pyarrow", "matplotlib",
             "ray")


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all. Raises BadInput if the disk refuses, leaving nothing behind."""
    try:
        files.write_atomically(path, write)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}; free some space or choose another place"
                       ) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else works in this run's directory. The kernel lets go of the lock however this process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(f"another process is at work in {folder}; wait for it, or choose another run=") from error
        yield


def claim(folder: Path) -> None:
    """Raises BadInput if a run is there already: two runs in one directory would be taken for one."""
    if (folder / "manifest.json").exists():
        raise BadInput(f"{folder} holds a run already; choose another place or remove it")


class Attempt:
    """One of the attempts that a run may take to its end, and the manifest of the run.

    The manifest's facts are those of the first attempt, but for the status and the end; `attempts` lists what may have
    changed since: when each began and ended, its command, revision and versions, and what became of it.

    Args:
        path: of the manifest.
        before: what it was, where there is one.
        manifest: what it is now.

    Attributes:
        counting: tells at its end what this attempt has asked servers for (commands/usage.py); None for nothing. The
            manifest's `usage` is that of all attempts that came to an end.
    """

    def __init__(self, path: Path, before: Mapping[str, Any] | None, manifest: dict[str, Any]) -> None:
        self._path, self._before, self.manifest = path, before, manifest
        self.counting: Callable[[], dict[str, Any] | None] = lambda: None
        write_json(path, manifest)

    def end(self, status: str, reason: str | None = None, **more: Any) -> None:
        """Say what became of it, with a line about why; `more` is for the run."""
        how = {"status": status, "ended": now()} | ({} if reason is None else {"reason": reason})
        attempts = self.manifest["attempts"]
        attempts[-1] |= how | as_usage(self.counting())
        self.manifest |= how | more | as_usage(together(each["usage"] for each in attempts if "usage" in each))
        write_json(self._path, self.manifest)

    def finish(self, worked: bool) -> None:
        """The run is finished; an attempt that found it so, and had nothing to do, is none."""
        if worked or self._before is None or self._before.get("status") != "finished":
            self.end("finished")
        else:
            write_json(self._path, self._before)


def _about(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of one attempt."""
    names = ("started", "ended", "status", "command_line", "git", "versions")
    return {name: manifest[name] for name in names if name in manifest}


def reopen(folder: Path, config: Mapping[str, Any], seed: int, free: Collection[str], **more: Any) -> Attempt:
    """Open a run that may be there already, for one more attempt.

    Args:
        config: resolved, of this run.
        more: see describe.
        free: names of options that may change between an interruption and the resumption, `group` or `group.option`.

    Raises: BadInput, naming the differing options, if the directory holds a run of another configuration.
    """
    path = folder / "manifest.json"
    new = describe(config, {"seed": seed}, **more)
    if not path.exists():
        return Attempt(path, None, {**new, "attempts": [_about(new)]})
    try:
        before = json.loads(path.read_text())
        was = binding(dict(before["config"]), free)
        earlier = [{**each, "status": "cut off" if each["status"] == "running" else each["status"]}  # nobody is left
                   for each in before.get("attempts", [_about(before)])]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is not the manifest of a run; remove it, or choose another directory") from error
    asked = binding(config, free)
    if differing := sorted(key for key in {*was, *asked} if was.get(key, ...) != asked.get(key, ...)):
        raise BadInput(f"{folder} holds a run with other settings of {', '.join(differing)}; "
                       "choose another directory, or remove it")
    first = {name: value for name, value in before.items() if name not in ("ended", "reason")}
    return Attempt(path, before, {**first, "status": "running", "attempts": [*earlier, _about(new)]})


def binding(config: Mapping[str, Any], free: Collection[str]) -> dict[str, Any]:
    """The options that decide what comes of a run, by their dotted names: all but those that are free."""
    return {name: value for name, value in _flat(config).items()
            if not any(name == each or name.startswith(f"{each}.") for each in free)}


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return found


def describe(config: Mapping[str, Any], seeds: Mapping[str, int], **more: Any) -> dict[str, Any]:
    """The manifest of a run that starts now; `more` is what the command adds."""
    return {
        "command_line": sys.orig_argv,
        "config": dict(config),
        "seeds": dict(seeds),
        "git": _git(),
        "machine": {
            "cpu": _cpu(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
            "gpu": _gpu(),
            "platform": platform.platform(),
        },
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
        "started": now(),
        "status": "running",
        **more,
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _run(*command: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _git() -> dict[str, Any]:
    """Revision and whether tracked files differ from it; both None outside a repository."""
    revision = _run("git", "rev-parse", "HEAD")
    changes = _run("git", "status", "--porcelain", "--untracked-files=no")
    return {"revision": revision, "dirty": None if changes is None else bool(changes)}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu() -> list[str] | None:
    """Names of the GPUs; None where the driver's tool is missing or sees none."""
    names = _run("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return names.splitlines() if names else None
