from __future__ import annotations

from pathlib import Path

import pytest
import torch

from policy.base import BadPolicy
from policy.value_head import FILE, ValueHead


def test_one_logit_a_state() -> None:
    assert ValueHead(8)(torch.randn(3, 5, 8), torch.zeros(3, 5, 2)).shape == (3, 5)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    head = ValueHead(8)
    head.save(tmp_path)
    loaded = ValueHead.load(tmp_path, 8)
    states, likelihoods = torch.randn(4, 8), -torch.rand(4, 2)
    assert loaded is not None
    assert torch.equal(loaded(states, likelihoods), head(states, likelihoods))


def test_no_file_is_no_head(tmp_path: Path) -> None:
    assert ValueHead.load(tmp_path, 8) is None


def test_a_head_of_another_size_is_refused(tmp_path: Path) -> None:
    ValueHead(8).save(tmp_path)
    with pytest.raises(BadPolicy, match="hidden size 16"):
        ValueHead.load(tmp_path, 16)


def test_a_corrupt_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not safetensors at all")
    with pytest.raises(BadPolicy, match="cannot read the value head") as caught:
        ValueHead.load(tmp_path, 8)
    assert "\n" not in str(caught.value)
