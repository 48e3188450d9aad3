"""The server with the viewer, one key, and a count of who is thinking: python app.py PORT"""

from __future__ import annotations

import sys

import uvicorn

from commands.engine import load
from commands.server.app import create_app
from commands.server.keys import Keys
from commands.server.settings import Settings

KEY = "sesame-sesame-sesame"


def main() -> None:
    with load("policy=uniform") as engine:
        app = create_app(engine, Settings(), keys=Keys([KEY]))

        @app.get("/state")
        async def state() -> dict[str, int]:
            return {"inside": app.state.admission.thinking}

        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
