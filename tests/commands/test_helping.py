"""Help says what a command does and what its options mean, in the words of the YAMLs and docstrings."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands.helping import docstring, explain, meanings
from commands.launch import ROOT, command_names


@pytest.mark.parametrize("name", command_names())
def test_every_command_is_explained(name: str) -> None:
    said = explain(name, [])
    assert said.startswith(f"usage: python run_experiment.py {name} ")
    config = (ROOT / "conf" / f"{name}.yaml").read_text()
    assert len(list(meanings(ROOT / "conf" / f"{name}.yaml"))) >= config.count("null  # ")


def test_comments_become_meanings(tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    config.write_text("# about\ndefaults:\n  - base\n  - search: mcts  # how\n\nplain: 1\n"
                      "marker: \"####\"    # it # follows\npart:  # of it\n  inner: 2s   # time\n"
                      "  deep:\n    most: 1  # too deep\n")
    assert list(meanings(config)) == [("search=mcts", "how"), ('marker="####"', "it # follows"), ("part", "of it"),
                                      ("part.inner=2s", "time")]


def test_what_is_chosen_is_explained_too() -> None:
    said = explain("solve", ["budget=10s", "search=beam", "policy=nowhere", "search=../solve"])
    assert "search=beam:\nKeeps the likeliest lines" in said and "width" in said.partition("search=beam:")[2]
    assert "nowhere" not in said and "../" not in said


def test_every_searcher_has_something_to_say() -> None:
    for config in (ROOT / "conf" / "search").glob("*.yaml"):
        assert docstring(config), config.stem


def test_it_comes_before_the_values(run) -> None:
    said = run("solve", "--help", "search=beam")
    assert said.code == 0
    assert said.out.index("budget=10s") < said.out.index("search=beam:") < said.out.index("Groups:")
