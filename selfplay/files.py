"""A folder of small files in any file system that fsspec knows: each file appears whole or not at all.

What `write` guarantees when it returns:

- Local folders (a shared file system of a cluster included): the file was written under another name, flushed to the
  disk, renamed into place, and its folder flushed too. It survives a kill and, as far as the disk keeps its word, a
  loss of power.
- Object stores and memory: one upload, which such stores show whole or not at all.
- All others: written under another name and moved. It is as atomic and as durable as that file system's move.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from fsspec import AbstractFileSystem  # type: ignore[import-untyped]
from fsspec.core import url_to_fs  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

OBJECT_STORES = {"abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "oci", "oss", "s3", "s3a"}
PART = ".part"  # ends the names of files under way; such names begin with a dot, which readers of Parquet pass over
STALE = timedelta(days=1)  # a file under way of this age has no writer any more, where no lock can tell
ATTEMPTS = 3
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StoreError(Exception):
    """The place of the trajectories refuses, in one line that names it."""


class StoreFull(StoreError):
    """There is no space left, or no more of it is granted. Nothing half-written stays behind."""


def open_folder(url: str) -> Folder:
    """The folder at any URL or path that fsspec knows. Raises StoreError for one that it does not know."""
    try:
        system, root = url_to_fs(url)
    except (ImportError, OSError, TypeError, ValueError) as error:
        raise StoreError(f"cannot open {url}: {_reason(error)}") from error
    return LocalFolder(system, root) if isinstance(system, LocalFileSystem) else Folder(system, root)


class Folder:
    """Files by their names relative to a root, as in `journal/3/abc.parquet`.

    Everything raises StoreError (StoreFull where space is what is missing) when the file system refuses;
    FileNotFoundError only where it is said.
    """

    def __init__(self, system: AbstractFileSystem, root: str) -> None:
        self.system = system
        self.root = root.rstrip("/")
        protocols = (system.protocol,) if isinstance(system.protocol, str) else system.protocol
        self._whole = bool(OBJECT_STORES.intersection(protocols))

    def path(self, name: str) -> str:
        """The full path, as messages show it."""
        return str(self.system.unstrip_protocol(self._at(name)))

    def names(self, folder: str = "") -> list[str]:
        """What lies in a folder, sorted, files under way left out; nothing if there is no such folder."""
        return [name for name in self._listed(folder) if not name.startswith(".")]

    def write(self, name: str, content: Any) -> None:
        """Write a file of bytes (or of anything with their buffer protocol), as the module says."""
        with self._told("write", name):
            if self._whole:
                self.system.pipe_file(self._at(name), bytes(content))
                return
            part = self._at(_part_of(name))
            self.system.makedirs(os.path.dirname(part), exist_ok=True)
            try:
                self.system.pipe_file(part, bytes(content))
                self.system.mv(part, self._at(name))
            except BaseException:
                with suppress(Exception):  # the first trouble is the one to tell
                    self.system.rm_file(part)
                raise

    def open(self, name: str) -> Source:
        """Raises FileNotFoundError if it is not there."""
        with self._told("read", name, FileNotFoundError):
            return Source(self.system.open(self._at(name), "rb"))

    def settle(self, name: str) -> None:
        """Give a file that another process wrote the guarantees of `write`."""

    def remove(self, name: str) -> None:
        """Nothing happens if it is not there."""
        with self._told("remove", name), suppress(FileNotFoundError):
            self.system.rm_file(self._at(name))

    def move(self, name: str, other: str) -> None:
        """Raises FileNotFoundError if it is not there."""
        with self._told("move", name, FileNotFoundError):
            self.system.makedirs(os.path.dirname(self._at(other)), exist_ok=True)
            self.system.mv(self._at(name), self._at(other))

    def sweep(self, folder: str) -> None:
        """Remove what writers that were killed left in a folder; files that are being written stay."""
        for name in [] if self._whole else self._listed(folder):
            if name.startswith(".") and name.endswith(PART):
                self._sweep(f"{folder}/{name}")

    def _sweep(self, name: str) -> None:
        with self._told("clean", name), suppress(FileNotFoundError):
            if datetime.now(UTC) - self.system.modified(self._at(name)) > STALE:
                self.system.rm_file(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    def _listed(self, folder: str) -> list[str]:
        with self._told("list", folder), suppress(FileNotFoundError):
            self.system.invalidate_cache()
            paths = self.system.ls(self._at(folder), detail=False)
            return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)
        return []

    @contextmanager
    def _told(self, verb: str, name: str, *passed: type[Exception]) -> Iterator[None]:
        """What goes wrong in here is told as a StoreError that names the path; `passed` is left as it is."""
        try:
            yield
        except passed:
            raise
        except Exception as error:  # file systems of others raise what they like
            full = isinstance(error, OSError) and error.errno in FULL
            raise (StoreFull if full else StoreError)(f"cannot {verb} {self.path(name)}: {_reason(error)}") from error


class LocalFolder(Folder):
    """A folder of this machine, or one that several machines mount."""

    def __init__(self, system: AbstractFileSystem, root: str) -> None:
        super().__init__(system, root)
        self._flushed: set[str] = set()  # folders that this process has flushed to the disk with all above them

    def path(self, name: str) -> str:
        return self._at(name)

    def write(self, name: str, content: Any) -> None:
        with self._told("write", name):
            for attempt in range(ATTEMPTS):
                try:
                    return self._write(name, content)
                except FileNotFoundError:  # swept between its creation and its lock, or the folder was removed
                    self._flushed.clear()
                    if attempt + 1 == ATTEMPTS:
                        raise

    def settle(self, name: str) -> None:
        with self._told("write", name):
            folder = os.path.dirname(self._at(name))
            self._make(folder)
            _flush(folder)

    def _write(self, name: str, content: Any) -> None:
        target, part = self._at(name), self._at(_part_of(name))
        self._make(os.path.dirname(target))
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                lock(handle, fcntl.LOCK_EX)  # tells sweepers that its writer lives
                file.write(content)
                file.flush()
                os.fsync(handle)
                os.replace(part, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(part)
            raise
        _flush(os.path.dirname(target))

    def _make(self, folder: str) -> None:
        """Make a folder so that it outlives a loss of power, even where another process has just made it."""
        new = not os.path.isdir(folder)
        if folder in self._flushed or not (new or folder.startswith(f"{self.root}/")):
            return
        above = os.path.dirname(folder)
        self._make(above)
        with suppress(FileExistsError):
            os.mkdir(folder)
        _flush(above)
        self._flushed.add(folder)

    def _sweep(self, name: str) -> None:
        with self._told("clean", name), suppress(FileNotFoundError):
            handle = os.open(self._at(name), os.O_WRONLY)
            try:
                locked = lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if locked:
                    os.unlink(self._at(name))
                elif locked is None:
                    super()._sweep(name)
            finally:
                os.close(handle)


class Source(io.RawIOBase):
    """A file opened for reading that remembers whether it was the file system that failed.

    Whoever parses it can so tell a file that cannot be read (`trouble` holds why) from one that is damaged. It keeps a
    position of its own: files in memory have one that all their readers share.
    """

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._file = file
        self._size = int(file.seek(0, os.SEEK_END))
        self._position = 0
        self.trouble: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._size - self._position)  # a damaged file may ask for more than any memory holds
        try:
            self._file.seek(self._position)
            content = bytes(self._file.read(left if size is None or size < 0 else min(size, left)))
        except Exception as error:  # file systems of others raise what they like
            self.trouble = error
            raise OSError("the file system failed") from error
        self._position += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if position < 0:
            raise ValueError(f"there is nothing before the beginning, at {position}")
        self._position = position
        return position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _part_of(name: str) -> str:
    folder, _, last = name.rpartition("/")
    return f"{folder}/.{last}.{uuid4().hex[:12]}{PART}"


def lock(handle: int, how: int) -> bool | None:
    """See flock(2). True: locked. False: somebody else holds it. None: this file system knows no locks."""
    try:
        fcntl.flock(handle, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        return None
    return True


def _flush(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems have nothing to flush there, and say so
            raise
    finally:
        os.close(handle)


def _reason(error: BaseException) -> str:
    strerror = getattr(error, "strerror", None)
    return str(strerror or str(error).partition("\n")[0] or type(error).__name__)
