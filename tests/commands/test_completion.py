"""What a shell offers. Bash is asked itself: its function is called as readline would."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from commands.completion import SCRIPTS
from commands.launch import command_names

ROOT = Path(__file__).resolve().parents[2]
START = "python run_experiment.py "


@pytest.mark.parametrize(("typed", "offered"), [
    ("", set(command_names())),
    ("sol", {"solve"}),
    ("completion ", {"bash", "zsh", "fish"}),
    ("solve '4 9 10 13' sea", {"search.", "search="}),
    ("solve '4 9 10 13' search=tot", {"search=tot_bfs", "search=tot_dfs"}),
    ("solve x=1 policy=uniform budg", {"budget="}),
    ("solve '4 9 10 13' search=beam search.wi", {"search.width="}),
    ("evaluate -m search=mc", {"search=mcts"}),
    ("improve +experiment=sm", {"+experiment=smoke"}),
    ("improve domain=game24 selfplay.gen", {"selfplay.generations="}),
    ("report runs/x exam", {"examples="}),
    ("report dom", set()),  # a group that report does not read
    ("solve '4 9", set()),  # within the problem
    ("solve 2x", set()),
    ("nothing ", set()),
    ("solve '4 9 10 13' search=none_such search.", set()),
    ("completion bash ", set()),
])
def test_what_is_offered(run, typed: str, offered: set[str]) -> None:
    result = run("completion", "words", START + typed)
    assert result.code == 0 and set(result.out.split()) == offered


def in_bash(line: str, breaks: str = "") -> list[str]:
    """What bash would offer at the end of a line; `breaks` is where it breaks words, besides blanks."""
    script = dedent("""
        eval "$("$1" run_experiment.py completion bash)"
        COMP_LINE="$2" COMP_POINT=${#2}
        read -ra COMP_WORDS <<< "$2"; [[ "$2" == *' ' ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_WORDBREAKS=$' \\t\\n'"$3"
        complete -p python | grep -q _system2_engine || exit 1
        _system2_engine
        printf '%s\\n' "${COMPREPLY[@]}"
    """)
    done = subprocess.run(["bash", "--norc", "-c", script, "bash", sys.executable,
                           line.replace("python", sys.executable, 1), breaks],
                          cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.split()


def test_bash_completes() -> None:
    assert in_bash(START + "solve 24 search=tot_", "=:") == ["tot_bfs", "tot_dfs"]
    assert in_bash(START + "solve 24 search=tot_") == ["search=tot_bfs", "search=tot_dfs"]


def test_other_programs_are_left_alone() -> None:
    assert in_bash("python other.py sol") == []


def test_files_are_offered_where_there_is_nothing_to_say(run) -> None:
    result = run("completion", "words", START + "solve --from CHAN")
    assert result.out == ""  # an empty line would count as an offer, and keep the shell from offering files


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(tmp_path: Path) -> None:
    def in_fish(line: str) -> list[str]:
        script = f"{sys.executable} run_experiment.py completion fish | source; complete -C {shlex.quote(line)}"
        done = subprocess.run(["fish", "--no-config", "-c", script], cwd=ROOT, capture_output=True, text=True,
                              env={**os.environ, "HOME": str(tmp_path)}, timeout=100, check=False)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return done.stdout.split()

    start = f"{sys.executable} run_experiment.py "
    assert in_fish(start + "solve '4 9 10 13' search=tot_") == ["search=tot_bfs", "search=tot_dfs"]
    assert in_fish(start + "plot mkdocs") == ["mkdocs.yml"]
    assert "solve" not in in_fish(f"{sys.executable} other.py sol")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes(tmp_path: Path) -> None:
    """A terminal is typed into: zsh completes nowhere else."""
    leader, follower = pty.openpty()
    shell = subprocess.Popen(["zsh", "-f", "-i"], cwd=ROOT, stdin=follower, stdout=follower, stderr=follower,
                             env={**os.environ, "HOME": str(tmp_path), "TERM": "dumb"}, start_new_session=True)
    os.close(follower)

    def typed(keys: str, shown: str) -> str:
        os.write(leader, keys.encode())
        seen, end = "", time.monotonic() + 60
        while shown not in seen:
            assert time.monotonic() < end, f"{shown!r} does not come: {seen!r}"
            if select.select([leader], [], [], 0.1)[0]:
                seen += os.read(leader, 65536).decode()
        return seen

    start = f"{sys.executable} run_experiment.py "
    try:
        typed(f'eval "$({start}completion zsh)"; echo rea""dy\n', "ready")
        typed(start + "solve '4 9 10 13' search=tot_d\t", "tot_dfs")
        typed("\x15" + start + "solve '4 9 10 13' sear\t\t", "search.")
        typed("\x15" + start + "plot mkdoc\t", "mkdocs.yml")
    finally:
        shell.kill()
        shell.wait()
        os.close(leader)


def test_scripts_and_refusals(run) -> None:
    for shell in SCRIPTS:
        assert "completion words" in run("completion", shell).out
    assert "allowed: bash, zsh, fish" in run("completion", "tcsh").complaint
    assert "allowed: bash, zsh, fish" in run("completion").complaint
