"""Refusals in the shape that OpenAI's clients read."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from commands.errors import REFUSALS, one_line, shorten
from commands.server.admission import Closed, Full

INVALID = "invalid_request_error"
_CODES = {"extra_forbidden": "unknown_parameter", "missing": "missing_required_parameter"}
log = logging.getLogger("serve")


class Json(JSONResponse):
    """ASCII, so that nothing a model or a client wrote can be impossible to encode."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


class ErrorBody(BaseModel):
    """What went wrong, in OpenAI's words."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorBody


class ApiError(Exception):
    """A request that is refused, or failed.

    Args:
        message: one line; shown as printable text.
        param: the field to blame.
        headers: of the response.
    """

    def __init__(
        self, status: int, message: str, *, kind: str = INVALID, param: str | None = None, code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        self.body = Error(error=ErrorBody(
            message=one_line(message)[:1000], type=kind, param=None if param is None else one_line(param)[:200],
            code=code)).model_dump()

    def response(self) -> Json:
        return Json(self.body, self.status, self.headers)


def full(error: Full) -> ApiError:
    return ApiError(429, str(error), kind="rate_limit_error", code="rate_limit_exceeded",
                    headers={"Retry-After": str(error.retry_after)})


def closed() -> ApiError:
    return ApiError(503, "the server is stopping and admits nobody", kind="server_error", code="stopping",
                    headers={"Retry-After": "5"})


def failed(error: BaseException) -> ApiError:
    """Of a search that ended with an error; what exactly is for the log."""
    log.error("a search failed: %s", one_line(str(error)).partition(":")[0])  # the rest may quote a model or a client
    return ApiError(500, "the search failed", kind="server_error", code="search_failed")


def invalid(error: RequestValidationError) -> ApiError:
    """The first thing that is wrong with a body."""
    first = error.errors()[0]
    param = where(first["loc"])
    if first["type"] == "json_invalid" or not param:
        return ApiError(400, "the body is not a JSON object; it needs the header Content-Type: application/json",
                        code="invalid_body")
    if first["type"] == "extra_forbidden":
        message = f"unknown parameter: {shorten(param)}"
    elif first["type"] == "missing":
        message = f"missing required parameter: {shorten(param)}"
    else:
        message = f"{shorten(param)}: {first['msg'].removeprefix('Value error, ')}"
    code = _CODES.get(first["type"], "invalid_type" if first["type"].endswith("_type") else "invalid_value")
    return ApiError(400, message, param=param, code=code)


def where(loc: Sequence[str | int]) -> str:
    """The name of a field in a body, such as messages[0].content."""
    path = ""
    for part in loc[1:]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not (path and part in _TAGS):
            path += f".{part}" if path else part
    return path


_TAGS = ("str", "list[Part]", "list[Message]", "list[Item]")  # pydantic names the member of a union, too


def install(app: FastAPI) -> None:
    """Have every failure answered in this shape."""

    async def refuse(_: Request, error: Exception) -> Json:
        return as_api_error(error).response()

    for kind in (ApiError, RequestValidationError, HTTPException, Full, Closed, *REFUSALS, Exception):
        app.add_exception_handler(kind, refuse)


def as_api_error(error: Exception) -> ApiError:
    """Any exception as what a client is told of it."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return invalid(error)
    if isinstance(error, Full):
        return full(error)
    if isinstance(error, Closed):
        return closed()
    if isinstance(error, REFUSALS):
        return ApiError(400, str(error), code="invalid_value")
    if isinstance(error, HTTPException):
        kind = INVALID if error.status_code < 500 else "server_error"
        return ApiError(error.status_code, str(error.detail), kind=kind,
                        code=HTTPStatus(error.status_code).name.lower(), headers=error.headers)
    return ApiError(500, "the server had an error", kind="server_error", code="internal_error")
