"""What the YAMLs of domains over files leave to a person, filled in with small samples, for the contract tests."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import pytest

_GIVEN: Mapping[str, Mapping[str, Any]] = {
    "gsm8k": {"path": "tests/samples/gsm8k.jsonl"},
    "math": {"path": "tests/samples/math.jsonl"},
    "humaneval": {"path": "tests/samples/humaneval.jsonl"},
    "mbpp": {"path": "tests/samples/mbpp.jsonl"},
    "custom": {"path": "tests/samples/custom.jsonl", "score": "tests/samples/grader.py:score"},
    "reasoning_gym": {"task": "leg_counting"},
}


def filled(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A domain's config with what a person would give; skips the test where the package it needs is not there."""
    if name == "reasoning_gym" and find_spec("reasoning_gym") is None:
        pytest.skip("needs the extra `gym`")
    given = _GIVEN.get(name, {})
    return {**{key: config[key] for key in config if key not in given}, **given}
