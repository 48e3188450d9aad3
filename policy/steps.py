"""Where a thought ends in what a model writes, and what is read after it: one class a rule.

A rule sees plain text and no tokens. Which tokens can end a thought at all is told by its `always` and `marks`, so
that the text is looked at after these only, and never where tokens are characters and thoughts are lines.
"""

from __future__ import annotations

from typing import Protocol

OPEN, CLOSE = "<think>", "</think>"
BLANK = "\n\n"


class Steps(Protocol):
    """A rule by which a text is cut into thoughts.

    Attributes:
        always: a token that holds one of these ends a thought wherever it stands.
        marks: texts that may end one; what does is asked of `end`.
        tags: texts that are written and read even if the tokenizer calls them special tokens.
    """

    always: tuple[str, ...]
    marks: tuple[str, ...]
    tags: tuple[str, ...]

    def end(self, before: str, text: str) -> int | None:
        """How many characters of the text under way are the thought; None while it goes on.

        Args:
            before: the thoughts before it, each with what is read after it.
            text: what has been written since.
        """
        ...

    def close(self, before: str, thought: str) -> str | None:
        """What is read after a thought; None for the end of the model's whole text."""
        ...

    def lead(self, opening: str) -> str:
        """The end of what a model reads before its first thought that belongs to this thought; "" for none."""
        ...


class Lines:
    """A thought is a line."""

    always: tuple[str, ...] = ("\n",)
    marks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def end(self, before: str, text: str) -> int | None:
        """See Steps. At the first newline, even if nothing was written before it."""
        at = text.find("\n")
        return None if at < 0 else at

    def close(self, before: str, thought: str) -> str | None:
        return "\n"

    def lead(self, opening: str) -> str:
        return ""


class Paragraphs:
    """A thought is a paragraph: it ends at a blank line."""

    always: tuple[str, ...] = ()
    marks: tuple[str, ...] = (BLANK,)
    tags: tuple[str, ...] = ()

    def end(self, before: str, text: str) -> int | None:
        """See Steps. Newlines before the first word end nothing."""
        at = text.find(BLANK, len(text) - len(text.lstrip("\n")))
        return None if at < 0 else at

    def close(self, before: str, thought: str) -> str | None:
        return BLANK

    def lead(self, opening: str) -> str:
        return ""


class Think(Paragraphs):
    """Of models that think between <think> and </think>: a thought is a paragraph of that, and the last one all that
    comes after it, up to the end of the text.

    `<think>` is the beginning of the first thought, be it written by the model or by its chat template, so that
    whoever reads the thoughts can tell thinking from answering.
    """

    marks: tuple[str, ...] = (BLANK, CLOSE)
    tags: tuple[str, ...] = (OPEN, CLOSE)

    def end(self, before: str, text: str) -> int | None:
        """See Steps. `</think>` ends the paragraph that it is part of."""
        if CLOSE in before:
            return None
        blank, close = super().end(before, text), text.find(CLOSE)
        ends = [] if close < 0 else [close + len(CLOSE)]
        return min(ends if blank is None else [*ends, blank], default=None)

    def close(self, before: str, thought: str) -> str | None:
        return None if CLOSE in before else BLANK

    def lead(self, opening: str) -> str:
        """See Steps. `<think>` with the blanks after it, where the opening ends so."""
        return opening[opening.rindex(OPEN) :] if opening.rstrip().endswith(OPEN) else ""


STEPS: dict[str, Steps] = {"line": Lines(), "paragraph": Paragraphs(), "think": Think()}
