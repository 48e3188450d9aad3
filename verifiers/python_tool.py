"""Python inside thoughts: a fenced block of a chat model runs in the sandbox, and what it prints is written below it.

The notation is that of tool-integrated reasoning (ToRA, Gou et al. 2024, arXiv:2309.17452): ```python ... ``` and then
```output ... ```.
"""

from __future__ import annotations

from collections.abc import Sequence

from verifiers.base import Completion, State
from verifiers.program_text import blocks
from verifiers.sandbox import Limits, SandboxRefused
from verifiers.sandboxes import shared_sandbox
from verifiers.warden.jobs import Kind, Outcome, Script

LANGUAGES = ("python", "py", "python3")


class PythonTool:
    """Runs the block that a thought closes. Each block runs on its own: nothing is left of the ones before. Random
    numbers are the same whenever it runs; what asks the clock or the kernel may print something else.

    Args:
        seconds: of processor time for one block.
        max_output: characters that are written of what it printed and of how it failed; the end, where that is longer.
        allow_degraded: mechanisms of the sandbox that may be missing.

    Attributes:
        max_chars: of what it writes.

    Raises ValueError where the sandbox is refused.
    """

    version = "python"

    def __init__(self, seconds: float = 2.0, max_output: int = 400, allow_degraded: Sequence[str] = ()) -> None:
        if not 0 < seconds <= 60 or max_output < 40:
            raise ValueError("seconds must be above 0 and at most 60, max_output at least 40")
        try:
            shared_sandbox(allow_degraded)
        except SandboxRefused as error:
            raise ValueError(str(error)) from error
        self.max_chars = max_output + len(_written(""))
        self._max_output = max_output
        self._limits = Limits(cpu_seconds=seconds, wall_seconds=5 * seconds)
        self._allow_degraded = tuple(allow_degraded)

    async def complete(self, state: State, thought: str) -> Completion | None:
        """See policy.tools.Tool."""
        if thought.strip() != "```":
            return None
        _, opened = blocks("\n".join(state.thoughts).split("\n"))
        if opened is None or opened[0] not in LANGUAGES:
            return None
        outcome = await shared_sandbox(self._allow_degraded).arun(Script(opened[1]), self._limits)
        # A fence in the output would open or close a block in what follows.
        said = _said(outcome, self._max_output // 2).replace("```", "'''").strip("\n")
        if len(said) > self._max_output:
            said = "..." + said[3 - self._max_output :]
        return Completion(len(thought), _written(said))


def _written(output: str) -> str:
    return f"\n```output\n{output}\n```"


def _said(outcome: Outcome, max_fault: int) -> str:
    """What a block printed, and one line on how it failed if it did: of an exception, the last of its traceback."""
    printed = outcome.stdout
    if outcome.kind is Kind.DONE:
        return printed if printed.strip() else "(nothing was printed)"
    told = {Kind.TIMEOUT: "Error: out of time", Kind.RAISED: outcome.detail}
    fault = " ".join(told.get(outcome.kind, f"Error: {outcome.kind.value}: {outcome.detail}").split())
    return f"{printed.rstrip()}\n{fault[:max_fault]}".lstrip("\n")
