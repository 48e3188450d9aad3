"""Instruct models of three architectures, made on the spot: solve, evaluate and improve, in their own chat form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfplay.state import State
from tests.policy.chatty import write_chatty

Run = Callable[..., Any]
FEW_SHOT = "Problem: 1+2\nSolution:\n1+2=3\n#### 3\n\nProblem: {question}\nSolution:\n"


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"question": f"What is {n} + {n % 3 + 1} - {n}?", "answer": f"#### {n % 3 + 1}"})
                            + "\n" for n in range(60)))
    return f"domain.path={path}"


def chats(folder: Path, *options: str) -> tuple[str, ...]:
    return ("policy=transformer", f"policy.path={folder}", "policy.threads=1", "policy.max_thought_tokens=16", *options)


@pytest.mark.parametrize(("architecture", "step", "problems"), [
    ("llama", "line", 10), pytest.param("qwen2", "line", 10, marks=pytest.mark.heavy),
    pytest.param("neox", "think", 10, marks=pytest.mark.heavy)])
@pytest.mark.timeout(600)
def test_an_instruct_model_solves_is_evaluated_and_improves(
    run: Run, rows: str, tmp_path: Path, architecture: str, step: str, problems: int
) -> None:
    policy = chats(write_chatty(tmp_path / "model", architecture), f"policy.step={step}", "policy.system='Be brief.'")
    told = run("solve", "What is 1 + 1?", "domain=gsm8k", *policy, "budget=400tok", "output=json")
    assert told.code in (0, 1) and told.objects[0]["tokens"] > 0, told
    *graded, summary = run("evaluate", "domain=gsm8k", rows, "split=all", "limit=2", "search=self_consistency",
                             *policy, "budget=400tok", "output=json").objects
    assert len(graded) == 2 and summary["errors"] == 0 and summary["mean_tokens"] > 100
    result = run("improve", "domain=gsm8k", rows, *policy, "selfplay=local",
                 "selfplay.generations=1", f"selfplay.problems={problems}", "selfplay.lines=16",
                 "selfplay.match_problems=2", "budget=300tok", "threads=1", "training.max_steps=2",
                 "training.batch_tokens=2048", "replay.held_out=1", "curves.of=none", "scalars=none",
                 "run=mine")  # fmt: skip
    assert result.code == 0, result
    [found] = State.load(tmp_path / "mine").history
    assert found["played"] == problems and found["errors"] == 0 and found["steps"] == 2, found
    assert (tmp_path / "mine" / "generation-1" / "adapter_model.safetensors").is_file()


def test_a_base_model_continues_examples_and_stops_at_the_next(run: Run, rows: str, tmp_path: Path) -> None:
    """What is read is the file's text, with no chat around it though the tokenizer has a template."""
    (tmp_path / "few.txt").write_text(FEW_SHOT)
    model = write_chatty(tmp_path / "model", eos="<|endoftext|>")
    result = run("evaluate", "domain=gsm8k", rows, "domain.prompt=few.txt", "split=all", "limit=3", *chats(model),
                 "policy.stop=['Problem:']", "search=best_of_n", "budget=300tok", "output=json")
    *problems, summary = result.objects
    assert len(problems) == 3 and summary["errors"] == 0 and summary["mean_tokens"] > 100


@pytest.mark.parametrize(("options", "said"), [
    (["policy.step=word"], "allowed: line, paragraph, think"), (["policy.chat=perhaps"], "allowed: auto, true, false"),
    (["policy.stop=Problem"], "a list of texts"),
    (["policy.quantization={quant_method: bitsandbytes, load_in_4bit: true}"], "requires bitsandbytes"),
    (["policy.template={nothing: 1}", "policy.chat=false"], "for chats"), (["policy.dtype=float33"], "'auto'"),
])
def test_options_that_cannot_be_are_one_line(run: Run, tmp_path: Path, options: list[str], said: str) -> None:
    model = write_chatty(tmp_path / "model")
    assert said in run("solve", "What is 1 + 1?", "domain=gsm8k", *chats(model), *options, "budget=99tok").complaint
