"""Folders of weights that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from policy.value_head import FILE as VALUE_HEAD_FILE


def publish(folder: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a folder beside the target, make it durable, then move it into place.

    Raises FileExistsError if something that is no policy is in the way, OSError if the disk refuses, and whatever
    `write` raises; nothing is left behind then.
    """
    part, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{end}") for end in ("part", "old"))
    try:
        part.mkdir(parents=True)
        write(part)
        for file in part.iterdir():
            file.chmod(0o644)
            _sync(file)
        _sync(part)
        may_replace(folder)
        if folder.exists():
            folder.replace(old)
        part.replace(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def may_replace(folder: Path) -> None:
    """Raises FileExistsError unless the folder is empty, is not there, or holds a policy saved here."""
    if folder.exists() and not (folder.is_dir() and ((folder / VALUE_HEAD_FILE).exists() or not any(folder.iterdir()))):
        raise FileExistsError(errno.EEXIST, "something that is not a policy is in the way", str(folder))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
