"""What may be asked for: the fields of OpenAI's requests, with those that are about thinking.

Options that this policy cannot honour (temperature, tools, ...) are taken with the value that changes nothing, and
refused with any other, as OpenAI's own reasoning models do; an unknown field is refused, too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from commands.server.errors import ApiError
from commands.server.settings import Settings
from policy.budget import BadBudget, Budget

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Seed = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]


def _only(value: int) -> BeforeValidator:
    """Says what is allowed, where the bounds below, which the schema shows, would name one side of it."""

    def check(given: Any) -> Any:
        if isinstance(given, int | float) and given != value:
            raise ValueError(f"no value but {value}, which changes nothing, can be honoured by a search")
        return given

    return BeforeValidator(check)


One = Annotated[float, Field(ge=1, le=1), _only(1)]
Zero = Annotated[float, Field(ge=0, le=0), _only(0)]
No = Literal[False]
Nothing = Annotated[list[Any], Field(max_length=0)]


def _few(data: Any) -> Any:
    """Refuses many before each of them is looked at."""
    if isinstance(data, dict) and len(data) > 16:
        raise ValueError(f"there are {len(data)} entries; allowed: 16")
    return data


Metadata = Annotated[dict[str, Annotated[str, Field(max_length=512)]], Field(max_length=16), BeforeValidator(_few)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _first_unknown(cls, data: Any) -> Any:
        """Only the first unknown field is left to be refused: listing a hundred thousand would hold up everybody."""
        if not isinstance(data, dict):
            return data
        unknown = data.keys() - cls.model_fields.keys()
        first = next((name for name in data if name in unknown), None)
        return {name: value for name, value in data.items() if name == first or name not in unknown}


MOST_TURNS = 2048
"""Messages or items of a request, and parts in all of them together: as many messages as OpenAI takes."""


def _bounded(turns: Any) -> Any:
    """Refuses many before an object is made of each: those of a body of a megabyte hold up everybody for seconds."""
    if not isinstance(turns, list):
        return turns
    contents = (turn.get("content") for turn in turns[: MOST_TURNS + 1] if isinstance(turn, dict))
    for count, what in ((len(turns), "entries"), (sum(len(one) for one in contents if isinstance(one, list)), "parts")):
        if count > MOST_TURNS:
            raise ValueError(f"there are {count} {what}; allowed: {MOST_TURNS}")
    return turns


class Part(BaseModel):
    """A piece of a message; only texts can be read."""

    type: str
    text: str | None = None


Parts = Annotated[list[Part], Field(fail_fast=True)]
"""Lists end at the first member that is wrong, which is all that is told."""


class Message(_Strict):
    """One turn. The text of the last one of the user is the problem; the others are taken and not read."""

    role: Role
    content: str | Parts | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: Any = None
    tool_call_id: str | None = None
    function_call: Any = None
    annotations: Any = None
    audio: Any = None


class Item(BaseModel):
    """One item of the input of a response; those that are no messages are taken and not read."""

    model_config = ConfigDict(strict=True)
    type: str = "message"
    role: Role | None = None
    content: str | Parts | None = None


class ThinkingOptions(_Strict):
    """What both kinds of requests may say about thinking, and about who asks.

    Attributes:
        thinking_budget: 10s, 2m, 5500tok, 200sims, or a mix such as 10s+5500tok; goes before an effort.
        search: name of a search algorithm.
        domain: what kind of problem it is; found by parsing where it is not named.
        seed: of all randomness.
    """

    model: Annotated[str, Field(max_length=200)]
    stream: bool | None = None
    thinking_budget: Annotated[str, Field(max_length=100)] | None = None
    search: Annotated[str, Field(max_length=100)] | None = None
    domain: Annotated[str, Field(max_length=100)] | None = None
    seed: Seed | None = None
    # no effect on what is thought
    user: str | None = None
    metadata: Metadata | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["auto", "default"] | None = None
    parallel_tool_calls: bool | None = None
    # only what changes nothing
    store: No | None = None
    temperature: One | None = None
    top_p: One | None = None
    top_logprobs: Zero | None = None
    tools: Nothing | None = None
    tool_choice: Literal["none", "auto"] | None = None


class StreamOptions(_Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class TextFormat(_Strict):
    type: Literal["text"] = "text"


class ChatRequest(ThinkingOptions):
    """POST /v1/chat/completions"""

    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True), BeforeValidator(_bounded)]
    stream_options: StreamOptions | None = None
    reasoning_effort: Effort | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, description="a cap on thinking tokens")] | None = None
    max_tokens: Annotated[int, Field(ge=1, description="the older name of max_completion_tokens")] | None = None
    verbosity: Literal["medium"] | None = None
    n: Annotated[int, Field(ge=1, le=1), _only(1)] | None = None
    frequency_penalty: Zero | None = None
    presence_penalty: Zero | None = None
    logprobs: No | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    stop: Nothing | None = None
    response_format: TextFormat | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None
    functions: Nothing | None = None


class Reasoning(_Strict):
    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class TextConfig(_Strict):
    format: TextFormat | None = None
    verbosity: Literal["medium"] | None = None


class ResponseRequest(ThinkingOptions):
    """POST /v1/responses"""

    input: Annotated[str | Annotated[list[Item], Field(fail_fast=True)], BeforeValidator(_bounded)]
    instructions: Annotated[str, Field(description="taken and not read, as system messages are")] | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: Annotated[int, Field(ge=1, description="a cap on thinking tokens")] | None = None
    text: TextConfig | None = None
    truncation: Literal["auto", "disabled"] | None = None
    stream_options: StreamOptions | None = None
    include: Nothing | None = None
    background: No | None = None


@dataclass(frozen=True)
class Ask:
    """A request that was understood.

    Attributes:
        problem: the text; untrusted.
        budget: granted.
        domain, search: names, or None for what the server was started with.
        arrived: when, by time.monotonic; from then until it is admitted it waits.
    """

    problem: str
    budget: Budget
    domain: str | None
    search: str | None
    seed: int
    arrived: float = field(default_factory=time.monotonic)


def ask_of_chat(request: ChatRequest, settings: Settings) -> Ask:
    """Raises ApiError."""
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise ApiError(400, "max_tokens and max_completion_tokens are two names of one option; allowed: one of them",
                       param="max_tokens", code="invalid_value")
    if request.stream_options is not None and not request.stream:
        raise ApiError(400, "stream_options may only be given with stream=true", param="stream_options",
                       code="invalid_value")
    cap = request.max_completion_tokens if request.max_tokens is None else request.max_tokens
    return _ask(request, settings, _last_of_user(request.messages, "messages"), request.reasoning_effort, cap)


def ask_of_response(request: ResponseRequest, settings: Settings) -> Ask:
    """Raises ApiError."""
    text = request.input if isinstance(request.input, str) else _last_of_user(request.input, "input")
    effort = None if request.reasoning is None else request.reasoning.effort
    return _ask(request, settings, text, effort, request.max_output_tokens)


def _ask(request: ThinkingOptions, settings: Settings, problem: str, effort: str | None, cap: int | None) -> Ask:
    check_model(request.model, settings)
    if len(problem) > settings.max_problem:
        raise ApiError(400, f"a problem of {len(problem)} characters is too long; allowed: {settings.max_problem}",
                       code="string_above_max_length")
    try:
        budget = settings.granted(request.thinking_budget, effort, cap)
    except BadBudget as error:
        param = "reasoning_effort" if request.thinking_budget is None else "thinking_budget"
        raise ApiError(400, str(error), param=param, code="invalid_value") from error
    return Ask(problem, budget, request.domain, request.search, request.seed or 0)


def check_model(name: str, settings: Settings) -> None:
    """Raises ApiError for a model that is not served."""
    if name != settings.model:
        raise ApiError(404, f"the model {name!r} does not exist; allowed: {settings.model}", param="model",
                       code="model_not_found")


def _last_of_user(turns: Sequence[Message | Item], param: str) -> str:
    for number, turn in reversed(list(enumerate(turns))):
        if turn.role == "user":
            return _text(turn.content, f"{param}[{number}].content")
    raise ApiError(400, "there is no message of the user; the text of the last one is the problem", param=param,
                   code="invalid_value")


def _text(content: str | Parts | None, param: str) -> str:
    if isinstance(content, str):
        return content
    for part in content or ():
        if part.type not in ("text", "input_text") or part.text is None:
            raise ApiError(400, f"a part of type {part.type!r} cannot be read; allowed: text", param=param,
                           code="unsupported_content")
    return "\n".join(part.text or "" for part in content or ())
