"""What is written to a server: prompts, conversations and options, in the words that it understands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from policy.base import BadPolicy
from verifiers.base import Problem, State

APIS = ("chat", "completions")
CONTINUATIONS = ("auto", "prefix", "turns")
_ROOT = Path(__file__).resolve().parents[2]
COUNTING = State(Problem("", "", "Count from 1 to 5, one number a line.", {}), ("1", "2"))
"""What a server is asked at the start, to find out what it understands."""


@dataclass(frozen=True)
class Dialect:
    """What a server understands and offers beyond the least.

    Attributes:
        n: several samples in one request.
        logprobs: tells log-probabilities of what it drew.
        seed: takes a seed.
        prefix: continues the last message of a conversation where that is the assistant's.
    """

    n: bool = True
    logprobs: bool = True
    seed: bool = True
    prefix: bool = True

    @property
    def offers(self) -> tuple[str, ...]:
        return tuple(name for name, there in vars(self).items() if there)


def dialects(chat: bool, logprobs: bool | None, continuation: str) -> list[Dialect]:
    """What a server may understand, that which lacks least first.

    Args:
        logprobs: True: nothing without them; False: nothing with them; None: either.
        continuation: `prefix`, `turns`, or either for `auto`.
    """
    fixed = {name for name, is_fixed in (("logprobs", logprobs is False),
                                         ("prefix", not chat or continuation == "turns")) if is_fixed}
    free = [name for name in ("prefix", "logprobs", "n", "seed") if name not in fixed
            and not (name == "logprobs" and logprobs) and not (name == "prefix" and continuation == "prefix")]
    subsets = (set(subset) for size in range(len(free) + 1) for subset in combinations(free, size))
    return [Dialect(**dict.fromkeys(sorted(fixed | subset), False)) for subset in subsets]


@dataclass(frozen=True)
class Writer:
    """Writes the body of a request.

    Attributes:
        chat: for /chat/completions; else for /completions.
        max_tokens: of a sample.
        system: the first message of a conversation, or the beginning of a prompt; may be empty.
        go_on: asks for the next line, where lines are turns.
        extra: options put into every request as they are.
    """

    chat: bool
    max_tokens: int
    system: str
    go_on: str
    extra: Mapping[str, Any]

    @property
    def path(self) -> str:
        return "/chat/completions" if self.chat else "/completions"

    def body(
        self, model: str, state: State, n: int, seed: int | None, temperature: float, dialect: Dialect
    ) -> dict[str, Any]:
        """For n samples of the next line, the first of which has this seed; None: the likeliest line."""
        body: dict[str, Any] = {"model": model, "temperature": temperature, "stop": ["\n"]}
        if "max_completion_tokens" not in self.extra:  # servers that take that one refuse the other
            body["max_tokens"] = self.max_tokens
        if n > 1:  # only those are asked who understand it
            body["n"] = n
        if dialect.seed and seed is not None:
            body["seed"] = seed
        if dialect.logprobs:
            body["logprobs"] = True if self.chat else 1
        if not self.chat:
            body["prompt"] = self.system + "".join(f"{line}\n" for line in (state.problem.prompt, *state.thoughts))
        else:
            body["messages"] = self._messages(state, dialect.prefix)
            if state.thoughts and dialect.prefix:
                body |= {"continue_final_message": True, "add_generation_prompt": False}
        return body | dict(self.extra)

    def _messages(self, state: State, prefix: bool) -> list[dict[str, str]]:
        messages = [{"role": "system", "content": self.system}] if self.system else []
        messages.append({"role": "user", "content": state.problem.prompt})
        lines = "".join(f"{line}\n" for line in state.thoughts)
        if lines and prefix:
            messages.append({"role": "assistant", "content": lines})
        elif lines:
            messages += [{"role": "assistant", "content": lines.rstrip("\n")}, {"role": "user", "content": self.go_on}]
        return messages


def text_of(path: str | None, what: str) -> str:
    """A text in a file, seen from here or from the project's folder; empty for None. Raises BadPolicy."""
    if path is None:
        return ""
    file = Path(path).expanduser()
    try:
        return (file if file.is_file() else _ROOT / file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadPolicy(f"cannot read policy.{what}={path[:80]!r}: {getattr(error, 'strerror', None) or error}"
                        ) from error
