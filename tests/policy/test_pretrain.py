"""Stage one: the tokenizer, the batches, and a training loop that resumes exactly where it was."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from policy.base import BadPolicy
from policy.batches import COLUMNS, IGNORE, NO_VALUE, ROWS, WINDOW, Demonstrations, Encoder, Outcomes
from policy.charset import character_tokenizer
from policy.losses import likelihoods, losses
from policy.pretrain import (
    Optimisation,
    Progress,
    Schedule,
    Shape,
    Trainer,
    new_model,
    new_value_head,
    save_policy,
)
from policy.trunk import Trunk
from policy.value_head import ValueHead
from verifiers.domains.countdown import Countdown

DOMAIN = Countdown("countdown", [3], 1, 9, 5, 30)
SHAPE = Shape(hidden_size=16, layers=1, heads=2, intermediate_size=32, max_length=128)
TOKENIZER = character_tokenizer()
ENCODER = Encoder(TOKENIZER)


def demonstrations(seed: int = 0) -> Demonstrations:
    return Demonstrations([(DOMAIN, 1.0)], ENCODER, 256, seed)


def trainer(folder: Path, seed: int = 0) -> Trainer:
    model, head = new_model(SHAPE, TOKENIZER, seed), new_value_head(SHAPE.hidden_size, seed)
    return Trainer(model, head, Optimisation(), folder, torch.device("cpu"))


def train(one: Trainer, steps: int, stop: int | None = None) -> None:
    class Stop(Exception):
        pass

    def log(progress: Progress) -> None:
        if progress.step == stop:
            raise Stop

    with suppress(Stop):
        one.run("imitation", demonstrations(), Schedule(steps, warmup=2), checkpoint_every=2, log_every=1, on_log=log)


def test_every_printable_character_is_one_token(tmp_path: Path) -> None:
    text = "".join(map(chr, range(32, 127))) + "\n"
    TOKENIZER.save_pretrained(tmp_path)
    for tokenizer in (TOKENIZER, AutoTokenizer.from_pretrained(tmp_path)):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert len(ids) == len(set(ids)) == len(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id


def test_a_demonstration_imitates_thoughts_and_end_but_not_the_prompt() -> None:
    problem = DOMAIN.parse("1 2 3 -> 6")
    batch = ENCODER.batch([ENCODER.demonstration(problem, ["2+1=3, 3 3", "3+3=6"])])
    assert batch.tokens.shape == (ROWS, 4 * COLUMNS)  # filled up
    tokens, labels = batch.tokens[0][:30], batch.labels[0][:30]
    assert TOKENIZER.decode(tokens[labels != IGNORE]) == "2+1=3, 3 3\n3+3=6\n<eos>"
    assert TOKENIZER.decode(tokens[labels == IGNORE]) == "<bos>1 2 3 -> 6\n"
    for filled, filling in ((batch.tokens, TOKENIZER.pad_token_id), (batch.labels, IGNORE)):
        assert (filled[0][30:] == filling).all() and (filled[1:] == filling).all()
    assert (batch.values == NO_VALUE).all()


def test_a_rollout_marks_the_newline_of_every_state() -> None:
    batch = ENCODER.batch([ENCODER.rollout("1 2 3 -> 6", ["2+1=3, 3 3", "3+3=6"], 1.0),
                           ENCODER.rollout("1 2 3 -> 6", ["3-2=1, 1 1"], 0.0)])
    assert (batch.labels == IGNORE).all()
    newline = TOKENIZER.convert_tokens_to_ids("\n")
    assert torch.equal(batch.values != NO_VALUE, batch.tokens == newline)
    assert batch.values[0].max() == 1.0 and sorted(set(batch.values[1].tolist())) == [NO_VALUE, 0.0]


def test_batches_depend_on_seed_and_step_alone() -> None:
    one, other = demonstrations(), demonstrations()
    for step in (0, WINDOW + 3, 2):  # entered anywhere, in any order
        assert torch.equal(one(step).tokens, other(step).tokens)
    assert not torch.equal(one(0).tokens[:1], demonstrations(1)(0).tokens[:1])
    tokens = sum(int((one(step).tokens != TOKENIZER.pad_token_id).sum()) for step in range(WINDOW))
    assert tokens == pytest.approx(WINDOW * 256, rel=0.05)


def test_outcomes_alternate_with_demonstrations() -> None:
    rollouts = [ENCODER.rollout("1 2 3 -> 6", ["2+1=3, 3 3", "3+3=6"], float(i % 2)) for i in range(40)]
    outcomes = Outcomes(rollouts, demonstrations(), ENCODER, 0)
    seen = sum(int((outcomes(2 * step).tokens[:, 0] != TOKENIZER.pad_token_id).sum())
               for step in range(outcomes.per_epoch))
    assert seen == 40
    assert (outcomes(0).values != NO_VALUE).any() and (outcomes(0).labels == IGNORE).all()
    assert (outcomes(1).values == NO_VALUE).all() and (outcomes(1).labels != IGNORE).any()


def test_losses_match_the_models_own() -> None:
    model, head = new_model(SHAPE, TOKENIZER, 0), new_value_head(16, 0)
    batch = demonstrations()(0)
    imitation, value = losses(model, head, batch)
    expected = model(input_ids=batch.tokens, labels=batch.labels).loss
    torch.testing.assert_close(imitation, expected)
    assert value == 0


def test_schedule() -> None:
    schedule = Schedule(100, warmup=10, start=1.0, end=0.2, decline=0.5)
    assert schedule(0) == pytest.approx(0.1) and schedule(10) == schedule(50) == 1.0
    assert schedule(75) == pytest.approx(0.6) and schedule(100) == pytest.approx(0.2)


def test_training_lowers_the_loss_and_resumes_exactly(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    train(whole, 12)
    curve = [row["imitation_loss"] for row in whole.progress.curve]
    assert curve[-1] < 0.95 * curve[0]
    interrupted = trainer(tmp_path / "cut")
    train(interrupted, 12, stop=7)  # the last checkpoint is at step 6
    resumed = trainer(tmp_path / "cut", seed=5)
    assert resumed.resume() and resumed.progress.step == 6
    train(resumed, 12)
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    rows = [json.loads(line) for line in (tmp_path / "cut" / "curve.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 13))


def test_saved_policy_loads_in_the_standard_way(tmp_path: Path) -> None:
    model, head = new_model(SHAPE, TOKENIZER, 0), new_value_head(16, 0)
    save_policy(model, head, TOKENIZER, tmp_path / "policy")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    for ours, theirs in zip(loaded.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    again = ValueHead.load(tmp_path / "policy", 16)
    states = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32))
    likelihoods = torch.full((5, 2), -1.5)
    assert again is not None and torch.equal(again(states, likelihoods), head(states, likelihoods))
    assert [p.name for p in tmp_path.iterdir()] == ["policy"]


def test_the_value_head_learns_from_the_likelihood_that_it_is_given_when_it_is_used() -> None:
    model, head = new_model(SHAPE, TOKENIZER, 0), new_value_head(16, 0)
    lines = [("3 4 12 -> 24", ["3*4=12, 12 12", "12+12=24"]), ("1 2 3 -> 6", ["1+2=3, 3 3", "9*9=1", "no"])]
    batch = ENCODER.batch([ENCODER.rollout(prompt, thoughts, 1.0) for prompt, thoughts in lines])
    with torch.no_grad():
        found = likelihoods(model, model.model(input_ids=batch.tokens).last_hidden_state, batch)
    trunk = Trunk(model, head, 2)
    for row, (prompt, thoughts) in enumerate(lines):
        for states in range(len(thoughts) + 1):
            tokens = TOKENIZER("".join(f"{line}\n" for line in [prompt, *thoughts[:states]]))["input_ids"]
            start = len(TOKENIZER(prompt + "\n")["input_ids"])
            with torch.inference_mode():
                assert found[row, len(tokens) - 1].tolist() == pytest.approx(trunk.likelihood(tokens, start), abs=1e-4)


def test_a_warm_restart_forgets_what_the_optimisers_know(tmp_path: Path) -> None:
    def moments(anew: bool) -> int:
        one = trainer(tmp_path / str(anew))
        train(one, 3)
        schedule = Schedule(2, anew=anew)
        counts: list[int] = []
        one.run("next", demonstrations(), schedule, checkpoint_every=9, log_every=1, on_log=lambda _: counts.append(
            int(next(iter(one.optimisers[1].state.values()))["step"])))
        return counts[0]

    assert (moments(anew=True), moments(anew=False)) == (1, 4)


def test_saving_never_removes_what_is_no_policy(tmp_path: Path) -> None:
    model, head = new_model(SHAPE, TOKENIZER, 0), new_value_head(16, 0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="not a policy"):
        save_policy(model, head, TOKENIZER, tmp_path / "mine")
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "thesis.txt"]
    (tmp_path / "empty").mkdir()
    for _ in range(2):  # into an empty folder, and over an older policy
        save_policy(model, head, TOKENIZER, tmp_path / "empty")
    assert (tmp_path / "empty" / "config.json").exists()


def test_a_broken_checkpoint_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"garbage")
    with pytest.raises(BadPolicy, match="checkpoint"):
        trainer(tmp_path).resume()


@pytest.mark.parametrize("bad", [{"heads": 5}, {"key_value_heads": 3}, {"layers": 0}, {"hidden_size": -4}])
def test_impossible_shapes_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"heads|at least 1"):
        Shape(**bad)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"steps": 5, "warmup": 6}, {"steps": 5, "end": -1.0}])
def test_impossible_schedules_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="schedule"):
        Schedule(**bad)  # type: ignore[arg-type]
