"""Pushing a run to a hub: one on this machine that speaks the hub's protocol, with its official client."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import DatasetCard, ModelCard
from safetensors.torch import load_file, save_file

from commands.manifest import write_json
from selfplay.ratings import Match
from selfplay.state import State
from tests.commands.test_progress import ROW

TOKEN = "hf_of_a_test"


class Hub(ThreadingHTTPServer):
    """Takes repositories and commits.

    Attributes:
        made: requests for repositories.
        files: by repository and path, what was committed.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.made: list[dict[str, Any]] = []
        self.files: dict[str, dict[str, bytes]] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._reply(401, {"error": "who are you?"})
        if self.path == "/api/repos/create":
            self.server.made.append(json.loads(body))
            name = "{organization}/{name}".format(**json.loads(body))
            prefix = "datasets/" if json.loads(body)["type"] == "dataset" else ""
            return self._reply(200, {"url": f"{self.server.url}/{prefix}{name}", "id": "1"})
        if self.path == "/api/validate-yaml":
            return self._reply(200, {"warnings": []})
        repo, _, what = self.path.removeprefix("/api/").removesuffix("/main").rpartition("/")
        if what == "preupload":
            files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for file in json.loads(body)["files"]]
            return self._reply(200, {"files": files})
        assert what == "commit", self.path
        lines = [json.loads(line) for line in body.splitlines()]
        self.server.files[repo] = {line["value"]["path"]: base64.b64decode(line["value"]["content"])
                                   for line in lines if line["key"] == "file"}
        url = f"{self.server.url}/{repo.removeprefix('models/')}/commit/abc"
        return self._reply(200, {"commitUrl": url, "commitOid": "abc", "success": True})

    def _reply(self, code: int, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def played(tmp_path: Path) -> Path:
    """A run with two generations, the first of which took over."""
    folder = tmp_path / "played"
    adapter = folder / "generation-1"
    adapter.mkdir(parents=True)
    save_file({"a": torch.ones(3)}, adapter / "adapter_model.safetensors")
    save_file({"b": torch.zeros(2)}, adapter / "value_head.safetensors")
    write_json(adapter / "adapter_config.json", {"base_model_name_or_path": "/home/somebody/base", "r": 16})
    write_json(adapter / "engine.json", {"base_version": "abc", "run": "cafe"})
    (adapter / "README.md").write_text("base_model: /home/somebody/base")
    (adapter / "notes.md").write_text("private")
    store = folder / "store" / "generation-1"
    store.mkdir(parents=True)
    pq.write_table(pa.table({"id": ["a"], "answer": ["(9-4)"]}), store / "part-1.parquet")
    (folder / "store" / "journal").mkdir()
    matches = [Match("system1", 1, 0, 5, 2, 3)]
    row = {**ROW, "accuracies": {"system1": [0.5, 0.4]}}
    State(3, champion=1, history=[row, {**row, "generation": 2, "promoted": False}], matches=matches).save(folder)
    write_json(folder / "manifest.json", {
        "command_line": ["/home/somebody/python"], "config": {
            "domain": {"name": "game24"}, "selfplay": {"store": None}, "objective": {"_target_": "a.b.Objective"},
            "policy": {"path": "/home/somebody/base"}, "seed": 0, "budget": "1000tok"},
        "git": {"revision": "f00"}, "machine": {"cpu": "a cpu", "cores": 2, "gpu": None},
        "versions": {"torch": "2.13", "ray": None}})
    return folder


def test_an_adapter_and_its_trajectories_are_pushed_with_cards(run, hub: Hub, played: Path) -> None:
    result = run("push", str(played), "repo=me/solver", "trajectories=me/games", "base=me/base",
                 f"endpoint={hub.url}")
    assert result.code == 0, result
    assert result.out.split() == [f"{hub.url}/me/solver", f"{hub.url}/datasets/me/games"]
    assert [(made["name"], made["type"], made["visibility"]) for made in hub.made] == [
        ("solver", "model", "private"), ("games", "dataset", "private")]
    model, games = hub.files["models/me/solver"], hub.files["datasets/me/games"]
    assert set(model) == {"README.md", "adapter_config.json", "adapter_model.safetensors", "value_head.safetensors",
                          "engine.json"}
    assert set(games) == {"README.md", "generation-1/part-1.parquet"}
    assert model["adapter_model.safetensors"] == (played / "generation-1/adapter_model.safetensors").read_bytes()
    assert json.loads(model["adapter_config.json"]) == {"base_model_name_or_path": "me/base", "r": 16}
    everything = b"".join([*model.values(), *games.values()])
    assert b"somebody" not in everything and TOKEN.encode() not in everything
    card = ModelCard(model["README.md"].decode())
    assert card.data.base_model == "me/base" and card.data.datasets == ["me/games"]
    assert card.data.library_name == "peft" and "| System 1 (greedy) | 50.0% | 40.0% |" in card.text
    assert "took over" in card.text and "revision: f00" in card.text and "objective Objective" in card.text
    assert DatasetCard(games["README.md"].decode()).data.configs[0]["data_files"] == "generation-*/*.parquet"


def test_what_would_be_pushed_can_be_looked_at(run, played: Path, tmp_path: Path) -> None:
    result = run("push", str(played), "repo=me/solver", "out=here")
    assert result.code == 0 and "nothing was pushed" in result.out
    assert load_file(tmp_path / "here/model/adapter_model.safetensors")["a"].sum() == 3
    assert json.loads((tmp_path / "here/model/adapter_config.json").read_text())["base_model_name_or_path"] is None
    assert not (tmp_path / "here/trajectories").exists()
    assert "is there already" in run("push", str(played), "repo=me/solver", "out=here").complaint


def test_a_store_elsewhere_is_read_there(run, played: Path, tmp_path: Path) -> None:
    shutil.move(played / "store", tmp_path / "shared" / "cafe")
    manifest = json.loads((played / "manifest.json").read_text())
    manifest["config"]["selfplay"]["store"] = f"file://{tmp_path}/shared/"
    write_json(played / "manifest.json", manifest)
    assert run("push", str(played), "repo=me/a", "trajectories=me/b", "out=here").code == 0
    assert pq.read_table(tmp_path / "here/trajectories/generation-1/part-1.parquet").to_pydict()["id"] == ["a"]


def test_a_whole_policy_is_a_model_of_transformers(run, played: Path, tmp_path: Path) -> None:
    policy = played / "generation-1"
    (policy / "adapter_config.json").unlink()
    (policy / "adapter_model.safetensors").rename(policy / "model.safetensors")
    assert run("push", str(played), "repo=me/solver", "out=here").code == 0
    assert ModelCard.load(tmp_path / "here/model/README.md").data.library_name == "transformers"


@pytest.mark.parametrize(("options", "said"), [
    ([], "repo is missing"), (["repo=solver"], "NAME/REPO"), (["repo=me/so lver"], "NAME/REPO"),
    (["repo=me/x", "trajectories=a/b/c"], "trajectories"), (["repo=me/x", "generation=7"], "allowed: 1, 2"),
    (["repo=me/x", "generation=2"], "holds no weights"), (["repo=me/x", "private=maybe"], "private"),
    (["repo=me/x", "endpoint=http://127.0.0.1:1"], "the hub refused me/x"),
])
def test_refusals(run, played: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert said in run("push", str(played), *options).complaint


def test_without_a_token_nothing_is_sent(run, hub: Hub, played: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    assert "the hub refused me/x" in run("push", str(played), "repo=me/x", f"endpoint={hub.url}").complaint
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN_PATH", "nowhere")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "nowhere")
    assert "HF_TOKEN" in run("push", str(played), "repo=me/x", f"endpoint={hub.url}").complaint
    assert hub.made == [] and hub.files == {}


def test_a_champion_that_is_the_base_is_not_pushed(run, played: Path) -> None:
    State(2, history=[{**ROW, "promoted": False}]).save(played)
    assert "no generation of" in run("push", str(played), "repo=me/x").complaint
    assert "push needs the directory" in run("push", "repo=me/x").complaint
