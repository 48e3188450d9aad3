"""The script for a GPU runs on a CPU, all of it, in a size that says nothing about speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.decode.models import SHAPES, Shape
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.checks import drawn_alike, static_and_eager
from benchmarks.gpu.figures import Load, step_bytes
from benchmarks.gpu.made import made
from policy.gpu.attention import Products

ROOT = Path(__file__).resolve().parents[2]
TINY = Shape(32, 2, 4, 2, 64, 700)
# As `python -m benchmarks.gpu`, where these modules cannot be imported.
WITHOUT = """
import runpy, sys
sys.modules.update(dict.fromkeys(("ray", "hydra", "peft", "pandas", "matplotlib")))
sys.argv = ["benchmarks.gpu", *sys.argv[1:]]
runpy.run_module("benchmarks.gpu", run_name="__main__", alter_sys=True)
"""


def run(*options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([sys.executable, "-c", WITHOUT, *options], cwd=ROOT, capture_output=True, text=True,
                          env=environment, check=False)


def test_the_whole_script_without_a_gpu_and_without_ray() -> None:
    done = run("--tiny", "--device", "cpu", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    machine, *figures, last = map(json.loads, done.stdout.splitlines())
    assert machine["copy_gigabytes_per_second"] > 0 and last["seconds"] > 0
    assert all({"name", "ratio", "target"} <= figure.keys() for figure in figures)
    found = {figure["name"].partition(": ")[2]: figure for figure in figures}
    assert len(found) == 6 and all(figure["right"] for figure in figures)
    hidden = next(figure for name, figure in found.items() if name.startswith("hidden states"))
    assert 0 < hidden["difference"] < hidden["tolerance"] == 1e-4
    assert found["share of tokens drawn on the device as on the host"]["ratio"] == 1.0
    share = next(figure for name, figure in found.items() if name.startswith("share of the memory"))
    assert 5 < share["tokens_per_thought"] < 30 and 0 < share["ratio"] < 1
    assert found["tokens/s, tree decoder to batched generate"]["generate"] > 0


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main() == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and "no GPU" in told.err


class Forgetful(Products):
    """Sees nothing of its stems."""

    def stem(self, queries: torch.Tensor, held: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found, weight = super().stem(queries, held)
        return found, weight - torch.inf


def test_what_is_not_right_is_told() -> None:
    model = made(TINY, 12, torch.device("cpu"), torch.float32)
    assert model.trunk.static is not None and static_and_eager("tiny", model).right
    model.trunk.static.attending = Forgetful
    figure = static_and_eager("tiny", model)
    assert not figure.right and figure.ratio < 1 and "Forgetful" in figure.name
    model.trunk.static = None
    figure = static_and_eager("tiny", model)
    assert not figure.right and figure.ratio == 0


@pytest.mark.parametrize("vocabulary", [90, 5000])
def test_tokens_are_drawn_alike(vocabulary: int) -> None:
    assert drawn_alike("", vocabulary, 40, torch.device("cpu")).right


def test_a_step_reads_weights_and_keys_and_values() -> None:
    """Of Qwen2.5-7B in bfloat16: 7.1 billion parameters without embeddings; 57,344 bytes of keys and values a token."""
    shape = SHAPES["7B"]
    assert step_bytes(shape, 2, 0, 0, 0) == pytest.approx(2 * 7.07e9, rel=0.01)
    assert step_bytes(shape, 2, 256, 200, 40) - step_bytes(shape, 2, 256, 0, 0) == (200 + 256 * 40) * 57344


def test_leaves_are_the_same_for_all_arms() -> None:
    load = Load(4, 6, 30, 20, 1, 1, 8)
    assert load.work() == load.work() and len(load.work().leaves) == 6 and len(load.work(4).leaves) == 4
