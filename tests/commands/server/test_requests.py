"""How much work a body can make before it is refused: everybody else waits meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from commands.server.requests import MOST_TURNS, ChatRequest, ResponseRequest

MANY = 50_000
USER = {"role": "user", "content": "1 2 3 4"}
FIELDS = {f"a{i}": 1 for i in range(MANY)}


@pytest.mark.parametrize(("kind", "body", "place"), [
    (ChatRequest, {"messages": [1] * MOST_TURNS}, ("messages", 0)),
    (ChatRequest, {"messages": [{"role": "user", "content": [1] * MOST_TURNS}]}, ("messages", 0, "content")),
    (ChatRequest, {"messages": [USER], **FIELDS}, ("a0",)),
    (ChatRequest, {"messages": [USER | FIELDS]}, ("messages", 0, "a0")),
    (ChatRequest, {"messages": [USER], "metadata": FIELDS}, ("metadata",)),
    (ChatRequest, {"messages": [USER], "logit_bias": dict.fromkeys(FIELDS, "x")}, ("logit_bias",)),
    (ChatRequest, {"messages": [USER], "stop": [1] * MANY}, ("stop",)),
    (ResponseRequest, {"input": [1] * MOST_TURNS}, ("input",)),
    (ResponseRequest, {"input": [{"role": "user", "content": [1] * MOST_TURNS}]}, ("input",)),
    (ResponseRequest, {"input": "x", "text": {"format": FIELDS}}, ("text", "format", "a0")),
])  # fmt: skip
def test_the_first_mistake_is_enough(kind: type[ChatRequest], body: dict[str, Any], place: tuple[Any, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        kind.model_validate({"model": "m", **body})
    assert refused.value.error_count() <= 3  # one for each form that a text may have
    assert refused.value.errors()[0]["loc"][: len(place)] == place


@pytest.mark.parametrize(("kind", "body", "what"), [
    (ChatRequest, lambda count: {"messages": [USER] * count}, "entries"),
    (ChatRequest, lambda count: {"messages": [{"role": "user"}] * count}, "entries"),
    (ChatRequest, lambda count: {"messages": [USER | {"content": [{"type": "text", "text": "1"}] * (count // 2)}] * 2},
     "parts"),
    (ResponseRequest, lambda count: {"input": [{}] * count}, "entries"),
    (ResponseRequest, lambda count: {"input": [USER | {"content": [{"type": "input_text"}] * count}]}, "parts"),
])  # fmt: skip
def test_what_is_valid_is_bounded_too_before_an_object_is_made_of_each(
    kind: type[ChatRequest], body: Callable[[int], dict[str, Any]], what: str
) -> None:
    assert kind.model_validate({"model": "m", **body(MOST_TURNS)})
    with pytest.raises(ValidationError) as refused:
        kind.model_validate({"model": "m", **body(MOST_TURNS + 2)})
    assert refused.value.error_count() == 1
    assert f"there are {MOST_TURNS + 2} {what}; allowed: {MOST_TURNS}" in refused.value.errors()[0]["msg"]


def test_metadata_as_openai_has_it() -> None:
    for count, good in ((16, True), (17, False)):
        body = {"model": "m", "messages": [USER], "metadata": {str(i): "x" for i in range(count)}}
        if good:
            assert ChatRequest.model_validate(body).metadata == body["metadata"]
        else:
            with pytest.raises(ValidationError, match="allowed: 16"):
                ChatRequest.model_validate(body)
