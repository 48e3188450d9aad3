"""solve ... tree=FILE"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands import conftest as commands
from tests.commands.test_process import interrupt_when, start

run = commands.run
SEARCHERS = sorted(path.stem for path in (commands.ROOT / "conf" / "search").glob("*.yaml"))
ASKED = ("4 9 10 13", "domain=game24", "policy=uniform")


def held(path: Path) -> dict[str, Any]:
    """The data of a page."""
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    return dict(json.loads(text))


@pytest.mark.parametrize("search", SEARCHERS)
def test_every_searcher_makes_a_page(run: Callable[..., Any], tmp_path: Path, search: str) -> None:
    result = run("solve", *ASKED, f"search={search}", "budget=600tok", "tree=new/tree.html", "output=json")
    [said] = result.objects
    data = held(tmp_path / "new" / "tree.html")
    assert result.err == "" and data["about"]["result"] == said and data["about"]["search"] == search
    nodes, spent = data["tree"]["nodes"], data["tree"]["spent"]
    assert len(nodes) > 2 and spent["tokens"] == said["tokens"] and nodes[0]["parent"] is None
    assert {node["kind"] for node in nodes} & ({"greedy"} if search == "greedy" else {"thought", "chain"})
    assert all(0 <= node["seen"] <= spent["seconds"] for node in nodes)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["tree.html"]


def test_a_search_is_the_same_watched_or_not(run: Callable[..., Any]) -> None:
    asked = (*ASKED, "budget=900tok", "output=json")
    [watched], [alone] = run("solve", *asked, "tree=tree.html").objects, run("solve", *asked).objects
    assert {**watched, "seconds": 0} == {**alone, "seconds": 0}


@pytest.mark.parametrize(("options", "part"), [
    (["tree=."], "is a folder"), (["tree=a/"], "is a folder"), (["tree=''"], "file's name"), (["tree=3"], "'3'"),
    (["tree=file/tree.html"], "cannot be written"), (["tree=t.html", "-m", "search=mcts,levin"], "every job"),
    (["tree=t.html", "search=sweep"], "keeps no tree"),
])
def test_refusals_are_one_line_and_come_first(
    run: Callable[..., Any], tmp_path: Path, options: list[str], part: str
) -> None:
    (tmp_path / "file").write_text("")
    complaint = run("solve", *ASKED, "budget=1h", *options).complaint
    assert part in complaint and not list(tmp_path.glob("**/*.html"))


def test_a_file_of_problems_has_no_tree(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "problems.jsonl").write_text('{"problem": "4 9 10 13"}\n')
    assert "one problem" in run("solve", "--from", "problems.jsonl", "policy=uniform", "tree=t.html").complaint


def test_jobs_may_name_their_pages(run: Callable[..., Any], tmp_path: Path) -> None:
    run("solve", *ASKED, "budget=300tok", "-m", "search=mcts,levin", "tree=tree-${hydra:job.num}.html")
    assert [held(tmp_path / f"tree-{number}.html")["about"]["search"] for number in (0, 1)] == ["mcts", "levin"]


def test_ctrl_c_writes_what_there_is(tmp_path: Path) -> None:
    process = start(tmp_path, "solve", "738*46+(917-58)*23", "policy=uniform", "budget=100s", "tree=tree.html",
                    "run_dir=here")
    out, err = interrupt_when(process, lambda: (tmp_path / "here" / "manifest.json").exists() and not time.sleep(1))
    assert process.returncode == 130 and "best so far: " in out and "Traceback" not in err
    data = held(tmp_path / "tree.html")
    assert len(data["tree"]["nodes"]) > 5 and data["tree"]["answers"]
    assert max(node["seen"] for node in data["tree"]["nodes"]) > min(node["seen"] for node in data["tree"]["nodes"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_may_not_be_written_is_refused(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "cannot be written" in run("solve", *ASKED, "tree=closed/tree.html").complaint
