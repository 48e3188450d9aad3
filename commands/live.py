"""The live view of `solve`, in a terminal: the clock, the best answers so far, how the trees grow."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from commands.errors import plain, shorten
from policy.budget import Budget

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from commands.task import Task

ROWS = 20
BAR = 40


@contextmanager
def loading(enabled: bool) -> Iterator[None]:
    """Says, while it is entered, what is being waited for, and leaves nothing behind."""
    if not enabled:
        yield
        return
    from rich.console import Console

    with Console().status("loading the policy ..."):
        yield


class Live:
    """Redraws from a thread of its own while it is entered, and leaves nothing behind."""

    def __init__(self, tasks: Sequence[Task], budget: Budget, enabled: bool) -> None:
        self._tasks = tasks
        self._budget = budget
        self._enabled = enabled
        self._live: Any = None

    def __enter__(self) -> Live:
        self._started = time.monotonic()
        if self._enabled:
            from rich.live import Live as RichLive

            self._live = RichLive(get_renderable=self.draw, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def draw(self) -> RenderableType:
        """The picture of this moment. Texts of a model or a person are never read as markup."""
        from rich.console import Group
        from rich.text import Text

        lines: list[Text] = [self._clock()]
        open_ones = [task for task in self._tasks if not _verified(task)]
        shown = self._tasks if len(self._tasks) <= ROWS else open_ones[:ROWS]
        for task in shown:
            lines.append(_best(task))
        if len(shown) < len(self._tasks):
            verified = len(self._tasks) - len(open_ones)
            lines.append(Text(f"{len(self._tasks)} problems, {verified} verified, {len(shown)} shown", style="dim"))
        return Group(*lines, *_tree(self._tasks))

    def _clock(self) -> Text:
        from rich.text import Text

        spent = time.monotonic() - self._started
        tokens = sum(task.meter.tokens for task in self._tasks if hasattr(task, "meter"))
        simulations = sum(task.meter.simulations for task in self._tasks if hasattr(task, "meter"))
        parts = [(spent, self._budget.seconds), (tokens, self._budget.tokens), (simulations, self._budget.simulations)]
        share = min(1.0, max(value / limit for value, limit in parts if limit is not None))
        filled = round(share * BAR)
        return Text.assemble(
            (f"{spent:7.1f} s  ", "bold"), ("━" * filled, "cyan"), ("━" * (BAR - filled), "dim"),
            f"  {tokens} tokens, {simulations} simulations of {self._budget}")


def _verified(task: Task) -> bool:
    final = task.record.final
    return final is not None and final.verified


def _best(task: Task) -> Text:
    from rich.text import Text

    final = task.record.final
    text = Text.assemble((shorten(task.text, 40), "bold"), "  ", no_wrap=True, overflow="ellipsis")
    if final is None:
        return text.append("thinking ...", style="dim")
    style = "green" if final.verified else "yellow"
    text.append(plain(final.text), style=style)
    return text.append("  verified" if final.verified else f"  confidence {final.confidence:.2f}", style="dim")


def _tree(tasks: Sequence[Task]) -> list[Text]:
    """Thoughts proposed at each depth, as bars."""
    from rich.text import Text

    depths: list[int] = []
    for task in tasks:
        counts = list(task.policy.thoughts_at)
        depths += [0] * (len(counts) - len(depths))
        depths = [n + (counts[i] if i < len(counts) else 0) for i, n in enumerate(depths)]
    widest = max(depths, default=0)
    return [
        Text.assemble(
            (f"  step {depth + 1:2} ", "dim"), ("▇" * max(1, round(BAR * count / widest)), "blue"), f" {count}")
        for depth, count in enumerate(depths) if count
    ] + [Text(f"  {sum(depths)} thoughts", style="dim")]
