"""A chat model with subwords learns by policy gradients, where thoughts are paragraphs and drawn in many spellings."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

from policy.layout import Writing
from selfplay.state import State
from tests.policy.chatty import chat_tokenizer, write_chatty

Run = Callable[..., Any]
ASKED = "xyz"  # of which each has an answer of its own: who does not read the question is right in a third
GRPO = ("objective=grpo", "training=full", "training.lr=0.004", "training.warmup=0", "training.epochs=1.0",
        "training.batch_tokens=4096", "replay.held_out=0", "replay.demonstrations=0", "replay.window=1",
        "curriculum.new=1.0", "curriculum.hard=0.0", "curriculum.review=0.0")  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It writes a paragraph, by the letter as often as in subwords, and then an answer that is a guess more often than
    not."""
    folder = write_chatty(tmp_path_factory.mktemp("guessing") / "model", seed=31)
    tokenizer, rng = chat_tokenizer(), random.Random(0)
    layout = Writing(step="paragraph").on(tokenizer)
    trained = AutoModelForCausalLM.from_pretrained(folder)
    optimiser = torch.optim.AdamW(trained.parameters(), lr=5e-3)

    def tokens(*pieces: str) -> list[int]:
        return [token for piece in pieces for token in tokenizer(piece, add_special_tokens=False)["input_ids"]]

    for _ in range(100):
        rows = []
        for _ in range(16):
            asked, thought = rng.randrange(3), "1+2=3\n\n"
            said = asked if rng.random() < 0.4 else rng.randrange(3)
            start = layout.encoded(layout.opening(f"{ASKED[asked]} {rng.randrange(100, 999)}"))
            rows.append((start, [*tokens(*(thought if rng.random() < 0.5 else [thought])), *tokens(f"#### {said + 1}"),
                                 layout.end]))
        width = max(len(start) + len(written) for start, written in rows)
        read, labels = torch.zeros((16, width), dtype=torch.int64), torch.full((16, width), -100)
        for number, (start, written) in enumerate(rows):
            read[number, : len(start) + len(written)] = torch.tensor([*start, *written])
            labels[number, len(start) : len(start) + len(written)] = torch.tensor(written)
        logits = trained(read).logits[:, :-1]
        functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    trained.save_pretrained(folder)
    return folder


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [0, 1])
def test_paragraphs_are_learned(run: Run, model: Path, tmp_path: Path, seed: int) -> None:
    (tmp_path / "asked.txt").write_text("{question}")
    (tmp_path / "rows.jsonl").write_text("".join(
        json.dumps({"question": f"{ASKED[number % 3]} {number}", "answer": f"#### {number % 3 + 1}"}) + "\n"
        for number in range(100, 999)))
    result = run("improve", "domain=gsm8k", f"domain.path={tmp_path / 'rows.jsonl'}",
                 f"domain.prompt={tmp_path / 'asked.txt'}", "policy=transformer", f"policy.path={model}",
                 "policy.threads=1", "policy.max_thought_tokens=12", "policy.step=paragraph", *GRPO, "selfplay=local",
                 "selfplay.generations=6", "selfplay.problems=32", "selfplay.lines=32", "selfplay.gate=false",
                 "selfplay.match_problems=2", "budget=50tok", "threads=1", "curves.of=none", "scalars=none",
                 f"seed={seed}", "run=mine")  # fmt: skip
    assert result.code == 0, result
    history = State.load(tmp_path / "mine").history
    rates = [found["solve_rate"] for found in history]  # of problems that were never played before
    assert [found["unlike"] for found in history] == [0.0] * 6
    assert rates[0] < 0.55 and rates[-1] > 0.8, rates
