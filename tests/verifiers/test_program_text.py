"""Programs are found in what models write, and end where they end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.program_text import blocks, defines, finished_program, whole_program

HEAD = 'import math\n\n\ndef area(r: float) -> float:\n    """ The area of a circle. """\n'
NEW = "def area(r):\n    return math.pi * r * r"


def finished(*lines: str, head: str = HEAD, ended: bool = False) -> str | None:
    return finished_program(lines, head, "area", ended)


@pytest.mark.parametrize("lines", [
    ["    return math.pi * r * r"],
    ["    square = r * r", "    return (math.pi", "            * square)"],
    ["    square = (", "        r * r)", "    return [", "        square,", "    ][0]"],
    ["", "    # comment", "    return 1"],
    ["    if r:", "        return 2", "    return 1"],
    ["\treturn 1"],
])
def test_a_return_of_its_own_depth_ends_a_function(lines: list[str]) -> None:
    for count in range(1, len(lines)):
        assert finished(*lines[:count]) is None
    assert finished(*lines) == HEAD + "\n".join(lines)


@pytest.mark.parametrize("lines", [
    ["    if r:", "        return 1"], ["    returned = 1"], ["    return (1,"], ["    return 1 + \\"],
    ["return 1"], ["The area is", "    return 1"], ["```python", "    return 1"], ["```python", NEW],
    ["```", "pass", "```"], [], [""], ["    x = 1", "", "    "],
])
def test_what_goes_on_is_no_program_yet(lines: list[str]) -> None:
    assert finished(*lines) is None


@pytest.mark.parametrize("lines", [
    ["    r.sort()"], ["    r.append(1)", "    print(r)", ""],
    ["    for x in r:", "        if x:", "            return x"],
    ["    raise NotImplementedError"], ["\tglobal total", "\ttotal = r"], ["    if r:", "        return 1"],
])
def test_a_function_needs_no_return_where_the_text_has_ended(lines: list[str]) -> None:
    assert finished(*lines) is None
    assert finished(*lines, ended=True) == HEAD + "\n".join(lines)


@pytest.mark.parametrize(("lines", "program"), [
    (["area = lambda r: r * r"], "area = lambda r: r * r"),
    (["def area(r):", "    r.sort()"], "def area(r):\n    r.sort()"),
    (["So:", "```python", "def area(r):", "    r.sort()"], "def area(r):\n    r.sort()"),
])
def test_a_program_without_a_fence_or_with_half_of_one_ends_with_the_text(lines: list[str], program: str) -> None:
    assert finished(*lines, head="") is None and finished(*lines, head="", ended=True) == program
    assert finished(*lines, ended=True) == f"import math\n\n\n{program}"


@pytest.mark.parametrize("lines", [[""], ["Sorry."], ["```python", "x = 1", "```"], ["x = 1"], ["return 1"]])
def test_a_text_without_a_program_ends_without_one(lines: list[str]) -> None:
    assert finished(*lines, ended=True) is None


@pytest.mark.parametrize("stop", ["print(area(1))", "def other():", "# Test", "if True:", "```", "}", "class A:"])
def test_a_line_that_is_not_indented_ends_a_function_and_is_none_of_it(stop: str) -> None:
    assert finished("    if r:", "        return 1", stop) == HEAD + "    if r:\n        return 1"


def test_a_closed_block_that_defines_the_function_is_the_program() -> None:
    said = ["Here it is:", "```python", *NEW.split("\n")]
    assert finished(*said) is None
    assert finished(*said, "```") == f"import math\n\n\n{NEW}"
    assert finished(*said, "```", "I hope this helps!", "```", "area(1)", "```") == f"import math\n\n\n{NEW}"
    assert finished(*said, "```", "Better:", "```", "area = abs", "```") == "import math\n\n\narea = abs"
    assert finished("```python", "import math", NEW, "```", head="") == f"import math\n{NEW}"


def test_whole_programs_stay_what_they_are() -> None:
    for text in ("    return 1", NEW, f"import math\n{NEW}", "", "area = 7"):
        program = whole_program(HEAD, "area", text)
        assert whole_program(HEAD, "area", program) == program and "import math" in program
    assert whole_program("", "area", "x = 1") == "x = 1"


@pytest.mark.parametrize(("text", "found"), [
    ("def area(r):", True), ("x = 1\nasync def area (", True), ("area = lambda r: r", True), ("area == 1", False),
    ("def areas(r):", False), ("    def area(r):", False), ("# def area(r):", False), ("def area", False),
])
def test_definitions(text: str, found: bool) -> None:
    assert defines(text, "area") is found
    assert not defines(text, "a.e.")


def test_blocks() -> None:
    text = "a\n```python\nx\n\ny\n```\nb\n``` \nz\n```\n```py\nopen\n  ```text"
    assert blocks(text.split("\n")) == ([("python", "x\n\ny"), ("", "z")], ("py", "open"))


LINES = ["```", "```python", "    x", "return", "    return (", ")", "def area(r):", "", "\udcff"]


@given(st.lists(st.sampled_from(LINES), max_size=12), st.sampled_from([HEAD, ""]), st.booleans())
def test_any_lines_will_do(lines: list[str], head: str, ended: bool) -> None:
    program = finished_program(lines, head, "area", ended)
    assert program is None or defines(program, "area")
