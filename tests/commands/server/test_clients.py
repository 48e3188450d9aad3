"""OpenAI's own client, and curl, against a real server."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time

import pytest
from openai import APIError, AsyncOpenAI
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from tests.commands.server.conftest import NEVER, Served

SOLVED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"},
          {"role": "assistant", "content": None, "reasoning_content": "hm"},
          {"role": "user", "content": [{"type": "text", "text": "1 2 3 4"}]}]
TOKENS = {"thinking_budget": "5000tok", "seed": 7}


def value(expression: str | None) -> float:
    assert expression and set(expression) <= set("0123456789+-*/() ")
    return float(eval(expression, {"__builtins__": {}}))  # digits and signs


def test_a_completion(server: Served) -> None:
    done = server.client().chat.completions.create(model="system-2", messages=SOLVED, extra_body=TOKENS)
    ChatCompletion.model_validate(done.model_dump(), strict=True)
    message, thinking = done.choices[0].message, done.thinking
    assert value(message.content) == 24 and done.choices[0].finish_reason == "stop"
    assert message.content in message.reasoning_content and "(verified, after" in message.reasoning_content
    assert thinking["verified"] is True and thinking["confidence"] == 1.0 and thinking["policy"] == "uniform"
    assert thinking["domain"] == "game24" and thinking["thoughts"] and thinking["queue_seconds"] < 1
    assert done.usage.completion_tokens_details.reasoning_tokens == done.usage.total_tokens == thinking["tokens"] > 0
    again = server.client().chat.completions.create(model="system-2", messages=SOLVED, seed=7,
                                                    extra_body={"thinking_budget": "5000tok"})
    assert again.choices[0].message.content == message.content and again.thinking["tokens"] == thinking["tokens"]


def test_a_stream(server: Served) -> None:
    stream = server.client().chat.completions.create(
        model="system-2", messages=SOLVED, extra_body=TOKENS, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant" and len({chunk.id for chunk in chunks}) == 1
    reasoning = [delta.reasoning_content for delta in deltas if getattr(delta, "reasoning_content", None)]
    contents = [delta.content for delta in deltas if delta.content]
    assert reasoning and len(contents) == 1 and value(contents[0]) == 24
    assert deltas.index(next(d for d in deltas if d.content)) == len(deltas) - 2  # after all reasoning, before the end
    assert chunks[-2].choices[0].finish_reason == "stop" and chunks[-2].thinking["verified"] is True
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == chunks[-2].thinking["tokens"]
    whole = server.client().chat.completions.create(model="system-2", messages=SOLVED, extra_body=TOKENS)
    assert whole.choices[0].message.content == contents[0]


def test_better_answers_come_while_it_thinks(server: Served) -> None:
    started, times = time.monotonic(), []
    stream = server.client().chat.completions.create(
        model="system-2", messages=[{"role": "user", "content": "738*46+(917-58)*23"}], stream=True,
        extra_body={"thinking_budget": "1s"})
    for chunk in stream:
        times.append(time.monotonic() - started)
        assert chunk.usage is None
    assert times[0] < 0.7 and 0.9 < times[-1] < 2.0, times


async def test_many_at_once(server: Served) -> None:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        async def streamed() -> str:
            stream = await client.chat.completions.create(model="system-2", messages=SOLVED, stream=True,
                                                          extra_body=TOKENS)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        whole = client.chat.completions.create(model="system-2", messages=SOLVED, extra_body=TOKENS)
        answer = client.responses.create(model="system-2", input="1 2 3 4", extra_body=TOKENS)
        first, second, third = await asyncio.gather(streamed(), whole, answer)
    assert value(first) == 24 and first == second.choices[0].message.content == third.output_text


def test_a_response(server: Served) -> None:
    done = server.client().responses.create(model="system-2", input=[{"role": "user", "content": "1 2 3 4"}],
                                            extra_body=TOKENS, reasoning={"summary": "auto"}, metadata={"a": "b"})
    Response.model_validate(done.model_dump(), strict=True)
    assert value(done.output_text) == 24 and done.status == "completed" and done.metadata == {"a": "b"}
    assert [item.type for item in done.output] == ["reasoning", "message"]
    assert done.output_text in done.output[0].summary[0].text and done.thinking["verified"] is True
    assert done.usage.output_tokens_details.reasoning_tokens == done.usage.total_tokens > 0


def test_a_stream_of_a_response(server: Served) -> None:
    with server.client().responses.stream(model="system-2", input="1 2 3 4", extra_body=TOKENS) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[:4] == ["response.created", "response.in_progress", "response.output_item.added",
                         "response.reasoning_summary_part.added"]
    assert "response.reasoning_summary_text.delta" in kinds and kinds[-1] == "response.completed"
    assert kinds.index("response.output_text.delta") > kinds.index("response.reasoning_summary_part.done")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert value(final.output_text) == 24 and final.usage.total_tokens > 0


def test_efforts_are_budgets(server: Served) -> None:
    client = server.client()
    chat = client.chat.completions.create(model="system-2", messages=SOLVED, reasoning_effort="none")
    response = client.responses.create(model="system-2", input=NEVER, reasoning={"effort": "low"})
    assert chat.thinking["simulations"] == 1 and chat.thinking["seconds"] < 10
    assert 0.15 < response.thinking["seconds"] < 10 and response.thinking["simulations"] > 1
    with pytest.raises(APIError, match="none, minimal"):
        client.chat.completions.create(model="system-2", messages=SOLVED, reasoning_effort="max")


def test_no_answer_is_said_plainly(server: Served) -> None:
    done = server.client().chat.completions.create(
        model="system-2", messages=[{"role": "user", "content": NEVER}], max_completion_tokens=100)
    assert done.choices[0].message.content == "I found no answer within the thinking budget."
    assert done.choices[0].finish_reason == "length" and done.thinking["answer"] is None
    assert done.usage.total_tokens <= 100
    response = server.client().responses.create(model="system-2", input=NEVER, max_output_tokens=100)
    assert response.status == "incomplete" and response.incomplete_details.reason == "max_output_tokens"


def test_searchers_and_domains_by_name(server: Served) -> None:
    for search in ("greedy", "best_of_n"):
        done = server.client().chat.completions.create(
            model="system-2", messages=[{"role": "user", "content": NEVER}],
            extra_body={"search": search, "domain": "countdown", "thinking_budget": "2000tok"})
        assert done.thinking["domain"] == "countdown"
        assert (done.thinking["simulations"] == 1) is (search == "greedy")


def test_models(server: Served) -> None:
    client = server.client()
    assert [model.id for model in client.models.list()] == ["system-2"]
    assert client.models.retrieve("system-2").object == "model"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_curl(server: Served) -> None:
    body = {"model": "system-2", "messages": SOLVED, **TOKENS}
    command = ["curl", "-sS", "--no-buffer", "--noproxy", "*", f"{server.url}/v1/chat/completions",
               "-H", "Content-Type: application/json", "-d"]
    whole = subprocess.run([*command, json.dumps(body)], capture_output=True, text=True, check=True, timeout=30)
    assert value(json.loads(whole.stdout)["choices"][0]["message"]["content"]) == 24
    stream = subprocess.run([*command, json.dumps({**body, "stream": True})], capture_output=True, text=True,
                            check=True, timeout=30)
    lines = [line for line in stream.stdout.split("\n") if line]
    assert lines[-1] == "data: [DONE]" and all(line.startswith("data: ") for line in lines)
