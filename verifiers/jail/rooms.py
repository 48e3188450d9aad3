"""Rooms for jobs: a mount namespace with an empty scratch directory each, made ahead, and kept only if untouched.

To make and to tear down a mount namespace costs as much as the rest of a short job. A directory whose inode is as it
was on the day it was made, times included, holds nothing and tells nothing, so the next job may have it; any other is
thrown away with all that is in it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from verifiers.jail import kernel

_AGE = 0.02  # a room is used only when this old, lest a change fall into the clock tick in which it was made [s]
@dataclass(frozen=True)
class Room:
    """An empty place.

    Attributes:
        number: of its owner, from 0; no other living job has it.
        namespace, scratch: descriptors of the mount namespace and of the directory; -1 where jobs get none.
        size: of the scratch directory, bytes.
        mark: what its inode looked like when it was made.
        born: on the monotonic clock [s].
    """

    number: int
    namespace: int = -1
    scratch: int = -1
    size: int = 0
    mark: tuple[int, ...] = ()
    born: float = 0.0


class Rooms:
    """All rooms of a zygote.

    Args:
        count: how many jobs may run at once.
        path: of the scratch directory, the same in every room; empty for rooms that are only numbers.
        first_uid: of the owners; None if all belong to this process's user.
        namespaces: a descriptor of /proc/self/ns, opened while there was a /proc.
    """

    def __init__(self, count: int, path: str, first_uid: int | None, namespaces: int) -> None:
        self._path, self._first_uid, self._namespaces = path, first_uid, namespaces
        self._home = os.open("mnt", os.O_RDONLY, dir_fd=namespaces) if path else -1
        self._numbers = list(range(count))[::-1]
        self._free: list[Room] = []

    def prepare(self, count: int, size: int) -> None:
        """Make some rooms before they are needed."""
        self._free += [self._made(self._numbers.pop(), size) for _ in range(count)]

    def take(self, size: int) -> Room:
        """Any free room: at random, for an order would tell jobs how many there were before them."""
        if not self._free:
            self.prepare(1, size)
        ready = time.monotonic() - _AGE
        aged = [place for place, room in enumerate(self._free) if room.born <= ready]
        aged = aged or list(range(len(self._free)))
        room = self._free.pop(aged[int.from_bytes(os.urandom(4), "big") % len(aged)])
        if self._path and room.size != size:
            room = self._remade(room, size)
        if self._path:
            time.sleep(max(0.0, room.born + _AGE - time.monotonic()))
        return room

    def give_back(self, room: Room) -> None:
        """After everything in it has ended."""
        self._free.append(self._remade(room, room.size) if self._path and _mark(room.scratch) != room.mark else room)

    def _remade(self, room: Room, size: int) -> Room:
        os.close(room.scratch)
        os.close(room.namespace)  # nothing else holds it: the kernel takes the directory apart
        return self._made(room.number, size)

    def _made(self, number: int, size: int) -> Room:
        if not self._path:
            return Room(number)
        kernel.unshare(kernel.NEWNS)
        try:
            owner = "" if self._first_uid is None else f",uid={self._first_uid + number},gid={self._first_uid + number}"
            kernel.mount_tmpfs(self._path, f"mode=700,size={size},nr_inodes=1024{owner}")
            os.utime(self._path, (0, 0))
            namespace = os.open("mnt", os.O_RDONLY, dir_fd=self._namespaces)
            scratch = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        finally:
            kernel.set_namespace(self._home, kernel.NEWNS)
        return Room(number, namespace, scratch, size, _mark(scratch), time.monotonic())


def _mark(scratch: int) -> tuple[int, ...]:
    """All that a job could see or change of an empty directory."""
    seen = os.fstat(scratch)
    return (seen.st_mode, seen.st_uid, seen.st_gid, seen.st_nlink, seen.st_size, seen.st_blocks,
            seen.st_atime_ns, seen.st_mtime_ns, seen.st_ctime_ns)
