"""Adversarial suites and real references: nothing false is accepted, and what is rejected by mistake is listed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from verifiers.conformance.math import OWN, run
from verifiers.conformance.report import Report
from verifiers.math.workers import close_workers
from verifiers.math_answer import compare

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[2] / "shared"
DISAGREEMENTS = set(re.findall(r"^- `(\w+)`", (HERE / "disagreements.md").read_text(), re.MULTILINE))


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    yield
    close_workers()


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no {path.name} in ../shared")
    return path


def hold(report: Report) -> None:
    assert report.false_accept == 0, report.mismatched
    assert set(report.mismatched) <= DISAGREEMENTS
    assert report.p99_ms < 5000 and report.peak_mb < 1024


def test_disagreements_are_few() -> None:
    assert len(DISAGREEMENTS) <= 3


def test_our_own_suite() -> None:
    hold(run(OWN))


def test_the_shared_suite() -> None:
    hold(run(shared("conformance/math_adversarial.jsonl")))


def drawn(rows: list[str], index: int, count: int) -> list[str]:
    """References of other problems, drawn by hash, that are written differently."""
    order = sorted(range(len(rows)), key=lambda other: hashlib.blake2b(f"{index} {other}".encode()).digest())
    return [rows[other] for other in order if rows[other] != rows[index]][:count]


def math_references() -> list[str]:
    lines = shared("data/math500.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["answer"] for line in lines]


def gsm8k_references() -> list[str]:
    lines = shared("data/gsm8k_test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["answer"].rpartition("####")[2].strip() for line in lines]


def same_words(mine: str, other: str) -> bool:
    """Are two references one answer in two spellings? Marks of mathematics that do not change the value are dropped."""
    def plain(text: str) -> str:
        text = re.sub(r"\\(?:text|mbox)\s*\{[^}]*\}|\\left|\\right|\^\\circ|\\[$!, ]|\s|[$,{}]", "", text)
        return text.replace("dfrac", "frac").replace("tfrac", "frac").rpartition("=")[2].strip("()")
    return plain(mine) == plain(other)


@pytest.mark.parametrize("references", [math_references, gsm8k_references])
def test_every_reference_equals_itself(references: object) -> None:
    assert callable(references)
    assert [answer for answer in references() if not compare(answer, answer).ok] == []


@pytest.mark.heavy
def test_no_reference_of_gsm8k_equals_another() -> None:
    rows = gsm8k_references()
    accepted = [(other, gold) for index, gold in enumerate(rows) for other in drawn(rows, index, 20)
                if compare(other, gold).ok]
    assert [pair for pair in accepted if not same_words(*pair)] == []


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_no_reference_of_math_equals_another() -> None:
    rows = math_references()
    accepted = [(other, gold) for index, gold in enumerate(rows) for other in drawn(rows, index, 20)
                if compare(other, gold).ok]
    assert [pair for pair in accepted if not same_words(*pair)] == []
