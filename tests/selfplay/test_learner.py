"""The learner: each objective moves the policy where it says, values calibrate, a killed training goes on exactly."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from policy.base import BadPolicy
from policy.value_head import ValueHead
from selfplay.batches import LessonEncoder, collate
from selfplay.learner import CHECKPOINT, Collapsed, Diverged, Learner
from selfplay.lessons import NOTHING, Lesson
from selfplay.losses import Batch, Scores, likelihoods, logprobs
from selfplay.objectives import Dpo, ExpertIteration, Grpo, Objective, RejectionSampling
from selfplay.replay import Gathered, Replay
from selfplay.trainee import Lora, Trainee
from selfplay.training import Learned, Step, Training
from selfplay.trajectory import Trajectory
from tests.selfplay.made import SHAPE, TOKENIZER, base_policy, example, line, move, trajectory

CPU = torch.device("cpu")
GOOD, END, BAD = "1+2=3, 3 3", "3+3=6", "2-1=1, 1 3"
TRAINING = Training(lora=Lora(rank=4, alpha=8), epochs=60.0, batch_tokens=4096, lr=0.01, head_lr=0.02, warmup=2,
                    bf16=False, monitor_every=100, checkpoint_every=100)


CUT = replace(TRAINING, epochs=6.0, batch_tokens=256, checkpoint_every=3, monitor_every=4, anchor=0.1, accumulate=2,
              lora=Lora(4, dropout=0.1))
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_policy(tmp_path_factory.mktemp("learner") / "base")


@lru_cache(maxsize=4)
def loaded(base: Path, start: Path | None) -> Trainee:
    one = Trainee(base, start, Lora(), seed=0, device=CPU)
    one.train(False)
    return one


def read(base: Path, start: Path | None, prompt: str, *thoughts: str) -> tuple[list[float], list[float]]:
    """Log-probabilities of the thoughts, and values of the states, under an adapter."""
    one = loaded(base, start)
    encoder = LessonEncoder(TOKENIZER, one.context)
    [[row]] = encoder.rows(Lesson(prompt, thoughts, (0.0,) * len(thoughts), (NOTHING,) * (len(thoughts) + 1)))
    batch = collate([(row,)], encoder.pad)
    with torch.no_grad():
        reading = one.read(batch.tokens)
        found = logprobs(reading.logits, batch.tokens)
        values = one.head(reading.hidden, likelihoods(found, batch))[0].sigmoid()
    return [float(found[0, thought].sum()) for thought in row.thoughts()], [float(values[end - 1]) for end in row.ends]


def played(base: Path, count: int = 20, start: Path | None = None) -> list[Trajectory]:
    """A tree with a good and a bad thought, and four lines of which one is right, for each of some problems."""
    trajectories = []
    for number in range(count):
        prompt = f"1 2 3 -> {number}"
        (good, end), _ = read(base, start, prompt, GOOD, END)
        [bad], _ = read(base, start, prompt, BAD)
        trajectories.append(trajectory(
            (example(move(GOOD, 1.0, prior=0.3), move(BAD, 0.0, prior=0.7)),
             example(move(END, 1.0, prior=1.0, outcome="correct"), thoughts=(GOOD,))),
            (line(GOOD, END, logprobs=(good, end)), *[line(BAD, reward=0.0, logprobs=(bad,))] * 3), prompt=prompt))
    return trajectories


@pytest.fixture(scope="module")
def twenty(base: Path) -> list[Trajectory]:
    return played(base)


def gathered(trajectories: list[Trajectory], objective: Objective, **settings: float) -> Gathered:
    how = Replay(**{"demonstrations": 0.0, "held_out": 2, **settings})  # type: ignore[arg-type]
    return how.gather(trajectories, objective, [], 0)


def learn(base: Path, folder: Path, trajectories: list[Trajectory], objective: Objective,
          training: Training = TRAINING, champion: Path | None = None,
          on_step: Callable[[Step], None] = lambda step: None, **settings: float) -> Learned:
    return Learner(base, objective, training, CPU).learn(
        gathered(trajectories, objective, **settings), folder / "out", folder / "work", champion=champion, seed=1,
        about={"generation": 1, "base_version": "b"}, on_step=on_step)


@pytest.mark.parametrize(("objective", "contrasting"), [
    (ExpertIteration(), False), (RejectionSampling(), False), (Grpo(), True), (Dpo(imitation=0.0), True),
], ids=lambda each: getattr(each, "name", ""))
def test_every_objective_raises_the_good_and_lowers_the_bad(
    base: Path, twenty: list[Trajectory], tmp_path: Path, objective: Objective, contrasting: bool
) -> None:
    learned = learn(base, tmp_path, twenty, objective)
    prompt = "1 2 3 -> 7"
    (good_before, _), _ = read(base, None, prompt, GOOD, END)
    (good, _), values = read(base, learned.folder, prompt, GOOD, END)
    [bad_before], _ = read(base, None, prompt, BAD)
    [bad], bad_values = read(base, learned.folder, prompt, BAD)
    assert good > good_before + 1.0
    assert good - bad > good_before - bad_before + 1.0  # whatever they share, the good thought gains on the bad one
    assert learned.steps == learned.planned == len(learned.curve) and learned.unlike == 0.0
    assert values[0] == pytest.approx(0.25, abs=0.12)  # one line of four ends correct from here
    if contrasting:  # the bad thought is not only left behind: it falls, and the value head tells it from the good one
        assert bad < bad_before - 1.0
        assert values[1] > 0.8 and bad_values[1] < 0.2
    about = json.loads((learned.folder / "engine.json").read_text())
    assert about["objective"] == objective.name and about["generation"] == 1 and about["base_version"] == "b"
    before, after = learned.looks[0], learned.looks[-1]
    assert before.divergence == pytest.approx(0.0, abs=1e-5) and before.entropy == pytest.approx(before.base_entropy)
    assert after.divergence > 0.01 and after.step == learned.steps


def test_a_killed_training_goes_on_to_the_same_bits(base: Path, twenty: list[Trajectory], tmp_path: Path) -> None:
    whole = learn(base, tmp_path / "whole", twenty, ExpertIteration(), CUT)
    assert whole.steps > 14
    assert start("cut_short", base, tmp_path / "cut").wait() == -signal.SIGKILL
    assert (tmp_path / "cut" / "work" / CHECKPOINT).exists() and not (tmp_path / "cut" / "out").exists()
    told: list[int] = []
    resumed = learn(base, tmp_path / "cut", twenty, ExpertIteration(), CUT, on_step=lambda step: told.append(step.step))
    assert told == list(range(7, whole.steps + 1))
    for name in ("adapter_model.safetensors", "value_head.safetensors", "engine.json", "adapter_config.json"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert timeless(resumed) == timeless(whole)
    assert resumed.looks == whole.looks
    told.clear()
    learn(base, tmp_path / "cut", twenty, ExpertIteration(), CUT, on_step=lambda step: told.append(step.step))
    assert told == []  # a training that was done is done at once


def test_a_checkpoint_of_another_training_is_refused(base: Path, twenty: list[Trajectory], tmp_path: Path) -> None:
    how = replace(TRAINING, max_steps=1)
    learn(base, tmp_path, twenty, ExpertIteration(), how)
    for other in (lambda: learn(base, tmp_path, twenty, ExpertIteration(), replace(how, lr=1.0)),
                  lambda: learn(base, tmp_path, twenty[1:], ExpertIteration(), how),
                  lambda: learn(base, tmp_path, twenty, ExpertIteration(temperature=1.0), how)):
        with pytest.raises(BadPolicy, match="another training"):
            other()
    (tmp_path / "work" / CHECKPOINT).write_bytes(b"garbage")
    with pytest.raises(BadPolicy, match="cannot read the checkpoint"):
        learn(base, tmp_path, twenty, ExpertIteration(), how)


def test_it_goes_on_from_the_champion_or_starts_anew(base: Path, twenty: list[Trajectory], tmp_path: Path) -> None:
    first = learn(base, tmp_path / "first", twenty, ExpertIteration())
    prompt = "1 2 3 -> 7"
    (good, _), _ = read(base, first.folder, prompt, GOOD, END)
    (fresh, _), _ = read(base, None, prompt, GOOD, END)
    gentle = replace(TRAINING, max_steps=1, lr=1e-5)
    on = learn(base, tmp_path / "on", twenty, ExpertIteration(), gentle, first.folder)
    anew = learn(base, tmp_path / "anew", twenty, ExpertIteration(), replace(gentle, restart=True), first.folder)
    assert read(base, on.folder, prompt, GOOD, END)[0][0] == pytest.approx(good, abs=0.1)
    assert read(base, anew.folder, prompt, GOOD, END)[0][0] == pytest.approx(fresh, abs=0.1)
    assert abs(good - fresh) > 1.0


def test_ratios_are_to_the_champion_that_played_whatever_training_starts_from(
    base: Path, twenty: list[Trajectory], tmp_path: Path
) -> None:
    champion = learn(base, tmp_path / "first", twenty, ExpertIteration(), replace(TRAINING, epochs=20.0)).folder
    own = played(base, 12, champion)
    one_step = replace(TRAINING, max_steps=1, batch_tokens=100_000)
    on = learn(base, tmp_path / "on", own, Grpo(), one_step, champion)
    assert on.unlike == 0.0
    good, bad = 3 * (len(GOOD) + len(END) + 2), 3 * (len(BAD) + 1)  # tokens times advantages, of one line and of three
    assert on.curve[0].objective == pytest.approx((bad - good) / (bad + good), abs=1e-3)  # every ratio is 1
    anew = learn(base, tmp_path / "anew", own, Grpo(), replace(one_step, restart=True), champion)
    assert anew.unlike == 0.0 and anew.curve[0].objective != pytest.approx(on.curve[0].objective, abs=0.05)
    with pytest.raises(BadPolicy, match="another policy drew them"):
        learn(base, tmp_path / "other", own, Grpo(), one_step, champion=None)


def test_thoughts_that_ended_otherwise_do_not_count(base: Path, twenty: list[Trajectory], tmp_path: Path) -> None:
    [odd] = [replace(each, lines=(replace(each.lines[0], logprobs=(-50.0, each.lines[0].logprobs[1])), *each.lines[1:]))
             for each in twenty[:1]]
    learned = learn(base, tmp_path, [odd, *twenty[1:]], Grpo(), replace(TRAINING, max_steps=1), held_out=0)
    assert learned.unlike == pytest.approx(1 / 60)  # three distinct thoughts a problem


def test_the_anchor_holds_the_policy_back(base: Path, twenty: list[Trajectory], tmp_path: Path) -> None:
    free, held = (learn(base, tmp_path / str(anchor), twenty, RejectionSampling(), replace(TRAINING, anchor=anchor))
                  for anchor in (0.0, 10.0))
    assert held.looks[-1].divergence < 0.5 * free.looks[-1].divergence
    start = learn(base, tmp_path / "start", twenty, RejectionSampling(),
                  replace(TRAINING, anchor=10.0, anchor_to="start"), free.folder)
    assert start.curve[0].anchor == pytest.approx(0.0, abs=1e-5) and start.curve[-1].anchor > 0
    assert start.looks[0].divergence == pytest.approx(free.looks[-1].divergence, rel=1e-3)


def test_a_training_goes_back_to_where_the_policy_had_not_collapsed(
    base: Path, twenty: list[Trajectory], tmp_path: Path
) -> None:
    wide = learn(base, tmp_path / "wide", twenty, RejectionSampling()).folder  # its entropy is far above the base's,
    how = replace(TRAINING, entropy_floor=1.5, monitor_every=2, checkpoint_every=1, anchor=100.0)  # and pulled to it
    learned = learn(base, tmp_path / "whole", twenty, RejectionSampling(), how, wide)
    above, below, kept = learned.looks[-3:]
    assert below.entropy < 1.5 * below.base_entropy and above.entropy >= 1.5 * above.base_entropy
    assert kept == above and learned.steps == above.step < below.step == learned.curve[-1].step < learned.planned
    again = learn(base, tmp_path / "whole", twenty, RejectionSampling(), how, wide)
    assert again.steps == learned.steps and again.looks == learned.looks  # it has ended, and is not gone on with
    on = learn(base, tmp_path / "on", twenty, RejectionSampling(), replace(TRAINING, max_steps=1), learned.folder)
    assert on.looks[0].entropy == pytest.approx(kept.entropy, rel=1e-4)  # what was written is what was seen

    def stop(step: Step) -> None:
        if step.step == below.step - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(base, tmp_path / "cut", twenty, RejectionSampling(), how, wide, on_step=stop)
    resumed = learn(base, tmp_path / "cut", twenty, RejectionSampling(), how, wide)
    weights = "adapter_model.safetensors"
    assert resumed.looks == learned.looks
    assert (resumed.folder / weights).read_bytes() == (learned.folder / weights).read_bytes()


def test_a_policy_that_has_collapsed_is_not_trained(base: Path, twenty: list[Trajectory], tmp_path: Path) -> None:
    with pytest.raises(Collapsed, match=r"^the policy's entropy is 1.00 of the base's, below entropy_floor=1.5: "):
        learn(base, tmp_path, twenty, RejectionSampling(), replace(TRAINING, entropy_floor=1.5))
    assert not (tmp_path / "out").exists() and not (tmp_path / "work" / CHECKPOINT).exists()
    assert Training().entropy_floor > 0


@pytest.mark.parametrize(("what", "how", "poisoned"), [
    ("weights", {"lr": math.inf}, ""), ("loss", {}, "loss"), ("gradient", {}, "gradient"),
])
def test_a_training_that_diverges_ends_in_one_line_and_leaves_nothing(
    base: Path, twenty: list[Trajectory], tmp_path: Path, what: str, how: dict[str, float], poisoned: str
) -> None:
    objective = Poisoned(3, value=poisoned == "loss") if poisoned else RejectionSampling()
    with pytest.raises(Diverged, match=rf"^the {what} (is|are) nan at step {3 if poisoned else 1}; try a smaller lr$"):
        learn(base, tmp_path, twenty, objective, replace(TRAINING, **how))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists() and not (tmp_path / "work" / CHECKPOINT).exists()


class Poisoned(RejectionSampling):
    """One whose loss is not a number from some step on, or only the gradient of it."""

    def __init__(self, at: int, value: bool) -> None:
        super().__init__()
        self.__dict__.update(left=at, value=value)  # the class is frozen

    def loss(self, scores: Scores, batch: Batch) -> Tensor:
        self.__dict__["left"] -= 1
        nothing = 0.0 * scores.logprobs.sum()
        if self.__dict__["left"] > 0:
            return nothing
        return nothing * math.nan if self.__dict__["value"] else nothing.abs().sqrt()


def test_a_batch_in_parts_is_the_same_batch(base: Path, twenty: list[Trajectory], tmp_path: Path) -> None:
    one, parts = (learn(base, tmp_path / str(count), twenty, Dpo(), replace(TRAINING, max_steps=2, accumulate=count))
                  for count in (1, 3))
    for ours, theirs in zip(timeless(one), timeless(parts), strict=True):
        assert vars(ours) == pytest.approx(vars(theirs), rel=1e-3)


@pytest.mark.parametrize("how", [{"adapter": "full"}, {"optimiser": "muon", "lr": 0.1}], ids=["full", "muon"])
def test_other_ways_to_train(base: Path, twenty: list[Trajectory], tmp_path: Path, how: dict[str, object]) -> None:
    learned = learn(base, tmp_path, twenty, RejectionSampling(), replace(TRAINING, epochs=40.0, **how))  # type: ignore[arg-type]
    assert learned.curve[-1].imitation < 0.7 * max(step.imitation for step in learned.curve[:3])
    assert ValueHead.load(learned.folder, SHAPE.hidden_size) is not None
    assert (learned.folder / "config.json").exists() == ("adapter" in how)
    resumed = learn(base, tmp_path, twenty, RejectionSampling(), replace(TRAINING, epochs=40.0, **how))  # type: ignore[arg-type]
    assert resumed.curve == learned.curve


@pytest.mark.heavy
def test_two_processes_train_as_one(base: Path, twenty: list[Trajectory], tmp_path: Path) -> None:
    alone = learn(base, tmp_path / "alone", twenty, ExpertIteration(), replace(TRAINING, max_steps=3))
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    children = [start("together", base, tmp_path / "both", RANK=str(rank), LOCAL_RANK=str(rank), **shared)
                for rank in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    prompt = "1 2 3 -> 7"
    both = read(base, tmp_path / "both" / "out", prompt, GOOD, END)
    assert both[0] == pytest.approx(read(base, alone.folder, prompt, GOOD, END)[0], abs=0.02)
    assert math.isfinite(both[1][0])


def start(function: str, base: Path, folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    """A function of this module in a process of its own."""
    code = (f"import sys; from pathlib import Path; from tests.selfplay.test_learner import {function}; "
            f"{function}(Path(sys.argv[1]), Path(sys.argv[2]))")
    return subprocess.Popen([sys.executable, "-c", code, str(base), str(folder)], cwd=ROOT,
                            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), **environment})


def cut_short(base: Path, folder: Path) -> None:
    def die(step: Step) -> None:
        if step.step == 8:  # the last checkpoint is at step 6
            os.kill(os.getpid(), signal.SIGKILL)

    learn(base, folder, played(base), ExpertIteration(), CUT, on_step=die)


def timeless(learned: Learned) -> list[Step]:
    return [replace(step, seconds=0.0) for step in learned.curve]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def together(base: Path, folder: Path) -> None:
    """What each process of a training does."""
    learn(base, folder, played(base), ExpertIteration(), replace(TRAINING, max_steps=3))


@pytest.mark.parametrize("bad", [
    {"adapter": "lorra"}, {"anchor_to": "moon"}, {"optimiser": "sgd"}, {"epochs": 0.0}, {"batch_tokens": 0},
    {"anchor": -1.0}, {"dtype": "int8"},
])
def test_impossible_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Training(**bad)  # type: ignore[arg-type]
