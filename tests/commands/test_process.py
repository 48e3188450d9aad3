"""The command line as a real process: signals, limits, what is imported, exit codes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ENTRY = str(HERE.parent.parent / "run_experiment.py")
FAKES = ("domain=guess", "policy=counting", "search=sweep", "--config-dir", str(HERE / "conf"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE)}


def start(folder: Path, *arguments: str, before=None, python: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    def ready() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
        if before is not None:
            before()

    return subprocess.Popen(
        [sys.executable, *python, ENTRY, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=ready,
    )


def test_solve_answers_and_exits_with_zero_without_loading_torch(tmp_path: Path):
    process = start(tmp_path, "solve", "guess 3", *FAKES, "budget=5s", "output=json", python=("-X", "importtime"))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and json.loads(out)["answer"] == "3"
    imported = {line.rpartition("|")[2].strip() for line in err.splitlines()}
    assert "hydra" in imported and not {"torch", "transformers", "sympy", "matplotlib", "pyarrow", "rich"} & imported


def test_bad_input_is_one_line_and_two(tmp_path: Path):
    process = start(tmp_path, "solve", "hello", *FAKES)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2 and out == "" and len(err.splitlines()) == 1


def interrupt_when(process: subprocess.Popen[str], ready) -> tuple[str, str]:
    deadline = time.monotonic() + 60
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=30)


def test_ctrl_c_prints_the_best_answer_so_far(tmp_path: Path):
    process = start(
        tmp_path, "solve", "guess 10000", *FAKES, "search.pause=0.01", "budget=100s", "output=json", "run_dir=here"
    )
    out, err = interrupt_when(process, lambda: (tmp_path / "here" / "manifest.json").exists() and not time.sleep(0.5))
    assert process.returncode == 130 and "Traceback" not in err
    said = json.loads(out)
    # Every guess so far is known to be wrong: that is no answer, but the guess is there to be seen.
    assert said["answer"] is None and said["verified"] is False and int(said["thoughts"][0]) > 0
    assert json.loads((tmp_path / "here" / "manifest.json").read_text())["status"] == "interrupted"


def test_ctrl_c_reaches_a_real_search_that_never_waits(tmp_path: Path):
    words = start(
        tmp_path, "solve", "12*(34+56)", "policy=uniform", "search=mcts", "budget=100s", "run_dir=there"
    )
    out, _ = interrupt_when(words, lambda: (tmp_path / "there" / "manifest.json").exists() and not time.sleep(0.5))
    assert words.returncode == 130 and "best so far: " in out and "not verified" in out


def test_ctrl_c_ends_all_jobs_of_a_sweep(tmp_path: Path):
    process = start(tmp_path, "solve", "12*(34+56)", "policy=uniform", "search=mcts,levin", "budget=100s", "-m",
                    "hydra.sweep.dir=runs/sweep")
    interrupt_when(process, lambda: list(tmp_path.glob("runs/sweep/*/manifest.json")) and not time.sleep(0.5))
    assert process.returncode == 130 and len(list(tmp_path.glob("runs/sweep/*/manifest.json"))) == 1


def test_more_ctrl_cs_are_as_quiet_as_one(tmp_path: Path):
    process = start(
        tmp_path, "solve", "guess 10000", *FAKES, "search.pause=0.01", "budget=100s", "output=json", "run_dir=here"
    )

    def press_two() -> bool:
        if not (tmp_path / "here" / "manifest.json").exists():
            return False
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        return True

    out, err = interrupt_when(process, press_two)
    assert process.returncode == 130 and "Traceback" not in err and int(json.loads(out)["thoughts"][0]) > 0


def test_ctrl_c_before_any_problem_is_done_leaves_no_run(tmp_path: Path):
    process = start(tmp_path, "evaluate", *FAKES, "split=test", "limit=3", "split_seed=5", "search.pause=50",
                    "budget=100s", "hydra.run.dir=runs/none")
    out, err = interrupt_when(process, lambda: (tmp_path / "runs/none/manifest.json").exists() and not time.sleep(0.5))
    assert process.returncode == 130 and out == "" and "there is no run" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "runs" / "none").exists()


def test_ctrl_c_while_libraries_load_is_quiet(tmp_path: Path):
    process = start(tmp_path, "solve", "12*(34+56)", "policy=uniform", "budget=100s")
    _, err = interrupt_when(process, lambda: "numpy" in Path(f"/proc/{process.pid}/maps").read_text())
    assert process.returncode == 130 and "Traceback" not in err


def test_nowhere_to_write_is_one_line(tmp_path: Path):
    for words in (["--help"], ["evaluate", *FAKES, "split=twenty", "output=json", "hydra.run.dir=runs/full"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run([sys.executable, ENTRY, *words], cwd=tmp_path, env=ENVIRONMENT, text=True,
                                  stdout=full, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 2 and "No space left" in done.stderr and "Traceback" not in done.stderr
    manifest = json.loads((tmp_path / "runs" / "full" / "manifest.json").read_text())
    assert manifest["status"].startswith("stopped") and (tmp_path / "runs" / "full" / "results.parquet").exists()


def test_ctrl_c_in_an_evaluation_keeps_what_is_done(tmp_path: Path):
    for number, workers in enumerate(("workers=1", "workers=2")):
        folder = f"hydra.run.dir=runs/{number}"
        process = start(
            tmp_path,
            "evaluate",
            *FAKES,
            "split=twenty",
            "search.pause=0.1",
            "budget=100s",
            workers,
            "output=json",
            folder,
        )
        assert process.stdout is not None
        first = process.stdout.readline()  # the first problem is done
        out, err = interrupt_when(process, lambda: True)
        assert process.returncode == 130 and "Traceback" not in err, err
        assert json.loads(first)["answer"] == "0" and json.loads(out.splitlines()[-1])["problems"] >= 1
        manifest = json.loads((tmp_path / "runs" / str(number) / "manifest.json").read_text())
        assert manifest["status"] == "interrupted" and manifest["partial"] is True
        assert (tmp_path / "runs" / str(number) / "trace.parquet").exists()


def descendants(pid: int) -> set[int]:
    children: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            children |= {child} | descendants(child)
    return children


def test_workers_end_when_their_parent_is_killed(tmp_path: Path):
    process = start(tmp_path, "evaluate", *FAKES, "split=twenty", "search.pause=0.1", "budget=100s", "workers=2",
                    "output=json", "hydra.run.dir=runs/killed")
    assert process.stdout is not None and process.stdout.readline()  # the first problem is done: workers are there
    workers = descendants(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]


def test_a_file_that_may_not_grow_leaves_nothing_half_written(tmp_path: Path):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    # Enough for a manifest, not for the trace of twenty problems with up to twenty answers.
    process = start(tmp_path, "evaluate", *FAKES, "split=twenty", "budget=40tok", "hydra.run.dir=runs/a", before=limit)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in err and len(err.splitlines()) == 1 and "too large" in err
    assert [p.name for p in (tmp_path / "runs" / "a").iterdir()] == ["manifest.json"]
    assert json.loads((tmp_path / "runs" / "a" / "manifest.json").read_text())["status"].startswith("not written")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path):
    process = start(tmp_path, "evaluate", *FAKES, "split=twenty", "budget=40tok", "output=json")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.wait(timeout=60)


def test_commands_silence_no_warning(tmp_path: Path) -> None:
    """Hydra's way to be quiet would disable all loggers there are, and with them what workers have to say."""
    code = ("import logging, sys\nlog = logging.getLogger('selfplay.ray_pool')\nfrom commands.launch import dispatch\n"
            "code = dispatch(['solve', '4 9 10 13', 'domain=game24', 'policy=uniform', 'budget=50tok'])\n"
            "log.warning('only 1 of 2 workers are up')\nsys.exit(code > 1)")
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "only 1 of 2 workers are up" in ran.stderr
