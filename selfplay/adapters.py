"""Adapters on their way: a folder as bytes, the same bytes as a folder of a cache, and who wears which when."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy.base import Adaptable, BadPolicy, Policy
from selfplay.files import lock

KEPT = 8  # adapters in a cache; those asked for longest ago go first


def pack(folder: str | Path) -> bytes:
    """The files of a folder as bytes: the same files, whenever and by whom they were written, give the same bytes.

    Folders within it and hidden files stay behind. Raises BadPolicy where there are no files.
    """
    found = Path(folder).iterdir() if Path(folder).is_dir() else ()
    files = [file for file in sorted(found) if file.is_file() and not file.name.startswith(".")]
    if not files:
        raise BadPolicy(f"there is no adapter in {str(folder)!r}")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for file in files:
            content = file.read_bytes()
            entry = tarfile.TarInfo(file.name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def content_key(packed: bytes) -> str:
    """32 hex digits that name a packed adapter by what it holds."""
    return hashlib.blake2b(packed, digest_size=16).hexdigest()


def unpack(packed: bytes, cache: Path) -> Path:
    """The adapter as a folder of a cache, named by its key; or by another name, where a damaged one has that."""
    cache.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".", dir=cache))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(part, filter="data")
    key = content_key(packed)
    try:
        return part.rename(cache / key)
    except OSError:  # there is one: it is damaged, or another process was faster
        if (folder := cached(key, cache)) is None:
            return part
        shutil.rmtree(part, ignore_errors=True)
        return folder


def cached(key: str, cache: Path) -> Path | None:
    """The folder of a cache with exactly this content, if there is one."""
    folder = cache / key
    try:
        if content_key(pack(folder)) != key:
            return None
        os.utime(folder)
    except (BadPolicy, OSError):  # it is not there, empty, or cannot be read
        return None
    return folder


def node_cache() -> Path:
    """The cache that this user's processes on this machine share; nobody else may write to it."""
    cache = Path(tempfile.gettempdir()) / f"system-2-engine-{os.getuid()}" / "adapters"
    for folder in (cache.parent, cache):
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
            raise PermissionError(f"{folder} belongs to somebody else")
    return cache


@contextmanager
def _opened(cache: Path) -> Iterator[int]:
    """To be locked. The kernel lets go of a lock however this process ends."""
    handle = os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


def _forget(cache: Path, damaged: str | None) -> None:
    """Keep the latest, but not one that is damaged, nor parts of those who were killed.

    Not while anybody loads: the next one sees to it. Nor where a file system knows no locks.
    """
    with suppress(OSError), _opened(cache) as handle:  # who has loaded need not know of troubles here
        if not lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return
        folders = sorted(cache.iterdir(), key=lambda folder: folder.lstat().st_mtime)
        useless = [folder for folder in folders if folder.name.startswith(".") or folder.name == damaged]
        for folder in (*useless, *[folder for folder in folders if folder not in useless][:-KEPT]):
            shutil.rmtree(folder, ignore_errors=True)


def wear(policy: Policy, folder: str | None) -> None:
    """See Adaptable.load_adapter. Raises BadPolicy for a policy that takes no adapter."""
    if not isinstance(policy, Adaptable):
        raise BadPolicy(f"the policy {policy.version} takes no adapter")
    policy.load_adapter(folder)


@dataclass(frozen=True)
class Parcel:
    """An adapter on its way to another process.

    Attributes:
        key: what it holds; see `content_key`.
        box: one awaitable that gives its bytes; fetched only where they are not in a cache.
    """

    key: str
    box: tuple[Any]


@asynccontextmanager
async def delivered(parcel: Parcel, cache: Path) -> AsyncIterator[Path]:
    """A parcel's adapter as a folder of a cache, which no process removes while this context lasts: time to load it.

    Its bytes are asked for if it is not there.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with _opened(cache) as handle:
        while lock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB) is False:  # somebody forgets
            await asyncio.sleep(0.01)
        folder = cached(parcel.key, cache) or unpack(await parcel.box[0], cache)
        yield folder
    _forget(cache, None if folder.name == parcel.key else parcel.key)


class Wardrobe:
    """Sees to it that a process changes its adapter only while nobody plays, and all who play wear the same.

    Args:
        load: puts an adapter on; None is the base policy. Not called for the one worn already, first of all None. If it
            raises, the one before is still worn.

    Attributes:
        guests: how many play now.
    """

    def __init__(self, load: Callable[[Parcel | None], Awaitable[None]]) -> None:
        self.guests = 0
        self._load = load
        self._worn: str | None = None
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def wearing(self, parcel: Parcel | None) -> AsyncIterator[None]:
        """Wait until those who wear something else are gone, change, and keep it on."""
        key = None if parcel is None else parcel.key
        async with self._changed:
            await self._changed.wait_for(lambda: self._worn == key or not self.guests)
            if self._worn != key:
                await self._load(parcel)
                self._worn = key
            self.guests += 1
        try:
            yield
        finally:
            self.guests -= 1
            async with self._changed:
                self._changed.notify_all()
