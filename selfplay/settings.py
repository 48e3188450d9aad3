"""What a person decides about a run of self-play: how much is played, and by whom."""

from __future__ import annotations

from dataclasses import dataclass

from search.anytime import at_least_one
from selfplay.generations import Plan
from selfplay.workers import Layout

POOLS = ("ray", "local")


@dataclass(frozen=True)
class Settings(Plan):
    """A plan, and who carries it out. See selfplay.player.Player, selfplay.workers.Layout and
    selfplay.ray_pool.RayPool for what is not told here.

    Attributes:
        pool: `ray`, worker processes of a cluster; or `local`, this process alone.
        layout: of the workers, `replica` or `shared`.
        store: where trajectories go, a path or any URL that fsspec knows; None: into the run's directory.
    """

    lines: int = 8
    states: int = 256
    store: str | None = None
    pool: str = "ray"
    layout: str = "replica"
    workers: int = 2
    cpus: float = 1.0
    gpus: float = 0.0
    policies: int = 1
    policy_cpus: float = 1.0
    concurrent: int = 32
    chunk: int = 8
    in_flight: int = 6
    stall_seconds: float = 600.0
    start_seconds: float = 600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool not in POOLS:
            raise ValueError(f"there is no pool {self.pool!r}; allowed: {', '.join(POOLS)}")
        if min(self.stall_seconds, self.start_seconds) <= 0:
            raise ValueError("stall_seconds and start_seconds must be above 0")
        if not isinstance(self.lines, int) or self.lines < 0:
            raise ValueError(f"lines must be a whole number of at least 0, not {self.lines!r}")
        at_least_one(concurrent=self.concurrent, chunk=self.chunk, in_flight=self.in_flight, states=self.states)
        self.crew()

    def crew(self) -> Layout:
        """Raises ValueError."""
        return Layout(self.layout, self.workers, self.cpus, self.gpus, self.policies, self.policy_cpus)
