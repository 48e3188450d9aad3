"""What a process may use of its machine: cores and memory, whoever limits them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_UNLIMITED = 1 << 60  # bytes; version 1 of cgroups writes about 2^63 for no limit


def in_cores(count: float) -> str:
    """Such as "1 core" or "1.5 cores"."""
    return f"{count:g} core{'' if count == 1 else 's'}"


def _allowed() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Host:
    """See the module.

    Attributes:
        root: where proc and sys lie.
        environment: variables.
        affinity: cores that the scheduler lets this process run on.
    """

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    affinity: int = field(default_factory=_allowed)

    @property
    def quota(self) -> float | None:
        """Cores' worth of time that the control groups of this process grant; None: no limit."""
        found = []
        for folder in self._groups("cpu"):
            most, period = [*self._words(folder / "cpu.max"), "", ""][:2]
            if not most:
                most, period = (" ".join(self._words(folder / f"cpu.cfs_{each}_us")) for each in ("quota", "period"))
            if most.isdigit() and period.isdigit() and int(most) and int(period):
                found.append(int(most) / int(period))
        return min(found, default=None)

    @property
    def memory(self) -> int | None:
        """Bytes that can still be had before something is swapped or killed; None where nothing tells."""
        lines = (line.split() for line in self._text(self.root / "proc/meminfo").splitlines())
        found = [int(words[1]) * 1024 for words in lines if words[:1] == ["MemAvailable:"]]
        for folder in self._groups("memory"):
            for most, used in (("memory.max", "memory.current"),
                               ("memory.limit_in_bytes", "memory.usage_in_bytes")):
                limit, usage = (" ".join(self._words(folder / name)) for name in (most, used))
                if limit.isdigit() and usage.isdigit() and int(limit) < _UNLIMITED:
                    found.append(max(0, int(limit) - int(usage)))
        return min(found, default=None)

    def _groups(self, controller: str) -> Iterator[Path]:
        """The folders of this process's control groups, of either version, and of those around them."""
        mounts = self.root / "sys/fs/cgroup"
        for line in self._text(self.root / "proc/self/cgroup").splitlines():
            _, names, path = [*line.split(":", 2), "", ""][:3]
            if not names or controller in names.split(","):
                place = Path(path.lstrip("/"))
                yield from ((mounts if not names else mounts / controller) / each for each in (place, *place.parents))

    def _words(self, path: Path) -> list[str]:
        return self._text(path).split()

    @staticmethod
    def _text(path: Path) -> str:
        try:
            return path.read_text()
        except OSError:  # not there, as on other systems, or not for us to read
            return ""
