"""Processes that follow the first one: they take part in each training, and go when it goes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import pytest
import torch

from selfplay.followers import Call, Followers
from selfplay.learner import Learner
from selfplay.objectives import RejectionSampling
from selfplay.processes import Processes
from selfplay.replay import Replay
from selfplay.trainee import Lora
from selfplay.training import Training
from tests.selfplay.made import base_policy, line, trajectory

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
CALLS = (Call(1, 0, 2**62 + 1), Call(2, 1, 8), Call(3, 2, 9))
BROKEN = 2  # the generation whose training fails


def test_alone_nobody_is_told_anything() -> None:
    followers = Followers(Processes(CPU))
    followers.call(CALLS[0])
    followers.end()
    followers.follow(lambda call: pytest.fail("there is nobody to follow"))


@pytest.mark.heavy
def test_a_second_process_takes_part_in_each_training_and_ends_with_the_first(tmp_path: Path) -> None:
    base = base_policy(tmp_path / "base")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    code = ("import sys; from pathlib import Path; from tests.selfplay.test_followers import take_part; "
            "take_part(Path(sys.argv[1]), Path(sys.argv[2]))")
    children = [subprocess.Popen([sys.executable, "-c", code, str(base), str(tmp_path)], cwd=ROOT,
                                 env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
                for rank in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    assert json.loads((tmp_path / "followed.json").read_text()) == [list(astuple(call)) for call in CALLS]
    trained = {folder.name for folder in tmp_path.glob("generation-*")}
    assert trained == {f"generation-{call.generation}" for call in CALLS if call.generation != BROKEN}


def take_part(base: Path, folder: Path) -> None:
    """What each of the two does."""
    objective = RejectionSampling()
    training = Training(lora=Lora(rank=2), max_steps=2, warmup=1, batch_tokens=256, bf16=False)
    learner = Learner(base, objective, training, CPU)
    followers = Followers(learner.processes)
    seen: list[Call] = []

    def train(call: Call) -> None:
        seen.append(call)
        if call.generation == BROKEN:
            raise ValueError("of both")
        played = [trajectory(lines=(line("1+2=3, 3 3", "3+3=6"),), prompt=f"1 2 3 -> {n}") for n in range(20)]
        learner.learn(Replay(demonstrations=0.0).gather(played, objective, [], call.seed),
                      folder / f"generation-{call.generation}", folder / "learning" / str(call.generation),
                      champion=None, seed=call.seed, about={})

    if not learner.processes.first:
        followers.follow(train)
        (folder / "followed.json").write_text(json.dumps([astuple(call) for call in seen]))
        return
    for call in CALLS:
        followers.call(call)
        try:
            train(call)
        except ValueError:
            assert call.generation == BROKEN
    followers.end()
