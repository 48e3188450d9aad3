"""The form of chat completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator
from typing import Any, Literal

from pydantic import BaseModel

from commands.server.events import event
from commands.server.requests import Ask
from commands.server.service import Outcome, Service


class Thinking(BaseModel):
    """What came of the thinking: an extension, OpenAI's objects have no field for it.

    `answer` is null if there is none; `verified` says that it was proved without a reference; `seconds` do not include
    `queue_seconds`; `failed`: something failed after the answer, and the thinking ended early.
    """

    answer: str | None
    verified: bool
    confidence: float
    domain: str
    seconds: float
    queue_seconds: float
    tokens: int
    simulations: int
    thoughts: list[str]
    policy: str
    failed: bool


class TokensDetails(BaseModel):
    reasoning_tokens: int


class Usage(BaseModel):
    """Tokens thought. Reading a problem costs nothing, and an answer is part of a thought."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    completion_tokens_details: TokensDetails


class ChatMessage(BaseModel):
    role: Literal["assistant"]
    content: str
    reasoning_content: str
    refusal: None = None


class Choice(BaseModel):
    index: int
    message: ChatMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class ChatCompletion(BaseModel):
    """An answer, what led to it, and what it cost."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    thinking: Thinking


def usage(outcome: Outcome) -> dict[str, Any]:
    tokens = outcome.result.tokens
    return {"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens,
            "completion_tokens_details": {"reasoning_tokens": tokens}}


def finish_reason(outcome: Outcome) -> str:
    return "length" if outcome.cut else "stop"


def _head(model: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def completion(model: str, outcome: Outcome) -> dict[str, Any]:
    """A whole one."""
    message = {"role": "assistant", "content": outcome.content, "reasoning_content": outcome.reasoning, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason(outcome), "logprobs": None}
    return {**_head(model, "chat.completion"), "choices": [choice], "usage": usage(outcome),
            "thinking": outcome.extension}


async def chunks(service: Service, ask: Ask, key: str, said: dict[str, Any], with_usage: bool
                 ) -> AsyncGenerator[str, None]:
    """The events of one: better answers as reasoning, then the final answer, usage if wanted, and the end."""
    head = {**_head(service.settings.model, "chat.completion.chunk"), **({"usage": None} if with_usage else {})}

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        return event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})

    async with service.session(ask, key) as session:
        yield chunk({"role": "assistant", "content": ""})
        async for text in session.reasoning():
            yield chunk({"reasoning_content": text})
    outcome = session.outcome
    said.update(summary(outcome))
    yield chunk({"content": outcome.content})
    yield chunk({}, finish_reason(outcome), thinking=outcome.extension)
    if with_usage:
        yield event({**head, "choices": [], "usage": usage(outcome)})
    yield "data: [DONE]\n\n"


def summary(outcome: Outcome) -> dict[str, Any]:
    """For the log: no texts."""
    result = outcome.result
    return {"domain": result.domain, "queued": f"{outcome.queued:.3f}s", "thought": f"{result.seconds:.3f}s",
            "tokens": result.tokens, "answered": result.answer is not None, "verified": result.verified}
