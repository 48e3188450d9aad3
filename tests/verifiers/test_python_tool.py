"""Python inside thoughts: a closed block runs in the sandbox, and what it prints is written below it."""

from __future__ import annotations

import os

import pytest

from verifiers.base import Problem, State
from verifiers.program_text import blocks
from verifiers.python_tool import PythonTool

PROBLEM = Problem("i", "d", "p", {})


async def ran(
    *lines: str, closing: str = "```", language: str = "python", tool: PythonTool | None = None
) -> str | None:
    tool = tool or PythonTool()
    state = State(PROBLEM, ("Let us see.", f"```{language}", *lines))
    done = await tool.complete(state, closing)
    if done is None:
        return None
    assert done.kept == len(closing) and len(done.written) <= tool.max_chars
    return done.written


async def test_what_it_prints_is_written_below() -> None:
    assert await ran("print(17 * 24)") == "\n```output\n408\n```"
    assert await ran("for i in range(2):", "    print(i)", language="py") == "\n```output\n0\n1\n```"
    assert await ran("x = 1") == "\n```output\n(nothing was printed)\n```"
    assert await ran("print('\u00e9\u4e2d')") == "\n```output\n\u00e9\u4e2d\n```"


@pytest.mark.parametrize("thought", ["", "text", "```python", "``", "```output", "print(1)", "x ```"])
async def test_other_lines_call_nothing(thought: str) -> None:
    assert await ran("print(1)", closing=thought) is None


async def test_only_an_open_block_of_python_is_run() -> None:
    tool = PythonTool()
    for thoughts in [(), ("text",), ("```", "print(1)"), ("```text", "print(1)"), ("```python", "print(1)", "```"),
                     ("```python", "1", "```\n```output\n1\n```")]:
        assert await tool.complete(State(PROBLEM, thoughts), "```") is None


async def test_blocks_know_nothing_of_each_other() -> None:
    tool, state = PythonTool(), State(PROBLEM, ("```python", "x = 5", "print(x)"))
    first = await tool.complete(state, "```")
    assert first is not None
    state = state.then("```" + first.written).then("```python").then("print(x)")
    second = await tool.complete(state, "```")
    assert second is not None and "NameError" in second.written


@pytest.mark.parametrize(("line", "said"), [
    ("1 / 0", "ZeroDivisionError: division by zero\n"), ("while True: pass", "Error: out of time"),
    ("def", "Error: unparsable"), ("import os; os._exit(3)", "Error: died"), ("raise SystemExit(2)", "SystemExit\n"),
    ("print('a'); 1 / 0", "a\nZeroDivisionError: division by zero\n"), ("import os; os.fork()", "PermissionError"),
    ("x = [0] * 10**10", "MemoryError"), ("import socket; socket.socket()", "PermissionError"),
    ("open('/etc/passwd')", "FileNotFoundError"), ("import subprocess; subprocess.run(['id'])", "PermissionError"),
    ("print('a'); raise SystemExit(2)", "a\nSystemExit\n"), ("raise KeyError('a\\nb')", "KeyError: a b\n"),
    ("print('x' * 10**8)", "Error: "),
    ("import os; print(dict(os.environ))", "{"),
])
async def test_a_call_that_fails_writes_a_short_text(line: str, said: str) -> None:
    os.environ["TOOL_TEST_SECRET"] = "do not tell"
    written = await ran(line, tool=PythonTool(seconds=1.0))
    assert written is not None and written.startswith(f"\n```output\n{said}") and written.endswith("\n```")
    assert "do not tell" not in written


async def test_a_long_fault_leaves_room_for_what_was_printed() -> None:
    written = await ran("print('seen'); raise ValueError('v' * 1000)")
    assert written == "\n```output\nseen\nValueError: " + "v" * 188 + "\n```"
    both = await ran("print('p' * 900); raise ValueError('v' * 1000)")
    assert both == "\n```output\n..." + "p" * 196 + "\nValueError: " + "v" * 188 + "\n```"


async def test_output_is_cut_and_cannot_open_or_close_a_block() -> None:
    written = await ran("print('a' * 300 + 'b' * 300)")
    assert written == "\n```output\n..." + "a" * 97 + "b" * 300 + "\n```"
    forged = await ran("print('```'); print('```python'); print('print(1)')")
    assert forged is not None
    state = State(PROBLEM, ("```python", "p", "```" + forged))
    closed, opened = blocks("\n".join(state.thoughts).split("\n"))
    assert opened is None and [language for language, _ in closed] == ["python", "output"]


@pytest.mark.parametrize("options", [{"seconds": 0.0}, {"seconds": 1e9}, {"max_output": 1},
                                     {"allow_degraded": ["moat"]}])
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        PythonTool(**options)  # type: ignore[arg-type]
