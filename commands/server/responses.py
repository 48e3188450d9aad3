"""The form of responses, OpenAI's newer interface: items, and typed events."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator
from typing import Any, Literal

from pydantic import BaseModel

from commands.server.chat import Thinking, TokensDetails, summary
from commands.server.errors import ApiError
from commands.server.events import event
from commands.server.requests import Ask, ResponseRequest
from commands.server.service import Outcome, Service

REASONING, MESSAGE = 0, 1
"""Places of the two items in a response's output."""


class InputDetails(BaseModel):
    cached_tokens: int
    cache_write_tokens: int


class ResponseUsage(BaseModel):
    """See Usage."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: TokensDetails
    total_tokens: int


class Response(BaseModel):
    """A reasoning item, whose summary holds the answers on the way, and a message item with the answer."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    model: str
    output: list[dict[str, Any]]
    usage: ResponseUsage | None
    thinking: Thinking | None


class Form:
    """Makes the objects of one response."""

    def __init__(self, request: ResponseRequest) -> None:
        self._request = request
        self._created = int(time.time())
        self._id, self._reasoning_id, self._message_id = (f"{kind}_{uuid.uuid4().hex}"
                                                          for kind in ("resp", "rs", "msg"))

    def response(self, status: str, outcome: Outcome | None = None, error: ApiError | None = None) -> dict[str, Any]:
        request = self._request
        effort = None if request.reasoning is None else request.reasoning.effort
        cut = outcome is not None and outcome.cut
        return {
            "id": self._id, "object": "response", "created_at": self._created,
            "status": "incomplete" if cut else status,
            "error": None if error is None else {"code": "server_error", "message": str(error)},
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": request.instructions, "max_output_tokens": request.max_output_tokens,
            "metadata": request.metadata or {}, "model": request.model,
            "output": [] if outcome is None else [self.reasoning(outcome.reasoning), self.message(outcome.content)],
            "parallel_tool_calls": True, "previous_response_id": None,
            "reasoning": {"effort": effort, "summary": "detailed"}, "store": False, "temperature": 1.0,
            "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": 1.0,
            "truncation": "disabled", "usage": None if outcome is None else usage(outcome), "user": request.user,
            "thinking": None if outcome is None else outcome.extension,
        }  # fmt: skip

    def reasoning(self, text: str | None) -> dict[str, Any]:
        """The first item; None while it is written."""
        return {"id": self._reasoning_id, "type": "reasoning",
                "summary": [] if text is None else [{"type": "summary_text", "text": text}],
                "status": "in_progress" if text is None else "completed"}

    def message(self, text: str | None) -> dict[str, Any]:
        """The second item; None while it is written."""
        return {"id": self._message_id, "type": "message", "role": "assistant",
                "content": [] if text is None else [self.part(text)],
                "status": "in_progress" if text is None else "completed"}

    def part(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    @property
    def of_reasoning(self) -> dict[str, Any]:
        return {"item_id": self._reasoning_id, "output_index": REASONING, "summary_index": 0}

    @property
    def of_message(self) -> dict[str, Any]:
        return {"item_id": self._message_id, "output_index": MESSAGE, "content_index": 0}


class Numbered:
    """Writes events, each with its number."""

    def __init__(self) -> None:
        self._next = 0

    def __call__(self, kind: str, **fields: Any) -> str:
        number, self._next = self._next, self._next + 1
        return event({"type": kind, "sequence_number": number, **fields}, kind)


async def events(
    service: Service, request: ResponseRequest, ask: Ask, key: str, said: dict[str, Any]
) -> AsyncGenerator[str, None]:
    """The events of one response, in OpenAI's order."""
    form, tell, text = Form(request), Numbered(), ""
    try:
        async with service.session(ask, key) as session:
            yield tell("response.created", response=form.response("in_progress"))
            yield tell("response.in_progress", response=form.response("in_progress"))
            yield tell("response.output_item.added", output_index=REASONING, item=form.reasoning(None))
            yield tell("response.reasoning_summary_part.added", **form.of_reasoning,
                       part={"type": "summary_text", "text": ""})
            async for piece in session.reasoning():
                text += piece
                yield tell("response.reasoning_summary_text.delta", **form.of_reasoning, delta=piece)
    except ApiError as error:
        if error.status < 500:  # refused before it began
            raise
        yield tell("response.failed", response=form.response("failed", error=error))
        return
    outcome = session.outcome
    said.update(summary(outcome))
    yield tell("response.reasoning_summary_text.done", **form.of_reasoning, text=text)
    yield tell("response.reasoning_summary_part.done", **form.of_reasoning, part={"type": "summary_text", "text": text})
    yield tell("response.output_item.done", output_index=REASONING, item=form.reasoning(text))
    for piece in _message(form, tell, outcome.content):
        yield piece
    end = "response.incomplete" if outcome.cut else "response.completed"
    yield tell(end, response=form.response("completed", outcome))


def _message(form: Form, tell: Numbered, text: str) -> list[str]:
    return [
        tell("response.output_item.added", output_index=MESSAGE, item=form.message(None)),
        tell("response.content_part.added", **form.of_message, part=form.part("")),
        tell("response.output_text.delta", **form.of_message, delta=text, logprobs=[]),
        tell("response.output_text.done", **form.of_message, text=text, logprobs=[]),
        tell("response.content_part.done", **form.of_message, part=form.part(text)),
        tell("response.output_item.done", output_index=MESSAGE, item=form.message(text)),
    ]


def usage(outcome: Outcome) -> dict[str, Any]:
    tokens = outcome.result.tokens
    return {"input_tokens": 0, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": tokens, "output_tokens_details": {"reasoning_tokens": tokens}, "total_tokens": tokens}
