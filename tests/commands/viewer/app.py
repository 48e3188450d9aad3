"""The viewer's routes under uvicorn, with one key and a count of who is thinking: python app.py PORT"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from commands.engine import load
from commands.viewer.live import routes
from policy.budget import Budget


class Counting:
    """Lets in whoever has the key `sesame`."""

    def __init__(self) -> None:
        self.inside = 0
        self.entered = 0

    @asynccontextmanager
    async def enter(self, key: str | None, budget: Budget) -> AsyncIterator[None]:
        if key != "sesame":
            raise HTTPException(401, "that key opens nothing")
        self.inside, self.entered = self.inside + 1, self.entered + 1
        try:
            yield
        finally:
            self.inside -= 1


async def refuse(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": {"message": error.detail}}, error.status_code)


def main() -> None:
    admission = Counting()

    async def state(request: Request) -> JSONResponse:
        return JSONResponse({"inside": admission.inside, "entered": admission.entered})

    with load("policy=uniform") as engine:
        app = Starlette(routes=[Route("/state", state), *routes(engine, admission)],
                        exception_handlers={HTTPException: refuse})
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
