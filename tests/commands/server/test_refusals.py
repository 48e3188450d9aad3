"""What is refused, and how: always in OpenAI's shape."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from openai import AuthenticationError, BadRequestError, NotFoundError

from tests.commands.server.conftest import Served

USER = [{"role": "user", "content": "1 2 3 4"}]
CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}


def post(server: Served, body: Any, path: str = CHAT, headers: dict[str, str] = JSON) -> tuple[int, dict[str, Any]]:
    """Status and body; `body` as it is where it is bytes or an iterator, which is sent in chunks."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    if isinstance(body, dict | list):
        body = json.dumps(body)
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    return answer.status, said


@pytest.mark.parametrize(("change", "status", "code", "param"), [
    ({"model": "gpt-9"}, 404, "model_not_found", "model"),
    ({"n": 2}, 400, "invalid_value", "n"),
    ({"temperature": 0.5}, 400, "invalid_value", "temperature"),
    ({"top_p": 0.5}, 400, "invalid_value", "top_p"),
    ({"stop": ["x"]}, 400, "invalid_value", "stop"),
    ({"tools": [{"type": "function"}]}, 400, "invalid_value", "tools"),
    ({"response_format": {"type": "json_object"}}, 400, "invalid_value", "response_format.type"),
    ({"temprature": 1}, 400, "unknown_parameter", "temprature"),
    ({"\ud800": 1}, 400, None, None),
    ({"stream": "yes"}, 400, "invalid_type", "stream"),
    ({"messages": []}, 400, "invalid_value", "messages"),
    ({"messages": None}, 400, "invalid_type", "messages"),
    ({"messages": [{"role": "system", "content": "1 2 3 4"}]}, 400, "invalid_value", "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, 400, "unsupported_content",
     "messages[0].content"),
    ({"messages": [{"role": "nobody", "content": "x"}]}, 400, "invalid_value", "messages[0].role"),
    ({"messages": [{"role": "user", "content": "what is love"}]}, 400, "invalid_value", None),
    ({"messages": [{"role": "user", "content": ""}]}, 400, "invalid_value", None),
    ({"messages": [{"role": "user", "content": "1 " * 1500}]}, 400, "string_above_max_length", None),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, None, None),
    ({"thinking_budget": "1h"}, 400, "invalid_value", "thinking_budget"),
    ({"thinking_budget": "soon"}, 400, "invalid_value", "thinking_budget"),
    ({"max_completion_tokens": 3}, 400, "invalid_value", None),
    ({"max_completion_tokens": 300, "max_tokens": 300}, 400, "invalid_value", "max_tokens"),
    ({"search": "../policy/shipped"}, 400, "invalid_value", None),
    ({"domain": "humaneval"}, 400, "invalid_value", "domain"),
    ({"stream_options": {"include_usage": True}}, 400, "invalid_value", "stream_options"),
    ({"seed": 1 << 64}, 400, None, "seed"),
])
def test_a_request_that_cannot_be(
    server: Served, change: dict[str, Any], status: int, code: str | None, param: str | None
) -> None:
    for stream in (False, True) if change.get("stream") is None and "stream_options" not in change else (False,):
        asked = {"model": "system-2", "messages": USER, "stream": stream, **change}
        got, said = post(server, asked)
        error = said["error"]
        assert got == status and set(said) == {"error"} and set(error) == {"message", "type", "param", "code"}, said
        assert error["type"] == "invalid_request_error" and error["message"] and "\n" not in error["message"]
        assert code in (None, error["code"]) and param in (None, error["param"]), error
        if param in ("temperature", "top_p", "n"):
            assert "no value but 1" in error["message"]


def test_what_changes_nothing_is_taken(server: Served) -> None:
    done = server.client().chat.completions.create(
        model="system-2", messages=USER, n=1, temperature=1, top_p=1, presence_penalty=0, frequency_penalty=0,
        user="me", logprobs=False, tool_choice="none", store=False, response_format={"type": "text"}, stop=None,
        service_tier="auto", metadata={"a": "b"}, extra_body={"thinking_budget": "5000tok"})
    assert done.choices[0].finish_reason == "stop"


def test_the_client_knows_its_errors(server: Served) -> None:
    with pytest.raises(BadRequestError) as bad:
        server.client().chat.completions.create(model="system-2", messages=USER, n=2)
    assert bad.value.param == "n" and bad.value.type == "invalid_request_error"
    with pytest.raises(NotFoundError) as lost:
        server.client().responses.create(model="gpt-9", input="1 2 3 4")
    assert lost.value.code == "model_not_found"


