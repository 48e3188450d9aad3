"""What a run of self-play shows while it goes on: a live view in a terminal, lines elsewhere, scalars for trackers."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from commands.errors import plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from selfplay.collecting import Event
    from selfplay.scalars import Scalars

BAR = 32
EVERY = 15.0  # seconds between two lines where there is no terminal
WINDOW = 20.0  # seconds over which speed is measured
PHASES = {"propose": "proposing", "play": "playing", "learn": "learning", "match": "match"}


class Narrator:
    """Takes the events of a run; closes the tracker when it is left."""

    def __init__(self, scalars: Scalars) -> None:
        self._scalars = scalars
        self._live: Any = None
        self._phase, self._generation = "", 0
        self._values: dict[str, Any] = {}
        self._ended: deque[float] = deque()
        self._rates: list[float] = []
        self._rows: list[dict[str, Any]] = []
        self._said_at = 0.0

    def __enter__(self) -> Narrator:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(get_renderable=self.draw, console=Console(stderr=True), refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()
        self._scalars.close()

    def tell(self, event: Event) -> None:
        """See selfplay.generations.Generations."""
        if (event.kind, event.generation) != (self._phase, self._generation):
            self._ended.clear()
            self._rates.clear()
            self._said_at = 0.0
        self._phase, self._generation, self._values = event.kind, event.generation, event.values
        if event.kind in ("propose", "play", "match"):
            self._count(event)
        elif event.kind == "learn":
            self._scalars.log(event.values["total"], {f"learn/{name}": event.values[name]
                                                      for name in ("objective", "imitation", "value", "anchor")})
        elif event.kind == "generation":
            self._close(event)
        elif event.kind == "damage":
            self._print(f"damaged: {event.values['path']}: {event.values['reason']}; moved to {event.values['moved']}, "
                        "what was in it of this generation is played again")
        if self._live is None and event.kind in PHASES and time.monotonic() - self._said_at > EVERY:
            self._said_at = time.monotonic()
            self._print(self._line())

    def _count(self, event: Event) -> None:
        now, done = time.monotonic(), event.values["last"]
        self._ended.append(now)
        while self._ended[0] < now - WINDOW:
            self._ended.popleft()
        if done.solve_rate is not None:
            self._rates.append(done.solve_rate)

    def _close(self, event: Event) -> None:
        row = event.values
        self._rows.append(row)
        figures = {f"play/{name}": row[name] for name in ("solve_rate", "greedy_rate", "search_rate", "errors")}
        figures |= {f"learned/{name}": row[name] for name in ("distinct_solutions", "distinct_lines", "entropy",
                                                              "divergence") if row[name] is not None}
        figures |= {f"accuracy/{mode}": accuracy[0] for mode, accuracy in row["accuracies"].items()}
        figures |= {f"elo/{mode}": elo[0] for mode, elo in row["elo"].items() if elo}
        self._scalars.log(event.generation, {name: float(value) for name, value in figures.items()})
        if self._live is None:
            self._print(_summary(row))

    def _print(self, line: str) -> None:
        console = None if self._live is None else self._live.console
        if console is None:
            print(plain(line), file=sys.stderr, flush=True)
        else:
            console.print(plain(line), markup=False, highlight=False)

    def _line(self) -> str:
        """The moment in words."""
        values, said = self._values, f"generation {self._generation}, {PHASES[self._phase]}"
        if self._phase == "learn":
            return (f"{said}: step {values['step']}, imitation {values['imitation']:.3f}, value {values['value']:.3f}, "
                    f"objective {values['objective']:.3f}")
        span = max(1e-9, self._ended[-1] - self._ended[0])
        speed = f", {(len(self._ended) - 1) / span:.1f} trajectories/s" if len(self._ended) > 1 else ""
        rate = f", solve rate {sum(self._rates) / len(self._rates):.2f}" if self._rates else ""
        return f"{said}: {values['done']} of {values['of']}{speed}{rate}"

    def draw(self) -> RenderableType:
        """The picture of this moment."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for column in ("generation", "solve rate", "greedy", "search", "system 1", "system 2", "Elo 1", "Elo 2", ""):
            table.add_column(column, justify="right")
        for row in self._rows[-12:]:
            table.add_row(*map(plain, _cells(row)))
        if self._phase not in PHASES:
            return table
        done = self._values["done"] / self._values["of"] if "of" in self._values else 0.0
        bar = ("━" * round(done * BAR), "cyan"), ("━" * (BAR - round(done * BAR)), "dim")
        return Group(table, Text.assemble(*(bar if self._phase != "learn" else ()), " ", plain(self._line())))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    accuracies = [row["accuracies"].get(mode) for mode in ("system1", "system2")]
    elos = [row["elo"].get(mode) for mode in ("system1", "system2")]
    return (
        str(row["generation"]), f"{row['solve_rate']:.2f}", f"{row['greedy_rate']:.2f}", f"{row['search_rate']:.2f}",
        *("" if not both else f"{both[0]:.2f} ({both[1]:.2f})" for both in accuracies),
        *("" if not elo else f"{elo[0]:+.0f}" for elo in elos), "promoted" if row["promoted"] else "refused",
    )  # fmt: skip


def _summary(row: dict[str, Any]) -> str:
    cells = _cells(row)
    met = ", ".join(f"system {i} {cell}" for i, cell in enumerate(cells[4:6], 1) if cell)  # nothing without a match
    elo = " and ".join(filter(None, cells[6:8]))
    return (f"generation {cells[0]}: solve rate {cells[1]}, greedy {cells[2]}, search {cells[3]}; "
            + (f"held out, against generation {row['against']}: {met}; " if met else "")
            + (f"Elo {elo}; " if elo else "") + f"{cells[8]}: {row['reason']}"
            + (f"; its training ended after {row['steps']} of {row['planned']} steps, for its entropy fell"
               if row.get("steps", 0) < row.get("planned", 0) else ""))
