"""Other engines in the benchmark compute the same as transformers, and do the same work as our decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.decode.arms import Generate, Tree, useful
from benchmarks.decode.engines import ENGINES, Engine, presence, why_not
from benchmarks.decode.models import Shape, write
from benchmarks.decode.work import Work, as_text, leaves
from verifiers.base import derive_seed

LLAMA_CPP, CONTINUOUS, _ = ENGINES
SMALL = {"one": Shape(64, 2, 4, 1, 128), "two": Shape(64, 2, 4, 2, 128, 200)}
"""By their number of heads of keys and values."""


def loaded(engine: Engine) -> Any:
    reason = why_not(engine)
    if reason:
        pytest.skip(f"{engine.name} is not installed: {reason}")
    return engine.load()


def some(count: int, live: int) -> Work:
    return Work(leaves(count, 60, (5, 40), np.random.default_rng(derive_seed(0, "engines", 0))), live, 20)


def mixed(shape: str, folder: Path, sure: float = 1.0) -> Path:
    """A model whose next token depends on all that it has read.

    Args:
        shape: of SMALL.
        folder: for it.
        sure: factor of the logits; with a large one the likeliest token is always drawn.
    """
    loader: Any = AutoModelForCausalLM
    model = loader.from_pretrained(write(SMALL[shape], folder))
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=1 if weight is model.get_input_embeddings().weight else 2 / weight.shape[1] ** 0.5)
        model.model.norm.weight.mul_(sure)
    model.save_pretrained(folder)
    return folder


def test_each_engine_is_measured_or_said_to_be_absent() -> None:
    rows = list(presence())
    assert [row["engine"] for row in rows] == [engine.name for engine in ENGINES]
    for engine, row in zip(ENGINES, rows, strict=True):
        reason = why_not(engine)
        assert row["measured"] == (f"no: {reason}" if reason else f"up to {engine.most} live sequences")
        assert bool(row["version"]) != bool(reason)
    assert why_not(Engine("nothing", "nothing", "none_such", "None", 1)) == (
        "No module named 'benchmarks.decode.engines.none_such'")


@pytest.mark.parametrize("shape", SMALL)
@pytest.mark.parametrize(("dtype", "most"), [("float32", 5e-4), ("float16", 0.3), ("bfloat16", 2.0)])
def test_llama_cpp_reads_as_transformers_does(shape: str, dtype: str, most: float, tmp_path: Path) -> None:
    arm = loaded(LLAMA_CPP)(mixed(shape, tmp_path), dtype)
    loader: Any = AutoModelForCausalLM
    model, tokenizer = loader.from_pretrained(tmp_path, dtype=torch.float32), AutoTokenizer.from_pretrained(tmp_path)
    lines = [tokenizer(as_text(leaf))["input_ids"] for leaf in some(9, 9).leaves]
    with torch.inference_mode():
        theirs = np.stack([model(torch.tensor([line])).logits[0, -1].numpy() for line in lines])
    assert np.abs(theirs - theirs.mean(0)).max() > 10  # what follows one line does not follow another
    # Of logits up to 28; measured: 7e-5, 0.1 and 0.8.
    assert np.abs(arm.read(lines, 20) - theirs).max() < most


@pytest.mark.parametrize("engine", [LLAMA_CPP, CONTINUOUS], ids=lambda engine: engine.name)
def test_thoughts_end_where_those_of_generate_do(engine: Engine, tmp_path: Path) -> None:
    arm, generate = loaded(engine)(mixed("one", tmp_path, sure=1000)), Generate(tmp_path, 1)
    lengths = [useful(generate._draw([as_text(leaf)], 20), generate.tokenizer) for leaf in some(24, 24).leaves]
    assert len(set(lengths)) > 4
    for live in (24, 5):  # all at once; and those that end make room for others
        done = arm.run(some(24, live), 0)
        assert (done.tokens, done.thoughts) == (sum(lengths), 24)


def test_llama_cpp_draws_thoughts_as_long_as_ours(tmp_path: Path) -> None:
    arm, tree = loaded(LLAMA_CPP)(write(SMALL["one"], tmp_path)), Tree(tmp_path, threads=1)
    ours, theirs = (sum(one.run(some(200, 50), seed).tokens for seed in range(3)) for one in (tree, arm))
    assert ours == pytest.approx(theirs, rel=0.15)  # 600 thoughts each: a deviation of 4 %


def test_llama_cpp_says_how_many_sequences_it_holds(tmp_path: Path) -> None:
    arm = loaded(LLAMA_CPP)(write(SMALL["one"], tmp_path))
    with pytest.raises(ValueError, match="at most 256 sequences, not 257"):
        arm.run(some(257, 16), 0)
