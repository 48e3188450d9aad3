"""Prompts in files that a policy is asked with about a line of thought."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from policy.base import BadPolicy
from verifiers.base import State

_ROOT = Path(__file__).resolve().parents[1]
_PLACE = re.compile(r"\{(problem|thoughts)\}")


class Template:
    """A prompt in a file, with the places {problem} and {thoughts}; braces else are just text.

    Args:
        path: the file, seen from here or from the project's folder.

    Attributes:
        text: what is in it, without its last newline.

    Raises BadPolicy where there is no such file, or no place for one of the two in it.
    """

    def __init__(self, path: str) -> None:
        here = Path(path).expanduser()
        try:
            file = here if here.is_file() else _ROOT / here
            self.text = file.read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, ValueError) as error:
            raise BadPolicy(f"cannot read the prompt {path!r}: {error}") from error
        if {"problem", "thoughts"} - {place[1] for place in _PLACE.finditer(self.text)}:
            raise BadPolicy(f"the prompt {path!r} must have places for the {{problem}} and the {{thoughts}}")

    def about(self, state: State) -> State:
        """The state of somebody who is asked about a line of thought, and has said nothing yet."""
        texts = {"problem": state.problem.prompt, "thoughts": "\n".join(state.thoughts)}
        filled = _PLACE.sub(lambda place: texts[place[1]], self.text)
        return State(replace(state.problem.sealed(), prompt=filled))
