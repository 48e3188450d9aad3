"""Requests made up from the OpenAPI page, wrong ones as well: none of them is an error of the server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.server.conftest import Served

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_the_page_tells_of_every_route(server: Served) -> None:
    page = server.client().get(f"{server.url}/openapi.json", cast_to=dict)
    assert set(page["paths"]) == {"/v1/chat/completions", "/v1/responses", "/v1/models", "/v1/models/{model}",
                                  "/health", "/livez", "/readyz", "/metrics"}
    chat = page["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert {"200", "400", "401", "404", "413", "429", "500", "503"} <= set(chat)
    assert chat["400"]["content"]["application/json"]["schema"]["$ref"].endswith("/Error")


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_made_up_requests(server: Served, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", "--checks", CHECKS,
               "--max-examples", "50", "--seed", "1", "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "Traceback" not in server.errors.read_text()
