"""The command line in this process, with the fakes' configs added to Hydra's search path."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def complaint(self) -> str:
        """The one line on stderr, nothing being on stdout."""
        lines = self.err.splitlines()
        assert self.code == 2 and self.out == "" and len(lines) == 1 and lines[0].startswith("error: "), self
        return lines[0]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Result]]:
    """run(command, words...) in an empty directory."""
    from run_experiment import main

    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Result:
        capsys.readouterr()
        code = main([*arguments, "--config-dir", str(HERE / "conf")])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    yield call
    sys.modules.pop("fakes", None)
