"""The race at equal time: its clock, what is kept and not done again, what is chosen, and what is shown."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.race.__main__ import domain_arguments, main, marks_of
from benchmarks.race.arms import ARMS, Kind
from benchmarks.race.contest import Race
from benchmarks.race.job import Clock, Job, Taken, read_marks
from benchmarks.race.measuring import GREEDY, MEASURES, worn
from benchmarks.race.results import BASE, Refused, Result, Results, bind, choose
from benchmarks.race.tables import accuracy, difference, picture, table
from benchmarks.race.training import Track, champions, dotted, place, train
from benchmarks.race.trl_grpo import grade, reward
from commands.statistics import wilson
from run_experiment import main as run_experiment
from verifiers.domains.countdown import Countdown

GAME = Countdown(**domain_arguments())


def row(arm: str = "imitation", config: str = "lr1", *, stage: str = "tune", seed: int = 0, mark: float = 2.0,
        right: str = "0110", split: str = "validation", options: tuple[str, ...] | None = None) -> Result:
    if options is None:
        options = () if arm == BASE else ARMS[arm].options(config)
    return Result(stage, arm, config, options, seed, mark, split, 60 * mark, 7,
                  {name: right for name in (MEASURES if stage == "race" else [GREEDY])})


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_saving_is_not_on_the_clock(tmp_path: Path):
    time = Time()
    clock = Clock([1, 2], tmp_path, time)
    clock.start()

    def save(folder: Path) -> None:
        folder.mkdir()
        time.now += 1000

    time.now = 59
    assert not clock.look(3, save) and not clock.taken
    time.now = 61
    assert not clock.look(4, save) and read_marks(tmp_path) is None
    assert clock.seconds == 61 and clock.share == pytest.approx(61 / 120)
    time.now += 60
    assert clock.look(9, save) and clock.share == 1
    assert read_marks(tmp_path) == [Taken(1, 61, 4, str(tmp_path / "mark-1")),
                                    Taken(2, 121, 9, str(tmp_path / "mark-2"))]


def test_one_long_step_passes_several_marks(tmp_path: Path):
    time = Time()
    clock = Clock([1, 2], tmp_path, time)
    clock.start()
    time.now = 500
    assert clock.look(1, Path.mkdir)
    assert [taken.seconds for taken in clock.taken] == [500, 500]


def test_what_stands_in_the_file_is_known_again(tmp_path: Path):
    first, second = row(seed=1), row(seed=2)
    Results(tmp_path).append(first)
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"stage": "tune", "ar')  # killed here
    results = Results(tmp_path)
    assert results.rows == [first]
    results.append(second)
    assert Results(tmp_path).rows == [first, second]
    assert results.has(replace(first, correct={}), [GREEDY]) and not results.has(first, MEASURES)
    assert not results.has(replace(first, options=("other",)), [GREEDY])
    assert not results.has(replace(first, split="tot100"), [GREEDY])


def test_a_broken_line_is_refused_by_its_number(tmp_path: Path):
    Results(tmp_path).append(row())
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write("nonsense\n")
    with pytest.raises(Refused, match="line 2 of"):
        Results(tmp_path)


def test_a_folder_has_one_setting_of_each_stage(tmp_path: Path):
    bind(tmp_path, "tune", {"minutes": 2, "threads": 2})
    bind(tmp_path, "race", {"minutes": 6, "threads": 2})
    bind(tmp_path, "tune", {"minutes": 2, "threads": 2})
    with pytest.raises(Refused, match="other settings of minutes for `tune`"):
        bind(tmp_path, "tune", {"minutes": 1, "threads": 2})


CONFIGS = [(name, ("a", name)) for name in ("one", "two", "three")]


def tuned(folder: Path, *given: tuple[str, str, float]) -> Results:
    results = Results(folder)
    for config, right, mark in given:
        results.append(row("imitation", config, right=right, mark=mark, options=("a", config)))
    return results


def test_the_best_greedy_accuracy_is_chosen_and_of_equal_ones_the_first(tmp_path: Path):
    results = tuned(tmp_path, ("one", "0001", 2), ("three", "0111", 2), ("two", "1110", 2))
    assert choose(results, "imitation", CONFIGS, "validation") == "two"


def test_an_early_mark_chooses_nothing(tmp_path: Path):
    results = tuned(tmp_path, ("one", "1111", 1), ("one", "0000", 2), ("two", "0001", 2), ("three", "0000", 2))
    assert choose(results, "imitation", CONFIGS, "validation") == "two"


def test_choosing_needs_the_same_effort_for_all(tmp_path: Path):
    results = tuned(tmp_path, ("one", "0001", 2), ("two", "0001", 2))
    with pytest.raises(Refused, match="imitation/three has not been tuned"):
        choose(results, "imitation", CONFIGS, "validation")
    results = tuned(tmp_path, ("three", "0001", 1))
    with pytest.raises(Refused, match="different minutes or seeds"):
        choose(results, "imitation", CONFIGS, "validation")


def test_six_configurations_each():
    assert {arm: len(set(ARMS[arm].configs.values())) for arm in ARMS} == dict.fromkeys(ARMS, 6)


@pytest.mark.parametrize(("arm", "config"), [(name, config) for name, arm in ARMS.items()
                                             if arm.kind is Kind.IMPROVE for config in arm.configs])
def test_configurations_of_self_play_compose(arm: str, config: str, capsys: pytest.CaptureFixture[str]):
    words = ["improve", "domain=game24", *ARMS[arm].options(config), "--cfg", "job"]
    assert run_experiment(words) == 0, capsys.readouterr().err


def test_options_are_read_as_hydra_reads_them():
    assert dotted(["groups=8", "learning_rate=1e-4", "bf16=true", "groups=16"]) == {
        "groups": 16, "learning_rate": 1e-4, "bf16": True}


def test_each_set_of_options_has_its_place(tmp_path: Path):
    places = {place(tmp_path, "tune", "imitation", "lr1", options, 0) for options in (["a=1"], ["a=2"])}
    assert len(places) == 2


def test_marks_are_every_two_minutes_and_the_end():
    assert marks_of(6) == [2, 4, 6] and marks_of(5) == [2, 4, 5] and marks_of(0.5) == [0.5]


def test_a_generation_counts_once_it_is_over(tmp_path: Path):
    history = [{"generation": number, "promoted": number != 2,
                "seconds": {"play": 40.0 * number, "learn": 10.0 * number}} for number in (1, 2, 3)]
    (tmp_path / "state.json").write_text(json.dumps({"history": history}))
    assert champions(tmp_path, [0.5, 1, 2, 3]) == [
        Taken(0.5, 0, 0, None), Taken(1, 50, 1, str(tmp_path / "generation-1")),
        Taken(2, 100, 2, str(tmp_path / "generation-1")), Taken(3, 150, 3, str(tmp_path / "generation-3")),
    ]  # fmt: skip
    assert champions(tmp_path / "none", [1]) == [Taken(1, 0, 0, None)]


def test_a_policy_without_a_value_head_keeps_the_one_it_began_with():
    assert worn(Kind.IMPROVE, "there").adapter == "there" and worn(Kind.IMITATION, "there").value_head is None
    assert worn(Kind.GRPO, "there").path == "there" and str(worn(Kind.GRPO, "there").value_head).endswith("shipped")
    assert worn(Kind.GRPO, None) == worn(Kind.IMPROVE, None)


@pytest.mark.parametrize(("completion", "paid"), [
    ("13-9=4, 4 4 10\n10-4=6, 4 6\n4*6=24\n", 1), ("13-9=4, 4 4 10\n10-4=6, 4 6\n4*6=24", 1),
    ("13-9=4, 4 4 10\n10-4=6, 4 6\n4*6=24\nand so on", 1),
    ("13-9=4, 4 4 10\n10-4=6, 4 6\n4+6=24\n", 0), ("13-9=4, 4 4 10\n10-4=6, 4 6\n", 0), ("", 0),
    ("4*6=24\n4*6=24\n4*6=24\n", 0), ("\n13-9=4, 4 4 10\n10-4=6, 4 6\n4*6=24\n", 0), ("24\n24\n24\n", 0),
])  # fmt: skip
def test_only_a_right_solution_is_paid(completion: str, paid: float):
    assert asyncio.run(grade(GAME, GAME.judge(), "4 9 10 13 -> 24\n", completion)) == paid
    assert reward(GAME)(["4 9 10 13 -> 24\n"], [completion], more=[0]) == [paid]


def test_one_seed_has_wilsons_interval_and_so_has_certainty():
    one = accuracy(np.array([[1.0, 0.0, 1.0, 1.0]]))
    assert (one.mean, one.low, one.high) == (0.75, *wilson(3, 4))
    sure = accuracy(np.ones((3, 50)))
    assert (sure.mean, sure.low, sure.high) == (1, *wilson(50, 50))


def test_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(0)
    alike = np.tile((rng.random(100) < 0.5).astype(float), (3, 1))
    unlike = np.stack([np.zeros(100), (rng.random(100) < 0.5).astype(float), np.ones(100)])
    assert accuracy(unlike).high - accuracy(unlike).low > 2 * (accuracy(alike).high - accuracy(alike).low)


def test_a_difference_is_paired_by_problem():
    correct = np.tile((np.random.default_rng(1).random(100) < 0.5).astype(float), (3, 1))
    same = difference(correct, correct)
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    better = difference(np.maximum(correct, np.eye(1, 100)), correct)
    assert -0.001 <= better.low <= better.mean <= better.high < 0.05


def raced() -> list[Result]:
    rows = [row(BASE, "", stage="race", mark=0, right="1000")]
    for arm, config in (("trl_grpo", "g8_lr3e-4"), ("expert_iteration", "solutions_p512")):
        for seed in (0, 1):
            rows += [row(arm, config, stage="race", seed=seed, mark=mark, right=right)
                     for mark, right in ((2, "1100"), (4, "1110" if seed else "1101"))]
    return rows


def test_the_table_shows_every_mark_and_the_differences_at_the_last():
    text = table([*raced(), row(), row("imitation", stage="race", split="tot100")], "validation")
    lines = text.splitlines()
    assert sum(line.startswith(("| self-play", "| TRL", "| the shipped")) for line in lines) == 6
    assert "| TRL's GRPOTrainer (`g8_lr3e-4`) | 4 | 2 | 75.0 % [" in text
    assert "| the shipped policy | 0 | 1 | 25.0 %" in text
    assert "demonstrations" not in text
    [last] = [line for line in lines if "minus" in line]
    assert "| 4 | +0.0 [" in last
    with pytest.raises(Refused, match="nothing has been raced on the split tot100"):
        table(raced(), "tot100")


def test_the_picture_is_drawn():
    assert picture(raced(), "validation", "png").startswith(b"\x89PNG")


def contest(folder: Path, python: str | None = None) -> Race:
    track = Track(domain_arguments(), ["4 9 10 13 -> 24"], 1, [2.0], python)
    return Race(folder, "tune", track, Results(folder), GAME, "validation", [], [GREEDY])


def test_what_was_measured_is_not_trained_again(tmp_path: Path):
    race = contest(tmp_path, "/nowhere/python")
    race.results.append(row("trl_grpo", "g8_lr3e-4"))
    race.go("trl_grpo", "g8_lr3e-4", 0)
    assert not (tmp_path / "runs").exists()
    with pytest.raises(OSError, match="nowhere"):
        race.go("trl_grpo", "g8_lr3e-4", 1)


def program(path: Path, code: str) -> str:
    """A stand-in for another environment's Python."""
    path.write_text(f"#!{sys.executable}\nimport json, sys\nfrom pathlib import Path\n{code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_training_that_is_done_is_not_done_again(tmp_path: Path):
    python = program(tmp_path / "python", (
        "job = json.loads(Path(sys.argv[3]).read_text())\n"
        "told = {'mark': 2.0, 'seconds': 121.0, 'steps': 5, 'folder': job['out'] + '/mark-2'}\n"
        "(Path(job['out']) / 'marks.json').write_text(json.dumps([told]))"))
    track, folder = contest(tmp_path, python).track, tmp_path / "out"
    for options in (["groups=2"], ["groups=3"]):
        assert train(Kind.GRPO, options, 3, folder, track) == [Taken(2, 121, 5, str(folder / "mark-2"))]
    job = Job.read(folder / "job.json")
    assert job.options == {"groups": 2} and job.seed == 3 and job.domain["target"] == 24


def test_an_arm_that_fails_is_told_of_in_its_own_words(tmp_path: Path):
    python = program(tmp_path / "python", "sys.exit('out of luck')")
    with pytest.raises(Refused, match="ended with 1 before its last mark: out of luck"):
        train(Kind.GRPO, [], 0, tmp_path / "out", contest(tmp_path, python).track)


@pytest.mark.parametrize(("words", "said"), [
    (["table"], "nothing has been raced"), (["plot"], "nothing has been raced"),
    (["tune"], "the arm trl_grpo needs a Python with TRL"),
    (["tune", "--trl-python", "/nowhere/python"], "cannot run /nowhere/python"),
    (["run", "--arms", "imitation"], "imitation/lr1 has not been tuned yet"),
    (["run", "--arms", "imitation", "--config", "imitation=lr99"], "there is no configuration imitation=lr99"),
    (["tune", "--minutes", "0"], "must be above 0"),
])  # fmt: skip
def test_refusals_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    monkeypatch.delenv("TRL_PYTHON", raising=False)
    (tmp_path / "prompts.json").write_text("[]")  # finding them takes long
    assert main([words[0], str(tmp_path), *words[1:]]) == 2
    complaint = capsys.readouterr().err
    assert said in complaint and complaint.count("\n") == 1


def test_a_python_without_trl_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    python = program(tmp_path / "python", "sys.exit('No module named trl')")
    assert main(["tune", str(tmp_path), "--trl-python", python]) == 2
    assert "cannot import trl: No module named trl" in capsys.readouterr().err
