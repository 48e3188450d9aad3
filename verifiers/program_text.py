"""Programs in the text of a language model: fenced blocks, or the lines that continue the head of a function."""

from __future__ import annotations

import re
from collections.abc import Sequence

_FENCE = re.compile(r"[ \t]{0,3}```+[ \t]*([A-Za-z0-9+_-]*)[ \t]*")
_COUNTED = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


def defines(text: str, entry_point: str) -> bool:
    """Is there a line that defines the function?"""
    return _definition(text, entry_point) is not None


def _definition(text: str, entry_point: str) -> re.Match[str] | None:
    name = re.escape(entry_point)
    return re.search(rf"^(?:(?:async[ \t]+)?def[ \t]+{name}[ \t]*\(|{name}[ \t]*=(?!=))", text, re.MULTILINE)


def whole_program(head: str, entry_point: str, text: str) -> str:
    """A program out of what a model wrote: what it defines anew, after what stands before the function in the head,
    or else the head and its continuation. Whole programs stay what they are.

    Args:
        head: the code that a problem begins with, ending in the function's signature and docstring; may be empty.
        entry_point: the function.
        text: untrusted.
    """
    if not defines(text, entry_point):
        return f"{head.rstrip()}\n{text}" if head else text
    start = _definition(head, entry_point)
    preamble = head[: start.start()].strip() if start is not None else ""
    return f"{preamble}\n\n\n{text}" if preamble and preamble not in text else text


def blocks(lines: Sequence[str]) -> tuple[list[tuple[str, str]], tuple[str, str] | None]:
    """Fenced blocks of a text: (language, content) of those that are closed, and of one still open at the end."""
    closed: list[tuple[str, str]] = []
    language = ""
    content: list[str] | None = None
    for line in lines:
        fence = _FENCE.fullmatch(line)
        if fence is None:
            if content is not None:
                content.append(line)
        elif content is None:
            language, content = fence[1].lower(), []
        elif not fence[1]:
            closed.append((language, "\n".join(content)))
            content = None
    return closed, None if content is None else (language, "\n".join(content))


def finished_program(lines: Sequence[str], head: str, entry_point: str, ended: bool = False) -> str | None:
    """The program that lines of a model have come to, or None while it goes on.

    It has ended with a closed block that defines the function; or, where the lines continue the head, with a line that
    is not indented (which is not part of it), or with a `return` of the function's own depth, after which nothing is
    reached. Where the model has ended its text, what is there is all: functions need no `return`, and blocks that are
    cut short or definitions without one count too.
    """
    closed, opened = blocks(lines)
    said = [content for _, content in closed]
    if ended and opened is not None:
        said.append(opened[1])
    elif ended and not closed:
        said = ["\n".join(lines)]
    for content in reversed(said):
        if defines(content, entry_point):
            return whole_program(head, entry_point, content)
    body = [line for line in lines if line.strip()]
    if not head or not body or not _indented(body[0]):
        return None
    if not _indented(body[-1]):
        return whole_program(head, entry_point, "\n".join(lines[:-1])) if len(body) > 1 else None
    return whole_program(head, entry_point, "\n".join(lines)) if ended or _returned(body) else None


def _indented(line: str) -> bool:
    return line[:1] in (" ", "\t")


def _returned(body: Sequence[str]) -> bool:
    """Does the body end in a complete `return` at its own depth? Brackets are counted, those in texts too: at worst
    it then ends a line later."""
    depth = body[0][: len(body[0]) - len(body[0].lstrip())]
    last = next((i for i in range(len(body) - 1, -1, -1) if re.match(rf"{depth}return\b", body[i])), None)
    if last is None or body[-1].endswith("\\"):
        return False
    opened = sum(_COUNTED.get(character, 0) for line in body[last:] for character in line)
    return opened == 0 and all(line.startswith((depth + " ", depth + "\t", depth + ")", depth + "]", depth + "}"))
                               for line in body[last + 1 :])
