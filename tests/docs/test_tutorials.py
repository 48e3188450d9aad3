"""The tutorials are true: what they tell people to type is run, in a copy of the project, and what they show comes.

A comment before a block says what it is: `<!-- run -->`, `<!-- shown -->` (what the block before it prints, at least),
`<!-- file: NAME -->` (a file to make), or `<!-- not run: WHY -->`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "docs" / "site"
PAGES = sorted(SITE.rglob("*.md"))
BLOCK = re.compile(r'(?:^<!-- (.*?) -->\n)?^```(\w+)(?: title="[^"]*")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
LIGHT = {"own-domain"}  # of those with something to run, the one without a model
PARTS = ("commands", "conf", "examples", "policy", "search", "selfplay", "verifiers", "run_experiment.py",
         "pyproject.toml")  # fmt: skip


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """(mark, language, text) of each fenced block."""
    yield from (match.groups("") for match in BLOCK.finditer(page.read_text()))  # type: ignore[misc]


RUNNABLE = [page for page in PAGES if any(mark == "run" for mark, _, _ in blocks(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_run_or_says_why_not(page: Path) -> None:
    assert page.read_text().count("\n```") == 2 * len(list(blocks(page))), "a block is not closed, or has no language"
    for mark, language, text in blocks(page):
        assert re.fullmatch(r"run|shown|file: [\w./-]+|not run: \w.+|", mark), mark
        if language in ("sh", "bash", "python"):
            assert mark, f"{page.name}: a block is neither run nor says why not: {text}"


def test_the_tutorials_run_something() -> None:
    assert {page.stem for page in RUNNABLE} >= {"quick-start", "own-model", "own-domain", "self-improvement", "plots",
                                                "sandbox"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project where a tutorial may write."""
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(language: str, text: str, folder: Path) -> str:
    """What a block prints. Fails where the block does."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["bash", "-euo", "pipefail", "-c", text] if language in ("sh", "bash") else [sys.executable, "-c", text]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1800, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout}"
    return done.stdout


def loosely(text: str) -> str:
    """Numbers, hashes and blanks differ from run to run."""
    return re.sub(r"[+-]?\d+(?:\.\d+)?", "N", " ".join(re.sub(r"\b[0-9a-f]{12,32}\b", "HASH", text).split()))


def missing(shown: str, printed: str) -> list[str]:
    """The lines that are shown and were not printed; `...` stands for anything."""
    lines = [loosely(line) for line in printed.splitlines()]
    wanted = [line for line in map(loosely, shown.splitlines()) if line and line != "..."]
    patterns = [re.escape(line).replace(r"\.\.\.", ".*") for line in wanted]
    return [line for line, pattern in zip(wanted, patterns, strict=True)
            if not any(re.fullmatch(pattern, printed) for printed in lines)]


def test_what_is_shown_is_compared_loosely() -> None:
    assert missing("a  12 tokens\n...\nb ... c", "x\na 7 tokens\nb and more c\n") == []
    assert missing("a 12 tokens\nd", "a 7 tokens, and more") == ["a N tokens", "d"]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", [
    pytest.param(page, id=page.stem, marks=() if page.stem in LIGHT else pytest.mark.heavy) for page in RUNNABLE])
def test_a_tutorial_runs(page: Path, copy: Path) -> None:
    printed = ""
    for mark, language, text in blocks(page):
        if mark == "run":
            printed = run(language, text, copy)
        elif mark == "shown":
            assert missing(text, printed) == [], f"{page.stem} shows what is not printed:\n{printed}"
        elif mark.startswith("file: "):
            (copy / mark.removeprefix("file: ")).write_text(text)
