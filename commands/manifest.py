"""What a run was: config, git revision, machine, versions, seeds. One JSON file in every run directory."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

from commands.errors import BadInput
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


def claim(folder: Path) -> None:
    """Raises BadInput if a run is there already: two runs in one directory would be taken for one."""
    if (folder / "manifest.json").exists():
        raise BadInput(f"{folder} holds a run already; choose another place or remove it")


def reopen(
    folder: Path, config: Mapping[str, Any], seed: int, free: Collection[str], **more: Any
) -> dict[str, Any]:  # fmt: skip
    """Open a run that may be there already, and write its manifest anew; returns that.

    Args:
        config: resolved, of this run.
        more: see describe.
        free: names of options that may change between an interruption and the resumption, `group` or `group.option`.

    Raises: BadInput, naming the differing options, if the directory holds a run of another configuration.
    """
    path = folder / "manifest.json"
    if path.exists():
        try:
            before = dict(json.loads(path.read_text())["config"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path} is not the manifest of a run; remove it, or choose another directory") from error
        was, asked = binding(before, free), binding(config, free)
        if differing := sorted(key for key in {*was, *asked} if was.get(key, ...) != asked.get(key, ...)):
            raise BadInput(f"{folder} holds a run with other settings of {', '.join(differing)}; "
                           "choose another directory, or remove it")
    manifest = describe(config, {"seed": seed}, **more)
    write_json(path, manifest)
    return manifest


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
