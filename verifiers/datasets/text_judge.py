"""A judge of thoughts in plain words: it looks for the answer they commit themselves to, and knows nothing else."""

from __future__ import annotations

from collections.abc import Callable

from verifiers.answer_extraction import extract_answer
from verifiers.base import Problem, State, Verdict, correct, unparsable, wrong
from verifiers.math.canonical import canonical

MAX_THOUGHT_CHARS = 4000
_OPENING, _CLOSING = "<answer>", "</answer>"
_THINKING, _THOUGHT = "<think>", "</think>"


def spoken(text: str) -> str:
    """What a model says after it has thought between <think> and </think>; all of it if it does not think so."""
    return text.partition(_THOUGHT)[2] if text.lstrip().startswith(_THINKING) else text


def committed(text: str) -> str | None:
    """The answer a text commits itself to in the way of mathematics: `\\boxed{...}`, `#### ...`, a sentence."""
    return extract_answer(text).answer


def tagged(text: str) -> str | None:
    """What stands between the last <answer> and </answer>, without the blanks around it."""
    end = text.rfind(_CLOSING)
    start = text.rfind(_OPENING, 0, max(end, 0))
    return text[start + len(_OPENING) : end].strip() or None if 0 <= start < end else None


class TextJudge:
    """Form of lines, and where they end.

    Args:
        read: finds the final answer in a text; None while there is none.
        canonical: see base.Canonical; by default no two texts are the same answer.
    """

    def __init__(self, read: Callable[[str], str | None], canonical: Callable[[str], str] = str) -> None:
        self._read = read
        self.canonical = canonical

    async def answer(self, state: State) -> str | None:
        """The answer that the thoughts so far commit themselves to. What a model thinks in <think> is none."""
        return self._read(spoken("\n".join(state.thoughts)))

    async def check_thought(self, state: State, thought: str) -> Verdict:
        """Not too long, and not the line before once more, which is how models get stuck."""
        if len(thought) > MAX_THOUGHT_CHARS:
            return unparsable(f"a line of {len(thought)} characters; at most {MAX_THOUGHT_CHARS} are allowed")
        if state.thoughts and thought == state.thoughts[-1]:
            return wrong("the line repeats the line before")
        return correct(detail="well formed")

    async def self_check(self, problem: Problem, answer: str) -> Verdict | None:
        """Always None: nothing but the reference can tell."""
        return None


# Answers of mathematics, and texts of which nothing is known.
JUDGES = {"committed": TextJudge(committed, canonical), "tagged": TextJudge(tagged)}
