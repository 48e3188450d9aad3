"""What a run of self-play remembers between two phases: one small JSON file, written whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from policy.files import write_atomically
from selfplay.ratings import Match, tables

FILE = "state.json"
VERSION = 1


class Phase(str, Enum):
    """What a generation is at; the store and the folders hold all else."""

    PLAY = "play"
    LEARN = "learn"
    MATCH = "match"


class BadState(ValueError):
    """A run's memory that cannot be read; one line that names the file."""


@dataclass
class State:
    """Where a run stands.

    Attributes:
        generation: under way, from 1; one more than were asked for once all are done.
        phase: of it.
        champion: the generation whose policy plays; 0 is the base.
        history: figures of the generations that are over, one row each.
        current: figures of the one under way.
        matches: all that were played, for the ratings.
        seconds: on the clock, by phase, of all attempts together.
        core_hours: those of all processors (or GPUs) at work; `history` has them at the end of each generation.
    """

    generation: int = 1
    phase: Phase = Phase.PLAY
    champion: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    current: dict[str, Any] = field(default_factory=dict)
    matches: list[Match] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    core_hours: float = 0.0

    def spend(self, phase: Phase, seconds: float, cores: float) -> None:
        """Account for time; that of a generation's last phase is its own too."""
        self.seconds[phase.value] = self.seconds.get(phase.value, 0.0) + seconds
        self.core_hours += seconds * cores / 3600
        if phase is Phase.MATCH and self.phase is Phase.PLAY and self.history:
            self.history[-1] |= {"seconds": dict(self.seconds), "core_hours": self.core_hours}

    def save(self, folder: Path) -> None:
        text = json.dumps({"version": VERSION, **asdict(self)}, indent=1) + "\n"
        write_atomically(folder / FILE, lambda file: file.write(text.encode()))

    @classmethod
    def load(cls, folder: Path) -> State:
        """The state of a run; a fresh one where there is none yet. Raises BadState."""
        path = folder / FILE
        if not path.exists():
            return cls()
        try:
            raw = json.loads(path.read_text())
            if raw.pop("version") != VERSION:
                raise ValueError("it is of another version of this project")
            raw["phase"] = Phase(raw["phase"])
            raw["matches"] = [Match(**match) for match in raw["matches"]]
            return cls(**raw)
        except (ValueError, KeyError, TypeError) as error:
            raise BadState(f"cannot read the state of the run in {path}: {error}") from error

    def elo(self) -> Mapping[str, Mapping[int, tuple[float, float, float]]]:
        """By mode and generation: rating with its interval, the base's being 0."""
        return {mode: {number: (r.elo, r.low, r.high) for number, r in table.ratings.items()}
                for mode, table in tables(self.matches).items()}
