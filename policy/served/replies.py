"""What servers answer, read into samples: nothing is taken for granted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policy.served.draws import Sample
from policy.served.endpoint import ServerFailed

LEAST = -9999.0
"""Log-probability [nats] of a token that was impossible; servers say that or minus infinity."""
FINISHED = ("stop", "length", "content_filter", "tool_calls", "eos", None)


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        samples: in the server's order.
        prompt_tokens, completion_tokens: of all samples together, as the server counts them; 0 where it does not.
    """

    samples: Sequence[Sample]
    prompt_tokens: int
    completion_tokens: int


def read(answer: Any, chat: bool, turns: bool, longest: int) -> Reply:
    """Read what /completions or /chat/completions answers. Raises ServerFailed, naming what is wrong.

    A sample took the tokens that its log-probabilities list; else its share of the usage; else, if the server counts
    nothing, one a character and one for its end.

    Args:
        chat: is it an answer of /chat/completions?
        turns: is each line a turn of its own? Then the end of a turn is not the end of all text.
        longest: tokens of a sample at most.
    """
    choices = _field(answer, "choices", list)
    if not choices:
        raise ServerFailed("the server's answer has no choices")
    usage = answer.get("usage")
    asked, spent = (0, None) if usage is None else (_count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))
    samples = []
    for i, choice in enumerate(sorted(choices, key=_index)):
        share = None if spent is None else spent * (i + 1) // len(choices) - spent * i // len(choices)
        samples.append(_sample(choice, chat, turns, share, longest))
    return Reply(samples, asked, spent or 0)


def _sample(choice: Mapping[str, Any], chat: bool, turns: bool, share: int | None, longest: int) -> Sample:
    if chat:
        message = _field(choice, "message", dict)
        written = "" if message.get("content") is None else _field(message, "content", str)
    else:
        written = _field(choice, "text", str)
    # JSON may hold half a character (a lone surrogate), which no text and no request can.
    written = written.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    reason = choice.get("finish_reason")
    if reason not in FINISHED:
        raise ServerFailed(f"the server's answer has the finish_reason {str(reason)[:40]!r}")
    tokens = _tokens(choice.get("logprobs"))
    text, newline, _ = written.partition("\n")
    text = text.removesuffix("\r")
    in_line = bool(newline) or _stopped_by_newline(choice, tokens)
    complete = in_line or reason in ("stop", "eos", None)
    # Most servers do not say whether a newline or the end of all text came: then what is blank is the end.
    blank, told = not text.strip(), not turns and ("stop_reason" in choice or "matched_stop" in choice)
    last = complete and not in_line and (blank or told)
    took = len(tokens) if tokens else len(text) + 1 if share is None else share
    logprob = None if tokens is None else sum(value for _, value in tokens)
    return Sample(text, max(1, min(took, longest)), logprob, complete, last)


def _stopped_by_newline(choice: Mapping[str, Any], tokens: Sequence[tuple[str, float]] | None) -> bool:
    """Does the server say that the line ended, and not all text? (vLLM and SGLang do; others show the last token.)"""
    if "\n" in (choice.get("stop_reason"), choice.get("matched_stop")):
        return True
    return bool(tokens and "\n" in tokens[-1][0])


def _tokens(logprobs: Any) -> list[tuple[str, float]] | None:
    """Tokens of a line with their log-probabilities, its newline included if it is there; None where none are told.

    Completions have two lists, chats (and llama.cpp always) a list of objects.
    """
    if logprobs is None:
        return None
    if not isinstance(logprobs, dict):
        raise ServerFailed("the server's log-probabilities are no object")
    if isinstance(logprobs.get("content"), list):
        pairs = [(_field(token, "token", str), token.get("logprob")) for token in logprobs["content"]]
    elif isinstance(logprobs.get("token_logprobs"), list):
        values = logprobs["token_logprobs"]
        names = logprobs.get("tokens")
        if not isinstance(names, list) or len(names) != len(values):
            raise ServerFailed("the server's log-probabilities and tokens are not of one length")
        pairs = [(str(name), value) for name, value in zip(names, values, strict=True)]
    else:
        return None
    line = []
    for name, value in pairs:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise ServerFailed("the server's log-probabilities are no numbers")
        line.append((name, max(min(value, 0.0), LEAST)))
        if "\n" in name:
            break
    return line


def _field(owner: Any, name: str, kind: type) -> Any:
    if not isinstance(owner, dict):
        raise ServerFailed(f"the server's answer is no JSON object where it should hold {name!r}")
    if not isinstance(owner.get(name), kind):
        raise ServerFailed(f"the server's answer has no {name!r} as it should be")
    return owner[name]


def _count(usage: Any, name: str) -> int:
    count = _field(usage, name, int)
    if isinstance(count, bool) or count < 0:
        raise ServerFailed(f"the server counts {name} as {count!r}")
    return int(count)


def _index(choice: Any) -> int:
    return int(choice.get("index") or 0) if isinstance(choice, dict) and isinstance(choice.get("index"), int) else 0