@pytest.mark.parametrize("body", [
    b"", b"{", b"\xff\xfe", b"[]", b"null", b'"text"', b"[" * 9000, b'{"model": NaN}', b'{"n": ' + b"9" * 9000 + b"}",
    b'{"model": "system-2", "messages": ' + b"[" * 9000 + b"]" * 9000 + b"}",
])
def test_a_malformed_body(server: Served, body: bytes) -> None:
    status, said = post(server, body)
    assert status == 400 and said["error"]["type"] == "invalid_request_error"


def test_a_body_of_another_type_is_refused(server: Served) -> None:
    """Any page in a browser may send a form or plain text without asking."""
    body = json.dumps({"model": "system-2", "messages": USER}).encode()
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}):
        assert post(server, body, headers=headers)[0] == 400


def test_a_body_that_is_too_large(server: Served) -> None:
    for body in (b" " * 20001, iter([b" " * 8000] * 1000)):
        try:
            status, said = post(server, body)
        except (BrokenPipeError, ConnectionResetError):  # it did not wait for the rest
            continue
        assert status == 413 and said["error"]["code"] == "body_too_large"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as peer:
        peer.sendall(b"POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n")
        assert peer.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(("text", "answer"), [
    (b"POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nContent-Le", b""),
    (b"", b""),
    (b"POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{", b"HTTP/1.1 408 "),
])
def test_nobody_may_dawdle(server: Served, text: bytes, answer: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as peer:
        peer.sendall(text)
        started = time.monotonic()
        assert peer.recv(100)[: len(answer) or 1] == answer
        assert 0.5 < time.monotonic() - started < 5


def test_nobody_keeps_a_connection_without_reading(server: Served) -> None:
    """More is asked for than the kernel's buffers hold, and nothing is read."""
    before = server.sockets
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(("127.0.0.1", server.port))
        peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300)
        deadline = time.monotonic() + 5
        while not (ours := server.sockets - before) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(ours) == 1
        while ours & server.sockets:
            assert time.monotonic() < deadline + 10
            time.sleep(0.1)


def test_no_page_loads_anything_from_elsewhere(server: Served) -> None:
    """FastAPI's own pages run scripts of another server, and whoever has a key may type it there."""
    for path in ("/docs", "/redoc"):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", path)
        assert connection.getresponse().status == 404
        connection.close()


def test_another_name_is_refused(server: Served) -> None:
    for host, status in (("evil.example", 400), ("localhost", 200), (f"127.0.0.1:{server.port}", 200)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", "/health", headers={"Host": host})
        assert connection.getresponse().status == status
        connection.close()


def test_nothing_listens_beyond_this_machine(server: Served) -> None:
    assert server.listening == {"0100007F"}  # 127.0.0.1


def test_the_log_has_no_texts(server: Served) -> None:
    post(server, {"model": "system-2", "messages": [{"role": "user", "content": "3 3 8 8"}], "secret": "xyzzy"})
    log = server.errors.read_text()
    assert "POST /v1/chat/completions 400" in log and "xyzzy" not in log and "1 2 3 4" not in log
    assert "Traceback" not in log


def test_a_wrong_key_gets_nothing_and_ctrl_c_ends_with_zero(start: Callable[..., Any]) -> None:
    key = "the-right-key-of-16-characters"
    with start("api_keys_variable=KEYS", KEYS=key) as served:
        for wrong in ("wrong-key-of-16-characters", key[:-1], "x"):
            with pytest.raises(AuthenticationError) as refused:
                served.client(wrong).chat.completions.create(model="system-2", messages=USER)
            assert refused.value.code == "invalid_api_key"
        assert post(served, {"model": "system-2"})[0] == 401 and post(served, b"{" * 50000)[0] == 401
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        for path, status in (("/health", 200), ("/metrics", 401), ("/v1/models", 401), ("/nowhere", 401)):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status, path
        done = served.client(key).chat.completions.create(model="system-2", messages=USER)
        assert done.choices[0].message.content
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(10) == 0 and "Traceback" not in served.errors.read_text()
        assert key not in served.errors.read_text() and "key=key1" in served.errors.read_text()
