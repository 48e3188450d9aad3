"""The decoder keeps its distance to the others: ratios only, and only what is below half of what is aimed at fails."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.decode.__main__ import cores
from benchmarks.decode.adapters import DOMAINS, LIVE, four_problems
from benchmarks.decode.engines import guard as llama
from benchmarks.decode.engines import why_not
from benchmarks.decode.guards import Guard
from benchmarks.decode.models import SHAPES, widened
from benchmarks.decode.page import write_page
from benchmarks.decode.speculation import case
from benchmarks.decode.work import leaves
from policy.draft import Costs
from verifiers.base import derive_seed

ROOT = Path(__file__).resolve().parents[2]
AIMED_AT = 4 + (cores() > 1)


def test_leaves_are_as_long_as_they_are_said_to_be() -> None:
    states = leaves(50, 200, (5, 40), np.random.default_rng(derive_seed(0, "leaves", 0)))
    assert len({state.problem.prompt for state in states}) == 1
    assert len(states[0].problem.prompt) == 198  # with its beginning and its end 200 tokens
    lengths = {len(line) + 1 for state in states for line in state.thoughts}
    assert min(lengths) >= 5 and max(lengths) <= 40 and len(lengths) > 10


def test_four_adapters_have_as_many_of_the_live_sequences_each() -> None:
    work = four_problems()
    first = [leaf.problem.domain for leaf in work.leaves[:LIVE]]
    assert [first.count(domain) for domain in DOMAINS] == [LIVE // 4] * 4 and work.live == LIVE
    assert len({leaf.problem.prompt for leaf in work.leaves}) == 4
    assert len({leaf.thoughts for leaf in work.leaves}) == len(work.leaves) == 4 * LIVE


def test_operations_are_counted_for_layers_and_attention() -> None:
    shape = SHAPES["shipped"]
    assert shape.parameters == 5 * (192 * 48 * 2 * (4 + 1) + 3 * 192 * 512)
    assert shape.operations(0) == 2 * shape.parameters
    assert shape.operations(100) - shape.operations(0) == 4 * 100 * 192 * 5


@pytest.mark.heavy
def test_memory_is_that_of_a_process_of_its_own() -> None:
    words = [sys.executable, "-m", "benchmarks.decode.memory", "1M", "tree"]
    few, many = (json.loads(subprocess.run([*words, live], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
                 for live in ("4", "256"))
    assert few["arm"] == "tree" and 0 < few["megabytes"] < many["megabytes"] < 1000


def test_the_page_has_all_figures(tmp_path: Path) -> None:
    rows = [{"sweep": "machine", "gflops": 100.0, "gigabytes_per_second": 20.0},
            *({"sweep": "live sequences", "shape": "1M", "live": live, "arm": "tree", "tokens_per_second": 10 * live}
              for live in (1, 4)), {"sweep": "prefix", "shape": "1M", "prefix": 30, "tokens_per_second": 77}]
    write_page(rows, [Guard("twice", 2.5, 2.0, {"one": 1, "two": 2.5})], 5, tmp_path)
    page = (tmp_path / "performance.md").read_text()
    lines = ("| twice | 2.50 | 2 | one 1, two 2.5 |", "| 1M | 30 | 77 |", "| 1M | 4 | tree | 40 |")
    assert all(line in page for line in lines)
    assert (tmp_path / "performance.png").stat().st_size > 1000


def test_guesses_save_passes_and_change_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Costs, "took", lambda *_: None)  # on a busy machine guesses may not pay, and there are few
    options = argparse.Namespace(rounds=1, problems=2, at_once=2, budget="150tok", most=8)
    row = case("arithmetic", "best_of_n", widened(ROOT / "policy" / "shipped", 1024, tmp_path / "wide"), options)
    assert row["same"] == row["problems"] == 2
    assert row["pass_ratio"] > 1.1, row


@pytest.mark.alone
@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_no_ratio_is_below_half_of_its_target() -> None:
    command = [sys.executable, "-m", "benchmarks.decode", "--quick", "--json", "--rounds", "2"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stderr
    guards = [json.loads(line) for line in ran.stdout.splitlines()]
    beside = 0 if why_not(llama.LLAMA_CPP) else len(llama.LIVE)
    assert len(guards) == AIMED_AT + beside and {"name", "ratio", "target"} <= guards[0].keys()
    assert [guard for guard in guards if guard["ratio"] < guard["target"] / 2] == []
