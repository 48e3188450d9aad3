"""What the YAMLs of domains over files leave to a person, filled in with small samples, for the contract tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

CONF = Path(__file__).resolve().parents[2] / "conf" / "domain"
_HEAVY = {"reasoning_gym"}  # needs the extra `gym`, which only `make check` installs
_GIVEN: Mapping[str, Mapping[str, Any]] = {
    "gsm8k": {"path": "tests/samples/gsm8k.jsonl"},
    "math": {"path": "tests/samples/math.jsonl"},
    "humaneval": {"path": "tests/samples/humaneval.jsonl"},
    "mbpp": {"path": "tests/samples/mbpp.jsonl"},
    "custom": {"path": "tests/samples/custom.jsonl", "score": "tests/samples/grader.py:score"},
    "reasoning_gym": {"task": "leg_counting"},
}


def parameters() -> list[Any]:
    """The YAMLs of all domains, for parametrize."""
    marks = {name: pytest.mark.heavy for name in _HEAVY}
    return [pytest.param(path, id=path.stem, marks=marks.get(path.stem, ())) for path in sorted(CONF.glob("*.yaml"))]


def filled(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A domain's config with what a person would give."""
    given = _GIVEN.get(name, {})
    return {**{key: config[key] for key in config if key not in given}, **given}
