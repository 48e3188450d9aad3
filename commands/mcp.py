"""Give the engine to other models as a tool, by the Model Context Protocol over stdin and stdout.

Source: https://modelcontextprotocol.io (tools, progress, cancellation).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from omegaconf import DictConfig
from pydantic import Field

from commands.engine import Engine, Result, SearchFailed
from commands.errors import REFUSALS, plain, shorten, whole
from policy.budget import Budget

if TYPE_CHECKING:
    from commands.task import Task

__all__ = ["run"]

INTERVAL = 0.5
"""Seconds between two notifications of progress."""


@dataclass(frozen=True)
class Spent:
    """What the thinking took."""

    seconds: float
    tokens: int
    simulations: int


@dataclass(frozen=True)
class Told:
    """What came of it: no answer if none was found, or the best one is known to be wrong."""

    answer: Annotated[str | None, Field(description="null if none was found")]
    verified: Annotated[bool, Field(description="proved; otherwise the answer may be wrong")]
    confidence: Annotated[float, Field(description="P(correct), in [0, 1]")]
    thoughts: Annotated[list[str], Field(description="the line of thought that led to the answer")]
    domain: Annotated[str, Field(description="the kind of problem it was read as")]
    spent: Spent
    failed: Annotated[bool, Field(description="something failed after the answer, and the thinking ended early")]

    @classmethod
    def of(cls, result: Result) -> Told:
        spent = Spent(result.seconds, result.tokens, result.simulations)
        return cls(result.answer, result.verified, result.confidence, result.thoughts, result.domain, spent,
                   result.failure is not None)


def run(cfg: DictConfig) -> int:
    limit, at_once = Budget.parse(cfg.limit), whole("at_once", cfg.at_once)
    seed = whole("seed", cfg.seed, 0)
    with Engine(cfg) as engine:
        server = make_server(Thinker(engine, seed, limit, at_once), engine.domains)
        # Ctrl-C ends it as SIGTERM does: nothing is to be saved, and a thread that reads stdin would not be woken up.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        asyncio.run(server.run_stdio_async())
    return 0


def make_server(thinker: Thinker, domains: Mapping[str, str]) -> MCPServer:
    """A server with the one tool; what its domains read stands in the tool's description."""
    reads = "\n".join(f"- {name}: {what}" for name, what in domains.items())
    server: MCPServer = MCPServer(
        "system-2-engine", log_level="WARNING",
        instructions="Thinks about puzzles and mathematics for as long as it is given, and proves what can be proved.")
    server.add_tool(
        thinker.think, annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
        description=f"Think about one problem by tree search, within a budget. It reads:\n{reads}")
    return server


class Thinker:
    """What the tool does.

    Args:
        limit: of each call, whatever budget it asks for.
        at_once: calls that are thought about at once; a call's time begins when its turn has come.
    """

    def __init__(self, engine: Engine, seed: int, limit: Budget, at_once: int) -> None:
        self._engine, self._seed, self._limit = engine, seed, limit
        self._turns = asyncio.Semaphore(at_once)

    async def think(
        self,
        problem: Annotated[str, Field(description="the problem, as plain text")],
        ctx: Context,
        budget: Annotated[str, Field(description="10s, 2m, 5500tok, 200sims, or a mix such as 10s+5500tok")] = "10s",
        domain: Annotated[str | None, Field(description="null: it is guessed")] = None,
        search: Annotated[str | None, Field(description="the algorithm, such as mcts or best_of_n; null: the "
                                                        "default")] = None,
    ) -> Told:
        """The tool. Raises ToolError, with one line that says what is allowed."""
        if domain is not None and domain not in self._engine.domains:  # others read files, and start processes
            raise ToolError(f"there is no domain {shorten(domain)}; allowed: {', '.join(self._engine.domains)}")
        async with self._turns:
            try:
                task = self._engine.task(problem, budget=budget, domain=domain, parent=self._limit.start())
                thinking = asyncio.ensure_future(self._engine.run(task, search=search, seed=self._seed))
                try:
                    await _accompany(thinking, task, ctx)
                    return Told.of(await thinking)
                finally:
                    thinking.cancel()  # the call was cancelled: this ends the thinking at the next token
            except (*REFUSALS, SearchFailed) as error:
                raise ToolError(str(error)) from error


async def _accompany(thinking: asyncio.Future[Result], task: Task, ctx: Context) -> None:
    """Tell the caller how much of the budget is spent, and the best answer so far, until the thinking is over."""
    told = 0.0
    while not (await asyncio.wait({thinking}, timeout=INTERVAL))[0]:
        share = _share(task)
        if share > told:  # the protocol wants progress to grow
            told = share
            final = task.record.final
            so_far = "no answer yet" if final is None else f"{plain(final.text)} ({final.confidence:.0%})"
            await ctx.report_progress(share, 1.0, so_far)


def _share(task: Task) -> float:
    """Of the budget that is spent, in [0, 1]."""
    budget, meter = task.meter.budget, task.meter
    parts = ((meter.seconds, budget.seconds), (meter.tokens, budget.tokens), (meter.simulations, budget.simulations))
    return min(1.0, max(value / limit for value, limit in parts if limit is not None))
